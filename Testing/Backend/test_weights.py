"""Weights: every layout reads into the same numbers, and nothing wrong is accepted."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepfeatures.errors import InputError
from deepfeatures.networks import catalog, importers, layers, resnext, vgg, weights
from deepfeatures.networks.cifl import Cifl
from deepfeatures.networks.importers import import_weights


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path


def keras_arrays(last: str = "conv2_1") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernels (height, width, in, out) and biases by Keras' layer name."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name in vgg.up_to(last):
        before = 3 if name == "conv1_1" else vgg.PLAN[name].before
        kernel = rng.normal(size=(3, 3, before, vgg.PLAN[name].after)).astype("float32")
        arrays[f"block{name[4]}_conv{name[6]}"] = kernel, rng.normal(size=vgg.PLAN[name].after).astype("float32")
    return arrays


def write_npz(path: Path, arrays) -> Path:
    np.savez(
        path, **{f"{n}.{key}": a for n, pair in arrays.items() for key, a in zip(("kernel", "bias"), pair, strict=True)}
    )
    return path


def write_h5(path: Path, arrays, layout: str) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for i, (name, (kernel, bias)) in enumerate(arrays.items()):
            number = f"conv2d_{i}" if i else "conv2d"
            kernel_path, bias_path = {
                "tf.keras": (f"{name}/{name}/kernel:0", f"{name}/{name}/bias:0"),
                "whole model": (f"model_weights/{name}/{name}/kernel:0", f"model_weights/{name}/{name}/bias:0"),
                "first release": (f"{name}/{name}_W_1:0", f"{name}/{name}_b_1:0"),
                "keras 3": (f"layers/{number}/vars/0", f"layers/{number}/vars/1"),
                "keras 3 named": (f"layers/{name}/vars/0", f"layers/{name}/vars/1"),
            }[layout]
            file[kernel_path], file[bias_path] = kernel, bias
    return path


def test_npz_reads_into_torch_order_and_lists_what_is_missing(folder):
    arrays = keras_arrays()
    assert catalog.describe("vgg19-3d-pseudo").weights == "missing"
    import_weights("vgg19-3d-pseudo", write_npz(folder / "vgg.npz", arrays))
    stored = weights.load("vgg19-2d")
    kernel = arrays["block1_conv2"][0]
    assert stored["conv1_2.weight"][5, 7, 2, 1] == kernel[2, 1, 7, 5]
    for name in ("vgg19-3d-pseudo", "vgg19-3d-pseudo-mean"):
        info = catalog.describe(name)
        assert info.weights == "partly available (to conv2_1)"
        assert info.layers["conv2_1"].available
        assert not info.layers["conv2_2"].available
        assert catalog.build(name, layer="conv2_1").layers["conv2_1"].channels == info.layers["conv2_1"].channels
    with pytest.raises(InputError, match="up to conv2_1 only"):
        catalog.build("vgg19-3d-pseudo", layer="conv2_2")


@pytest.mark.parametrize("layout", ["tf.keras", "whole model", "first release", "keras 3", "keras 3 named"])
def test_keras_layouts_agree(folder, layout):
    arrays = keras_arrays()
    import_weights("vgg19-3d-pseudo", write_npz(folder / "vgg.npz", arrays))
    expected = weights.load("vgg19-2d")
    import_weights("vgg19-3d-pseudo", write_h5(folder / "vgg.h5", arrays, layout))
    found = weights.load("vgg19-2d")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_torchvision_weights_answer_a_grey_volume_as_torchvision_does(folder):
    numbers = [0, 2, 5]
    arrays = list(keras_arrays("conv2_1").values())
    state = {}
    for number, (kernel, bias) in zip(numbers, arrays, strict=True):
        state[f"features.{number}.weight"] = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous()
        state[f"features.{number}.bias"] = torch.from_numpy(bias)
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, folder / "vgg19.pth")
    import_weights("vgg19-3d-pseudo", folder / "vgg19.pth")
    stored = weights.load("vgg19-2d")
    colours = torch.rand(1, 3, 8, 8) * 255 - 127.5  # red, green, blue about the middle grey
    deviation = torch.tensor(importers.TORCHVISION_DEVIATION)[:, None, None]
    theirs = torch.conv2d(colours / 255 / deviation, state["features.0.weight"])
    ours = torch.conv2d(colours.flip(1), stored["conv1_1.weight"])
    assert torch.allclose(theirs, ours, atol=1e-3)
    assert torch.equal(stored["conv1_2.weight"], state["features.2.weight"])


def test_wrong_shapes_name_the_layer_and_both_shapes(folder):
    arrays = keras_arrays()
    arrays["block1_conv2"] = (np.zeros((3, 3, 64, 32), "float32"), arrays["block1_conv2"][1])
    with pytest.raises(InputError, match=r"conv1_2 .*\(64, 64, 3, 3\).*\(32, 64, 3, 3\)"):
        import_weights("vgg19-3d-pseudo", write_npz(folder / "vgg.npz", arrays))
    assert catalog.describe("vgg19-3d-pseudo").weights == "missing"


def test_a_hole_in_the_blocks_is_refused(folder):
    arrays = keras_arrays()
    del arrays["block1_conv2"]
    with pytest.raises(InputError, match="conv1_2"):
        import_weights("vgg19-3d-pseudo", write_npz(folder / "vgg.npz", arrays))


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".pth", ".safetensors", ".zip"])
def test_garbage_is_refused_with_one_sentence(folder, suffix):
    path = folder / f"weights{suffix}"
    path.write_bytes(b"not weights at all")
    with pytest.raises(InputError) as caught:
        import_weights("vgg19-3d-pseudo", path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [5, [1, 2], torch.zeros(3), {1: 2}, {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": "none"}],
)
def test_files_of_something_else_than_weights_are_refused(folder, content):
    torch.save(content, folder / "vgg.pth")
    with pytest.raises(InputError, match="cannot be read"):
        import_weights("vgg19-3d-pseudo", folder / "vgg.pth")


def test_an_array_of_words_and_an_array_alone_are_refused(folder):
    np.savez(folder / "words.npz", **{"block1_conv1.kernel": np.array(["a", "b"])})
    np.save(folder / "alone.npy", np.zeros(3))
    (folder / "alone.npy").rename(folder / "alone.npz")
    for name in ("words.npz", "alone.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            import_weights("vgg19-3d-pseudo", folder / name)


def test_pickled_objects_are_not_run(folder):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(folder / "sprung"),)

    torch.save({"features.0.weight": Trap()}, folder / "vgg.pth")
    with pytest.raises(InputError):
        import_weights("vgg19-3d-pseudo", folder / "vgg.pth")
    np.savez(folder / "vgg.npz", **{"block1_conv1.kernel": np.array([Trap()], object)})
    with pytest.raises(InputError):
        import_weights("vgg19-3d-pseudo", folder / "vgg.npz")
    assert not (folder / "sprung").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX matter")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder, small_files):
    source = write_npz(folder / "vgg.npz", keras_arrays())
    with small_files(1000), pytest.raises(InputError, match="cannot be written"):
        import_weights("vgg19-3d-pseudo", source)
    assert not list((folder / "weights").iterdir())


def test_a_missing_file_and_a_network_without_weights_are_refused(folder):
    with pytest.raises(InputError, match="no weights file"):
        import_weights("vgg19-3d-pseudo", folder / "nothing.npz")
    with pytest.raises(InputError, match="needs no weights"):
        import_weights("mind", folder / "nothing.npz")


def test_changed_weights_are_not_used(folder):
    stored = import_weights("vgg19-3d-pseudo", write_npz(folder / "vgg.npz", keras_arrays()))
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(InputError, match="changed"):
        catalog.build("vgg19-3d-pseudo", layer="conv1_2")


def test_a_broken_note_is_reported(folder):
    stored = import_weights("vgg19-3d-pseudo", write_npz(folder / "vgg.npz", keras_arrays()))
    assert json.loads(stored.with_suffix(".json").read_text())["source"] == "vgg.npz"
    stored.with_suffix(".json").write_text("[")
    with pytest.raises(InputError, match="import them again"):
        catalog.describe("vgg19-3d-pseudo")


def resnet_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"{name}.{key}": torch.rand(shape, generator=generator) + 0.1
        for name, part in resnext.PLAN.items()
        for key, shape in part.shapes.items()
    }


def test_own_safetensors_fill_a_resnet(folder):
    tensors = resnet_tensors()
    save_file(tensors, folder / "student.safetensors")
    import_weights("resnet-3d-student", folder / "student.safetensors")
    assert catalog.describe("resnet-3d-student").weights == "available"
    encoder = catalog.build("resnet-3d-student", layer="140")
    assert torch.equal(encoder.parts["stage1_block1_bn2"].running_var, tensors["stage1_block1_bn2.running_var"])


def test_antsrnet_layout_with_64_slices_becomes_true_groups(folder):
    h5py = pytest.importorskip("h5py")
    tensors = resnet_tensors()
    convolution, norm = 7, 3  # Keras goes on counting where an earlier model of the session stopped

    def number(kind: str, count: int) -> str:
        return f"{kind}_{count}" if count else kind

    with h5py.File(folder / "brainAge.h5", "w") as file:
        root = file.create_group("model_weights")
        root["dense/dense/kernel:0"] = np.zeros((2048, 1), "float32")
        blocks = [f"stage{s}_block{b}" for s, n in enumerate((3, 4, 6, 3), 1) for b in range(1, n + 1)]
        order = ["stem_conv", "stem_bn"]
        for block in blocks:
            order += [f"{block}_{part}" for part in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")]
            order += [f"{block}_shortcut", f"{block}_shortcut_bn"] * block.endswith("block1")
        for name in order:
            if "bn" in name:
                layer = number("batch_normalization", norm)
                norm += 1
                for ours, theirs in importers.BATCH_NORM.items():
                    root[f"{layer}/{layer}/{theirs}:0"] = tensors[f"{name}.{ours}"].numpy()
                continue
            kernel = tensors[f"{name}.weight"].numpy().transpose(4, 3, 2, 1, 0)  # (x, y, z, in, out)
            slices = 64 if name.endswith("conv2") else 1
            biases = np.split(tensors[f"{name}.bias"].numpy(), slices)
            for one, bias in zip(np.split(kernel, slices, axis=-1), biases, strict=True):
                layer = number("conv3d", convolution)
                convolution += 1
                root[f"{layer}/{layer}/kernel:0"], root[f"{layer}/{layer}/bias:0"] = one, bias
    import_weights("brainage-resnet-3d", folder / "brainAge.h5")
    stored = weights.load("brainage-resnet-3d")
    assert stored.keys() == tensors.keys()
    assert all(torch.equal(stored[key], tensors[key]) for key in tensors)


def test_another_resnet_is_refused_by_its_counts(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "other.h5", "w") as file:
        file["conv3d/conv3d/kernel:0"], file["conv3d/conv3d/bias:0"] = np.zeros((7, 7, 7, 1, 64)), np.zeros(64)
    with pytest.raises(InputError, match="1 convolutions and 0 batch norms"):
        import_weights("brainage-resnet-3d", folder / "other.h5")


@pytest.mark.data
def test_the_development_vgg_is_available_up_to_block_3(folder):
    data = Path(os.environ.get("DEEPFEATURES_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    path = data / "vgg19" / "vgg19_block1to3_keras_hwio.npz"
    if not path.is_file():
        pytest.skip(f"the development data are not there: {path}")
    import_weights("vgg19-3d-pseudo", path)
    assert catalog.describe("vgg19-3d-pseudo").weights == "partly available (to conv3_4)"
    encoder = catalog.build("vgg19-3d-pseudo", layer="conv3_4")
    assert layers.count({"first": layers.Convolution(1, 64, (3, 3, 3))}) == sum(
        p.numel() for p in encoder.network.parts["conv1_1"].parameters()
    )


def test_own_cifl_weights_take_the_place_of_those_that_come_with_the_package(folder):
    torch.manual_seed(0)
    tensors = {key: value.clone() for key, value in Cifl().state_dict().items() if value.is_floating_point()}
    save_file(tensors, folder / "run.safetensors")
    import_weights("cifl", folder / "run.safetensors")
    assert catalog.describe("cifl").weights == "available"
    assert torch.equal(catalog.build("cifl").fine_head.weight, tensors["fine_head.weight"])
    del tensors["up1.0.0.weight"]
    save_file(tensors, folder / "cut.safetensors")
    with pytest.raises(InputError, match=r"up1\.0\.0\.weight should have shape .* found nothing"):
        import_weights("cifl", folder / "cut.safetensors")
