"""The paper's students: patches from any folder, targets of VGG-19, runs that survive a kill, and several processes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file

from deepfeatures.cli.main import main
from deepfeatures.errors import InputError
from deepfeatures.networks import catalog, vgg, weights
from deepfeatures.networks.importers import import_weights
from deepfeatures.training.distributed import Process
from deepfeatures.training.patches import PatchStream, Source, find_sources
from deepfeatures.training.student import (
    StudentSettings,
    StudentTrainer,
    Teacher,
    _correlation,
)

ALONE = Process(torch.device("cpu"))
TINY = StudentSettings(
    patches=16, epochs=3, batch=4, patch_size=16, small_patch_size=8, validation_patches=8, validate_every=2,
    volumes_in_memory=3, learning_rate=1e-3, checkpoint_seconds=0, mixed_precision=False,
)  # fmt: skip
TINY_TOML = """
patches = 16
epochs = 3
batch = 4
patch_size = 16
small_patch_size = 8
validation_patches = 8
validate_every = 2
volumes_in_memory = 3
learning_rate = 1e-3
checkpoint_seconds = 0
mixed_precision = false
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path


@pytest.fixture
def teacher_weights(folder):
    """VGG-19's first two convolutions, drawn at random."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, before in (("conv1_1", 3), ("conv1_2", 64)):
        arrays[f"block1_{name[:4]}{name[6]}.kernel"] = rng.normal(0, 0.05, (3, 3, before, 64)).astype("float32")
        arrays[f"block1_{name[:4]}{name[6]}.bias"] = rng.normal(size=64).astype("float32")
    np.savez(folder / "vgg.npz", **arrays)
    import_weights("vgg19-3d-pseudo", folder / "vgg.npz")


def write(path: Path, *size: int, seed: int = 0, channels: int = 0) -> Path:
    """A smooth volume of random blobs, `size` along x, y, z; with `channels`, a fourth axis of volumes 0, 1, ...."""
    from scipy.ndimage import gaussian_filter

    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = gaussian_filter(np.random.default_rng(seed).normal(size=size[::-1]), 2).astype("float32") * 1000
    if channels:
        volumes = [sitk.GetImageFromArray(np.full(size[::-1], k, "float32")) for k in range(channels)]
        sitk.WriteImage(sitk.JoinSeries(volumes), str(path))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


@pytest.fixture
def volumes(folder) -> Path:
    for k in range(6):
        write(folder / "scans" / f"scan{k}.nii.gz", 24, 22, 20, seed=k)
    return folder / "scans"


def test_the_decathlon_is_known_by_name(folder):
    data = folder / "decathlon"
    for task in ("Task02_Heart", "Task04_Hippocampus"):
        for k in range(12):
            write(data / task / "imagesTr" / f"{k:02d}.nii.gz", 16, 16, 16)
            write(data / task / "labelsTr" / f"{k:02d}.nii.gz", 16, 16, 16)
        (data / task / "imagesTr" / "._00.nii.gz").write_bytes(b"left behind by another system")
    kept, held_out = find_sources(data, 16, 8)
    assert len(kept) == 22
    assert {source.path.parent.name for source in kept + held_out} == {"imagesTr"}
    assert [(source.path.parts[-3], source.path.name) for source in held_out] == [
        ("Task02_Heart", "11.nii.gz"),
        ("Task04_Hippocampus", "11.nii.gz"),
    ]
    assert find_sources(data / "Task02_Heart", 16, 8)[1] == held_out[:1]


def test_small_volumes_give_small_patches_and_tiny_ones_none(folder):
    data = folder / "mixed"
    write(data / "a.nii.gz", 40, 33, 32)
    write(data / "b.nrrd", 40, 40, 31)
    write(data / "c" / "d.mha", 40, 40, 15)
    write(data / "e.nii.gz", 32, 32, 32)
    kept, held_out = find_sources(data, 32, 16)
    assert [(source.path.name, source.patch_size) for source in kept + held_out] == [
        ("a.nii.gz", 32),
        ("b.nrrd", 16),
        ("e.nii.gz", 32),
    ]


def test_every_channel_of_a_file_with_four_axes_is_a_volume(folder):
    data = folder / "four"
    write(data / "a.nii.gz", 16, 17, 18, channels=3)
    write(data / "b.nii.gz", 16, 16, 16)
    kept, _ = find_sources(data, 16, 8)
    assert [source.channel for source in kept] == [0, 1, 2]
    stream = PatchStream(kept, 4, 3, 0)
    voxels = [stream._read(source) for source in kept]
    assert [tuple(each.shape) for each in voxels] == [(18, 17, 16)] * 3
    assert [float(each.mean()) for each in voxels] == [0, 1, 2]


@pytest.mark.parametrize("content", [None, b"", b"not a volume"])
def test_a_folder_that_cannot_be_learnt_from_is_refused_in_one_sentence(folder, content, teacher_weights, capsys):
    (folder / "scans").mkdir()
    if content is not None:
        (folder / "scans" / "a.nii.gz").write_bytes(content)
    command = ["train", "student", "vgg19-3d-student", "--data", str(folder / "scans"), "--out", str(folder / "out")]
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_step_gives_the_same_patches_in_every_run_whatever_came_before(volumes):
    kept, _ = find_sources(volumes, 16, 8)
    stream = PatchStream(kept, 4, 3, 7)
    for step in range(6):
        last = stream.batch(step)
        assert len(stream._voxels) <= 3
    assert torch.equal(PatchStream(kept, 4, 3, 7).batch(5), last)
    assert not torch.equal(PatchStream(kept, 4, 3, 8).batch(5), last)
    assert last.shape == (4, 1, 16, 16, 16)
    assert last.amin((1, 2, 3, 4)).tolist() == [-127.5] * 4
    assert last.amax((1, 2, 3, 4)).tolist() == [127.5] * 4


def test_a_batch_has_patches_of_one_size_and_both_sizes_come(folder):
    sources = [
        Source(write(folder / "large.nii.gz", 20, 20, 20), None, 16),
        Source(write(folder / "small.nii.gz", 20, 20, 10), None, 8),
    ]
    stream = PatchStream(sources, 2, 2, 0)
    assert {stream.batch(step).shape[-1] for step in range(12)} == {8, 16}


def test_targets_are_the_maps_of_the_three_networks_and_their_means(teacher_weights):
    patches = torch.rand(2, 1, 8, 8, 8) * 255 - 127.5
    network = catalog.build("vgg19-3d-pseudo", layer="conv1_2")
    maps = network(patches, "conv1_2")
    found = Teacher("conv1_2", ALONE.device, averaged=False, mixed_precision=False).targets(patches)
    assert found.shape == (2, 3, 64, 8, 8, 8)
    torch.testing.assert_close(found.flatten(1, 2), maps)
    means = Teacher("conv1_2", ALONE.device, averaged=True, mixed_precision=False).targets(patches)
    torch.testing.assert_close(means.flatten(1), maps.mean((2, 3, 4)))


@pytest.mark.parametrize("name", ["vgg19-3d-student", "resnet-3d-student"])
def test_students_learn_and_their_weights_are_imported_and_used(name, teacher_weights, volumes, folder, capsys):
    from deepfeatures.training.trainer import run

    trainer = StudentTrainer(name, volumes, replace(TINY, mixed_precision=True), ALONE)
    before = trainer.validate()
    run(trainer, folder / "out")
    shown = capsys.readouterr().out
    assert f"the paper's {name} reached {0.792 if name.startswith('vgg') else 0.881} at conv5_4" in shown
    assert "up to conv1_2 only" in shown
    assert trainer.best_scores["correlation"] > before["correlation"] + 0.1
    assert main(["weights", "import", name, str(folder / "out" / f"{name}.safetensors")]) == 0
    noted = weights.record(catalog.weight_key_of(name))["origin"]
    assert noted["teacher"] == "vgg19-3d-pseudo conv1_2"
    assert noted["held out"] == trainer.best_scores
    layer = "conv1_2" if name.startswith("vgg") else "stage1_block1_conv3"
    trainer.student.load_state_dict(trainer.best_weights)
    patches = torch.rand(1, 1, 16, 16, 16)
    encoder = trainer.student.encoder.eval()
    torch.testing.assert_close(catalog.build(name, layer=layer)(patches, layer), encoder(patches, layer))


def test_weights_that_do_not_fit_their_note_are_refused(teacher_weights, volumes, folder, capsys):
    StudentTrainer("vgg19-3d-student", volumes, TINY, ALONE).save_weights(folder / "vgg19-3d-student.safetensors")
    note = folder / "vgg19-3d-student.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "0"}))
    assert main(["weights", "import", "vgg19-3d-student", str(folder / "vgg19-3d-student.safetensors")]) == 2
    assert "beside it" in capsys.readouterr().err


def test_validation_picks_the_weights(teacher_weights, volumes, folder):
    trainer = StudentTrainer("vgg19-3d-student", volumes, TINY, ALONE)
    trainer.advance()
    good = trainer.student.state_dict()["encoder.parts.conv1_2.weight"].clone()
    trainer.on_validation({"correlation": 0.5})
    trainer.advance()
    trainer.on_validation({"correlation": 0.4})
    trainer.save_weights(folder / "student.safetensors")
    assert torch.equal(load_file(folder / "student.safetensors")["conv1_2.weight"], good)


def test_without_vgg_weights_the_way_to_get_them_is_named(volumes, folder, capsys):
    command = ["train", "student", "vgg19-3d-student", "--data", str(volumes), "--out", str(folder / "out")]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "weights fetch vgg19-3d-pseudo" in message
    assert message.count("\n") == 1


def test_an_unknown_student_and_a_run_that_would_be_overwritten_are_refused(teacher_weights, volumes, folder, capsys):
    assert main(["train", "student", "mind", "--data", str(volumes), "--out", str(folder / "out")]) == 2
    assert "vgg19-3d-student or resnet-3d-student" in capsys.readouterr().err
    command = student_command(volumes, folder)[3:]
    assert main([*command, "--seconds", "0"]) == 0
    assert main([*command, "--seconds", "0"]) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_checkpoint_of_another_student_is_refused(teacher_weights, volumes, folder):
    state = StudentTrainer("vgg19-3d-student", volumes, TINY, ALONE).state()
    with pytest.raises(InputError, match="another network"):
        StudentTrainer("resnet-3d-student", volumes, TINY, ALONE).restore(state)


def test_correlation_is_that_of_numpy():
    first, second = torch.rand(3, 50), torch.rand(3, 50)
    expected = np.corrcoef(first.flatten(), second.flatten())[0, 1]
    assert _correlation([(first[:1], second[:1]), (first[1:], second[1:])]) == pytest.approx(expected)
    assert _correlation([(first, torch.ones(3, 50))]) == 0


def student_command(volumes: Path, folder: Path, out: str = "out") -> list[str]:
    (folder / "run.toml").write_text(TINY_TOML)
    return [
        sys.executable, "-m", "deepfeatures", "train", "student", "vgg19-3d-student", "--data", str(volumes),
        "--out", str(folder / out), "--settings", str(folder / "run.toml"), "--device", "cpu",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    code = str(Path(sys.modules["deepfeatures"].__file__).parents[1])
    return {**os.environ, "PYTHONPATH": code, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def one_thread():
    """Sums in the same order as in a process of `environment()`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(teacher_weights, volumes, folder, one_thread):
    assert main([*student_command(volumes, folder, "whole")[3:]]) == 0
    command = student_command(volumes, folder, "killed")
    running = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not (folder / "killed" / "checkpoint.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.kill()
    assert running.wait(30) != 0  # killed, not done
    assert main([*command[3:], "--resume"]) == 0
    whole, resumed = (load_file(folder / name / "vgg19-3d-student.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_two_processes_of_torchrun_learn_what_one_learns(teacher_weights, volumes, folder):
    assert main([*student_command(volumes, folder, "one")[3:]]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, *student_command(volumes, folder, "two")[1:]]
    found = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("stopped at step 12 of 12") == 1  # the first process alone speaks
    one, two = (load_file(folder / name / "vgg19-3d-student.safetensors") for name in ("one", "two"))
    start = vgg.Vgg19("vgg19-3d-student", "conv1_2").parts["conv1_2"].weight
    learnt = (one["conv1_2.weight"] - start).norm()
    assert (one["conv1_2.weight"] - two["conv1_2.weight"]).norm() < 0.05 * learnt


def test_a_batch_that_cannot_be_dealt_out_is_refused(teacher_weights, volumes):
    with pytest.raises(InputError, match="A batch of 4 cannot be dealt out to 3 processes"):
        StudentTrainer("vgg19-3d-student", volumes, TINY, Process(torch.device("cpu"), 0, 3))


def test_curves_are_written_for_tensorboard(teacher_weights, volumes, folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = student_command(volumes, folder)[3:]
    assert main([*command, "--seconds", "0"]) == 0
    assert main([*command, "--resume"]) == 0
    events = EventAccumulator(str(folder / "out" / "curves"))
    events.Reload()
    assert [event.step for event in events.Scalars("held-out/correlation")] == [2, 4, 6, 8, 10, 12]


@pytest.mark.data
def test_the_development_hippocampi_and_vgg_can_be_learnt_from(data, folder):
    import_weights("vgg19-3d-pseudo", data / "vgg19" / "vgg19_block1to3_keras_hwio.npz")
    trainer = StudentTrainer("vgg19-3d-student", data / "hippocampus", TINY, ALONE)
    assert trainer.layer == "conv3_4"
    assert trainer.volumes == {"training": 180, "held out": 19}
    assert trainer.batch(0)[1].shape == (4, 3, 256, 4, 4, 4)
