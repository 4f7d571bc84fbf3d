"""Networks: patches and dense encoding agree, counts and geometry are the paper's, the catalog helps."""

import pytest
import torch
import torch.nn.functional as F

from deepfeatures.errors import InputError
from deepfeatures.networks import catalog, dense_inference, layers, resnext, vgg
from deepfeatures.networks.base import first_centre, patch_reaches_layer
from deepfeatures.networks.mind import Mind
from deepfeatures.networks.resnext import ResNext50
from deepfeatures.networks.vgg import PseudoVgg19, Vgg19


def flat_weights(layer: str) -> dict[str, torch.Tensor]:
    """Random 2D VGG weights, biases included, up to a layer."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name in vgg.up_to(layer):
        before, after = (3 if name == "conv1_1" else vgg.PLAN[name].before), vgg.PLAN[name].after
        tensors[f"{name}.weight"] = torch.randn(after, before, 3, 3, generator=generator) / (9 * before) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(after, generator=generator)
    return tensors


def pseudo(layer: str, combine: str = "concatenated") -> PseudoVgg19:
    return PseudoVgg19("pseudo", layer, weights=flat_weights(layer), combine=combine).eval()


FAMILIES = {
    "random conv1_2": (lambda: Vgg19("random", "conv1_2"), "conv1_2"),
    "random conv2_2": (lambda: Vgg19("random", "conv2_2"), "conv2_2"),
    "random conv3_1": (lambda: Vgg19("random", "conv3_1"), "conv3_1"),
    "pseudo conv2_1": (lambda: pseudo("conv2_1"), "conv2_1"),
    "pseudo mean conv2_1": (lambda: pseudo("conv2_1", "averaged"), "conv2_1"),
    "resnet stem": (lambda: ResNext50("resnet", "stem_conv"), "stem_conv"),
    "resnet 6": (lambda: ResNext50("resnet", "stage1_block1_bn1"), "stage1_block1_bn1"),
    "resnet 140": (lambda: ResNext50("resnet", "stage1_block1_conv3"), "stage1_block1_conv3"),
    "resnet block": (lambda: ResNext50("resnet", "stage1_block2"), "stage1_block2"),
    "resnet stride 8": (lambda: ResNext50("resnet", "stage2_block1"), "stage2_block1"),
    "mind": (Mind, "mind_r1_d1"),
    "self-similarity context": (Mind, "ssc_r2_d3"),
}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_dense_sampled_at_the_stride_equals_valid_patches(family):
    make, layer = FAMILIES[family]
    encoder, known = make().eval(), make().layers[layer]
    torch.manual_seed(1)
    size = [known.receptive_field + known.stride + extra for extra in (6, 5, 4)]
    volume = torch.randn(2, 1, *size) * 60
    dense = encoder.dense(volume, layer)
    assert dense.shape == (2, known.channels, *(n - known.receptive_field + 1 for n in size))
    scale = dense.abs().mean()
    assert scale > 1e-3
    for z, y, x in ((0, 0, 0), (1, 0, 2), (3, 2, 1), (4, 4, 3)):
        patches = encoder(volume[:, :, z:, y:, x:], layer, padding="valid")
        stride = known.stride
        sampled = dense[:, :, z::stride, y::stride, x::stride]
        assert patches.shape == sampled.shape
        assert (patches - sampled).abs().max() <= 1e-4 * scale


@torch.no_grad()
def test_dense_equals_dilated_convolutions():
    encoder = Vgg19("random", "conv3_1").eval()
    torch.manual_seed(0)
    volume = torch.randn(1, 1, 34, 33, 35) * 60
    x = volume
    dilation = 1
    for name in vgg.up_to("conv3_1"):
        if name in ("conv2_1", "conv3_1"):
            x = F.max_pool3d(x, 2, stride=1, dilation=dilation)
            dilation *= 2
        part = encoder.parts[name]
        x = F.relu(F.conv3d(x, part.weight, part.bias, dilation=dilation))
    assert torch.allclose(encoder.dense(volume, "conv3_1"), x, atol=1e-4 * x.abs().mean())


@pytest.mark.parametrize(
    ("layer", "corner"), [("conv2_1", (0, 0, 0)), ("conv3_1", (10, 1, 12)), ("conv3_2", (3, 8, 5))]
)
@torch.no_grad()
def test_views_of_any_part_of_a_volume_agree(layer, corner, monkeypatch):
    encoder = Vgg19("random", layer).eval()
    volume = torch.randn(1, 1, 19, 18, 17, generator=torch.Generator().manual_seed(2)) * 60
    before = (encoder.layers[layer].receptive_field - 1) // 2
    whole = torch.full((1, encoder.layers[layer].channels, 19, 18, 17), torch.nan)
    encoder.dense_into(list(whole), volume, layer, [-before] * 3)
    assert whole.isfinite().all()
    part = torch.full((1, whole.shape[1], 9, 10, 5), torch.nan)
    monkeypatch.setattr(dense_inference, "SLAB_BYTES", 1)
    encoder.dense_into(list(part), volume, layer, [at - before for at in corner])
    window = tuple(slice(at, at + n) for at, n in zip(corner, part.shape[2:], strict=True))
    assert torch.allclose(part, whole[(..., *window)], atol=1e-4 * whole.abs().mean())


@torch.no_grad()
def test_beyond_the_border_every_operation_repeats_the_border_of_its_input():
    encoder = Vgg19("random", "conv2_1").eval()
    volume = torch.randn(1, 1, 12, 14, 16) * 60
    x = volume
    for name in ("conv1_1", "conv1_2"):
        x = F.relu(F.conv3d(F.pad(x, (1,) * 6, mode="replicate"), encoder.parts[name].weight, encoder.parts[name].bias))
    x = F.max_pool3d(F.pad(x, (0, 1) * 3, mode="replicate"), 2, stride=1)
    for axis in (2, 3, 4):  # even and odd positions repeat their own outermost entry
        n = x.shape[axis]
        x = x.index_select(axis, torch.tensor([0, 1, *range(n), n - 2, n - 1]))
    part = encoder.parts["conv2_1"]
    expected = F.relu(F.conv3d(x, part.weight, part.bias, dilation=2))
    found = torch.empty(expected.shape)
    encoder.dense_into(list(found), volume, "conv2_1", (-4, -4, -4))
    assert torch.allclose(found, expected, atol=1e-4 * expected.abs().mean())


@torch.no_grad()
def test_deep_layers_compute_little_more_than_the_volume():
    encoder = Vgg19("random", "conv4_2")
    seen = encoder.layers["conv4_2"].receptive_field
    ranges = dense_inference.dense_ranges(
        encoder.operations("conv4_2"), [-(seen - 1) // 2] * 3, (40, 40, 40), (40, 40, 40)
    )
    assert all(40 <= high - low <= 48 for axes in ranges for low, high in axes)


@torch.no_grad()
def test_dense_does_not_depend_on_slabs_and_chunks_of_phases(monkeypatch):
    encoder = Vgg19("random", "conv3_1").eval()
    volume = torch.randn(1, 1, 44, 36, 37) * 60
    whole = encoder.dense(volume, "conv3_1")
    monkeypatch.setattr(dense_inference, "SLAB_BYTES", 1)
    monkeypatch.setattr(dense_inference, "PHASE_BYTES", 1)
    assert torch.allclose(encoder.dense(volume, "conv3_1"), whole, atol=1e-4 * whole.abs().mean())


@pytest.mark.parametrize(("layer", "size"), [("stage1_block1_conv3", 64), ("stage2_block2", 96)])
@torch.no_grad()
def test_valid_resnet_equals_the_inside_of_the_zero_padded_one(layer, size):
    encoder = ResNext50("resnet", layer).eval()
    known = encoder.layers[layer]
    volume = torch.randn(1, 1, size, size, size) * 60
    same = encoder(volume, layer)
    start = first_centre(known, size) - (known.receptive_field - 1) / 2  # voxel at which entry 0 begins, negative
    skip = int(-start // known.stride) + 1
    offset = int(start + skip * known.stride)
    valid = encoder(volume[:, :, offset:, offset:, offset:], layer, padding="valid")
    inside = same[(..., *(slice(skip, skip + n) for n in valid.shape[2:]))]
    assert min(valid.shape) > 0
    assert torch.allclose(inside, valid, atol=1e-3 * valid.std())


def test_counts_are_those_of_the_paper():
    assert layers.count(vgg.PLAN) == 60_058_688 == catalog.describe("vgg19-3d-random").parameters
    assert resnext.parameter_count() == 25_851_112 == catalog.describe("brainage-resnet-3d").parameters
    assert sum(p.numel() for p in Vgg19("random", "conv2_2").parameters()) == layers.count(
        {name: vgg.PLAN[name] for name in vgg.up_to("conv2_2")}
    )


def test_random_kernels_depend_on_the_seed_alone():
    torch.manual_seed(7)
    shallow = Vgg19("random", "conv1_2", seed=5)
    torch.manual_seed(8)
    before = torch.get_rng_state()
    deep = Vgg19("random", "conv2_1", seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    for name in vgg.up_to("conv1_2"):
        assert torch.equal(shallow.parts[name].weight, deep.parts[name].weight)
    assert not torch.equal(shallow.parts["conv1_2"].weight, Vgg19("random", "conv1_2", seed=6).parts["conv1_2"].weight)


def test_random_kernels_are_glorot_uniform():
    kernel = Vgg19("random", "conv1_2").parts["conv1_2"].weight.detach()
    limit = (6 / (27 * (64 + 64))) ** 0.5
    assert limit * 0.99 < kernel.abs().max() <= limit
    assert kernel.std() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert kernel.mean().abs() < limit * 0.02


@pytest.mark.parametrize("size", range(4, 21))
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, 2), (1, 2), (2, 2)])
def test_same_padding_is_that_of_keras(size, kernel, stride):
    before, after = dense_inference.same_padding(size, kernel, stride)
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    assert 0 <= after - before <= 1


@pytest.mark.parametrize(("size", "taps"), [(6, [0, 2, 4]), (5, [-1, 1, 3])])
def test_strided_convolution_pads_more_at_the_end(size, taps):
    part = layers.Convolution(1, 1, (3, 3, 3)).make()
    with torch.no_grad():
        part.weight.zero_()[0, 0, 0, 1, 1] = 1  # looks at the first plane of its window
        part.bias.zero_()
        ramp = torch.arange(1.0, size + 1)[None, None, :, None, None].expand(1, 1, size, size, size)
        out = dense_inference.ConvolutionMode("same").conv(ramp, part, stride=2)[0, 0, :, 1, 1]
    assert out.tolist() == [tap + 1 if tap >= 0 else 0 for tap in taps]


@pytest.mark.parametrize(
    ("layer", "size", "there"),
    [
        ("conv5_4", 12, False),
        ("conv5_4", 15, False),
        ("conv5_4", 16, True),
        ("conv4_2", 8, True),
        ("conv4_2", 7, False),
    ],
)
@torch.no_grad()
def test_small_patches_have_deep_layers_and_say_that_the_paper_has_none(layer, size, there):
    assert patch_reaches_layer(vgg.vgg_layers()[layer], size) is there
    if layer == "conv4_2":
        assert Vgg19("random", layer)(torch.rand(1, 1, size, size, size), layer).shape == (1, 512, 1, 1, 1)


def test_resnet_reaches_every_layer_whatever_the_patch():
    assert all(patch_reaches_layer(layer, 4) for layer in resnext.resnext_layers().values())


@torch.no_grad()
def test_later_pseudo_layers_see_a_volume_constant_along_the_third_axis_as_the_flat_network_does():
    weights = flat_weights("conv2_1")
    network = pseudo("conv2_1").network
    generator = torch.Generator().manual_seed(0)
    plane = torch.rand(1, 64, 12, 14, generator=generator)  # (height y, width x), as if from the first layer
    solid = plane[:, :, None].expand(1, 64, 9, 12, 14)
    valid = dense_inference.ConvolutionMode("valid")
    deep = network._convolve(
        "conv2_1",
        dense_inference.ConvolutionMode().max_pool(network._convolve("conv1_2", solid, valid), 2, padded=False),
        valid,
    )
    kernels = {name: weights[f"{name}.weight"].transpose(2, 3) for name in ("conv1_2", "conv2_1")}
    flat = F.relu(F.conv2d(plane, kernels["conv1_2"], weights["conv1_2.bias"]))
    flat = F.relu(F.conv2d(F.max_pool2d(flat, 2), kernels["conv2_1"], weights["conv2_1.bias"]))
    assert torch.allclose(deep, flat[:, :, None].expand_as(deep), atol=1e-4)


@torch.no_grad()
def test_pseudo_kernels_are_copies_divided_by_three_and_colour_becomes_depth():
    weights = flat_weights("conv1_2")
    encoder = pseudo("conv1_2")
    patch = torch.rand(1, 1, 8, 9, 10) * 255 - 127.5
    first = weights["conv1_1.weight"].transpose(2, 3)[:, None]
    later = weights["conv1_2.weight"].transpose(2, 3)[:, :, None].expand(64, 64, 3, 3, 3) / 3
    x = F.relu(F.conv3d(patch, first, weights["conv1_1.bias"], padding=1))
    x = F.relu(F.conv3d(x, later, weights["conv1_2.bias"], padding=1))
    assert torch.allclose(encoder(patch, "conv1_2")[:, :64], x, atol=1e-4 * x.abs().max())


@pytest.mark.parametrize(("orientation", "axes"), list(enumerate([(0, 1, 2), (2, 0, 1), (1, 0, 2)])))
@torch.no_grad()
def test_orientations_are_the_network_with_axes_permuted(orientation, axes):
    weights = flat_weights("conv1_2")
    encoder = pseudo("conv1_2")
    patch = torch.rand(1, 1, 8, 9, 10) * 255 - 127.5
    forth = [0, 1, *(axis + 2 for axis in axes)]  # kernel axis i lies along volume axis axes[i]
    back = torch.argsort(torch.tensor(forth)).tolist()
    first = weights["conv1_1.weight"].transpose(2, 3)[:, None].permute(back)
    later = (weights["conv1_2.weight"].transpose(2, 3)[:, :, None].expand(64, 64, 3, 3, 3) / 3).permute(back)
    x = F.relu(F.conv3d(patch, first, weights["conv1_1.bias"], padding=1))
    x = F.relu(F.conv3d(x, later, weights["conv1_2.bias"], padding=1))
    part = encoder(patch, "conv1_2")[:, orientation * 64 : (orientation + 1) * 64]
    assert torch.allclose(part, x, atol=1e-4 * x.abs().max())


@torch.no_grad()
def test_the_averaged_pseudo_network_is_the_mean_of_the_concatenated_one():
    patch = torch.rand(1, 1, 8, 8, 8) * 255 - 127.5
    all_three = pseudo("conv1_2")(patch, "conv1_2")
    mean = pseudo("conv1_2", "averaged")(patch, "conv1_2")
    assert torch.allclose(all_three.unflatten(1, (3, 64)).mean(1), mean, atol=1e-4 * mean.abs().max())


@torch.no_grad()
def test_self_similarity_matches_its_definition_at_one_voxel():
    volume = torch.randn(1, 1, 11, 11, 11) * 40
    features = Mind().dense(volume, "ssc_r1_d2")[0, :, 2, 2, 2]  # the voxel (5, 5, 5)
    image, steps = (
        volume[0, 0],
        [(s * 2 * (a == 0), s * 2 * (a == 1), s * 2 * (a == 2)) for a in range(3) for s in (-1, 1)],
    )
    distances = []
    for i, p in enumerate(steps):
        for q in steps[i + 1 :]:
            if sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) == 8:
                cubes = [image[tuple(slice(5 + a - 1, 5 + a + 2) for a in step)] for step in (p, q)]
                distances.append(((cubes[0] - cubes[1]) ** 2).mean())
    distances = torch.stack(distances)
    expected = torch.exp(-(distances - distances.min()) / distances.mean())
    assert len(distances) == 12
    assert torch.allclose(features.sort().values, expected.sort().values, atol=1e-5)


@torch.no_grad()
def test_self_similarity_ignores_contrast_inversion_and_stays_in_range():
    volume = torch.randn(1, 1, 16, 15, 14) * 40
    for layer in ("ssc_r1_d2", "mind_r2_d1"):
        features = Mind().dense(volume, layer)
        assert features.min() >= 0
        assert features.max() == 1
        assert torch.allclose(Mind().dense(-volume, layer), features, atol=1e-5)


def test_valid_patches_smaller_than_what_a_layer_sees_are_refused():
    with pytest.raises(InputError, match="14 voxels"):
        Vgg19("random", "conv2_2")(torch.zeros(1, 1, 12, 12, 12), "conv2_2", padding="valid")


def test_unknown_names_suggest_close_ones():
    with pytest.raises(InputError, match="vgg19-3d-random"):
        catalog.build("vgg19-3d-randon")
    with pytest.raises(InputError, match="conv2_2"):
        catalog.resolve_layer("vgg19-3d-random", "conv22")


def test_papers_layer_numbers_are_aliases():
    assert catalog.resolve_layer("brainage-resnet-3d", "6") == "stage1_block1_bn1"
    assert catalog.resolve_layer("resnet-3d-student", "140") == "stage1_block1_conv3"
    layer = resnext.resnext_layers()[catalog.resolve_layer("brainage-resnet-3d", "1290")]
    assert (layer.channels, layer.stride) == (512, 16)


def test_catalog_describes_every_network():
    for name in catalog.names():
        info = catalog.describe(name)
        assert info.summary.endswith(".")
        assert info.default_layer in info.layers
        assert catalog.resolve_layer(name) == info.default_layer
    layers = catalog.describe("vgg19-3d-random").layers
    assert [layers[name].receptive_field for name in ("conv1_1", "conv2_2", "conv4_2")] == [3, 14, 84]
    assert [layers[name].stride for name in ("conv1_1", "conv2_2", "conv4_2", "conv5_4")] == [1, 2, 8, 16]


def test_networks_without_weights_are_never_random(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(tmp_path))
    for name in ("vgg19-3d-pseudo", "resnet-3d-student", "brainage-resnet-3d", "vgg19-3d-student"):
        if catalog.describe(name).weights == "missing":
            with pytest.raises(InputError, match="deepfeatures weights import"):
                catalog.build(name)


@torch.no_grad()
def test_bfloat16_stays_close_to_float32():
    encoder = catalog.build("vgg19-3d-random", layer="conv2_2")
    volume = torch.rand(1, 1, 20, 20, 20) * 255 - 127.5
    exact = encoder.dense(volume, "conv2_2")
    rough = encoder.dense(volume.bfloat16(), "conv2_2").float()
    assert (exact - rough).norm() < 0.02 * exact.norm()
