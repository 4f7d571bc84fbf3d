"""Encoding: the paper's patches, every voxel in tiles, activation maps in their place."""

import numpy as np
import pytest
import torch

from deepfeatures.data.intensity import scale_volume
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.activations import activation_maps
from deepfeatures.features.dense import encode_dense, encode_tiles, receptive_offset
from deepfeatures.features.patch import anchor, cut_patches, patch_features, scale_patches
from deepfeatures.networks import catalog
from deepfeatures.networks.base import Encoder, Layer, Step
from deepfeatures.networks.dense_inference import Operation
from deepfeatures.networks.layers import Convolution
from deepfeatures.networks.resnext import ResNext50


@pytest.fixture(scope="module")
def volume():
    return torch.rand(17, 19, 15, generator=torch.Generator().manual_seed(0)) * 255 - 127.5


@pytest.fixture(scope="module")
def vgg():
    return catalog.build("vgg19-3d-random", layer="conv2_1")


@pytest.mark.parametrize("size", [4, 5, 12, 16, 20, 24, 28, 32])
def test_the_landmark_lies_at_the_anchor_of_its_patch(size):
    voxels = torch.arange(40.0**3).reshape(40, 40, 40)
    patch = cut_patches(voxels, np.array([[20, 17, 18]]), size)
    assert patch.shape == (1, 1, size, size, size)
    index = anchor(size)
    assert patch[0, 0, index, index, index] == voxels[18, 17, 20]
    assert patch[0, 0, index, index, index + 1] == voxels[18, 17, 21]
    if size % 2 == 0:
        assert index == round(size / 2) - 1


def test_patches_repeat_the_border():
    voxels = torch.arange(27.0).reshape(3, 3, 3)
    patch = cut_patches(voxels, np.array([[0, 1, 2]]), 4)[0, 0]
    assert patch[anchor(4), anchor(4)].tolist() == [21, 21, 22, 23]
    assert torch.equal(patch[1], patch[2])


def test_patches_of_less_than_four_voxels_are_refused():
    with pytest.raises(InputError, match="4 or more"):
        cut_patches(torch.zeros(8, 8, 8), np.zeros((1, 3), int), 3)


def test_each_patch_is_scaled_for_itself():
    patches = torch.stack([torch.arange(64.0), torch.arange(64.0) * 7 - 3, torch.full((64,), 5.0)]).reshape(
        3, 1, 4, 4, 4
    )
    scaled = scale_patches(patches)
    assert torch.allclose(scaled[0], scaled[1], atol=1e-4)
    assert (scaled[0].min(), scaled[0].max()) == (-127.5, 127.5)
    assert (scaled[2] == 0).all()


def test_volumes_are_scaled_as_a_whole(volume):
    scaled = scale_volume(volume * 3 + 11)
    assert (scaled.min(), scaled.max()) == (-127.5, 127.5)
    assert (scale_volume(torch.full((3, 3, 3), 2.0)) == 0).all()


def test_patch_features_do_not_depend_on_the_batch(vgg, volume):
    patches = scale_patches(cut_patches(volume, np.array([[5, 6, 7], [8, 9, 8], [1, 1, 1]]), 12))
    features = patch_features(vgg, "conv2_1", patches)
    assert features.shape == (3, 128, 6, 6, 6)
    assert torch.allclose(patch_features(vgg, "conv2_1", patches, batch=2), features, atol=1e-4 * features.abs().max())


@pytest.mark.parametrize(
    ("network", "layer", "voxels"),
    [
        ("vgg19-3d-random", "conv1_2", [(2, 2, 2), (12, 16, 14)]),
        ("vgg19-3d-random", "conv2_1", [(7, 8, 9), (4, 4, 4), (9, 13, 11)]),
        ("mind", "ssc_r1_d2", [(7, 8, 9), (0, 0, 0), (14, 18, 16), (3, 18, 5)]),
    ],
)
def test_a_voxels_dense_feature_is_that_of_the_patch_around_it(network, layer, voxels, volume):
    encoder = catalog.build(network, layer=layer)
    known = encoder.layers[layer]
    dense = encode_dense(encoder, layer, volume)
    assert dense.shape == (known.channels, *volume.shape)
    assert receptive_offset(known) == anchor(known.receptive_field)
    for x, y, z in voxels:
        patch = cut_patches(volume, np.array([[x, y, z]]), known.receptive_field)
        alone = patch_features(encoder, layer, patch, padding="valid")[0, :, 0, 0, 0]
        assert torch.allclose(dense[:, z, y, x], alone, atol=1e-4 * dense.abs().mean())


def test_tiles_give_the_numbers_of_one_pass(vgg, volume, monkeypatch):
    monkeypatch.setattr("deepfeatures.features.dense.SMALLEST_TILE", 5)
    whole = encode_dense(vgg, "conv2_1", volume)
    tolerance = 1e-4 * whole.abs().mean()
    assert torch.allclose(encode_dense(vgg, "conv2_1", volume, working_bytes=1), whole, atol=tolerance)
    seen = torch.zeros(volume.shape)
    tiles = 0
    for region, features in encode_tiles(vgg, "conv2_1", volume, max_bytes=1):
        assert torch.allclose(features, whole[(slice(None), *region)], atol=tolerance)
        seen[region] += 1
        tiles += 1
    assert tiles > 8
    assert (seen == 1).all()


def test_a_regions_features_are_a_crop_of_all(vgg, volume):
    region = (slice(2, 9), slice(0, 19), slice(11, 15))
    whole = encode_dense(vgg, "conv2_1", volume)
    part = encode_dense(vgg, "conv2_1", volume, region=region)
    assert part.shape == (128, 7, 19, 4)
    assert torch.allclose(part, whole[(slice(None), *region)], atol=1e-4 * whole.abs().mean())


def test_an_empty_region_has_no_features(vgg, volume):
    assert encode_dense(vgg, "conv2_1", volume, region=(slice(3, 3), slice(None), slice(None))).shape == (
        128,
        0,
        19,
        15,
    )


def test_features_move_along_with_the_anatomy(vgg):
    big = torch.rand(26, 26, 26) * 255 - 127.5
    here = encode_dense(vgg, "conv2_1", big[:-3, :-1, :])
    moved = encode_dense(vgg, "conv2_1", big[3:, 1:, :])
    margin = vgg.layers["conv2_1"].receptive_field
    inside = slice(margin, 23 - margin), slice(margin, 25 - margin), slice(margin, 26 - margin)
    shifted = tuple(slice(s.start - d, s.stop - d) for s, d in zip(inside, (3, 1, 0), strict=True))
    expected, found = here[(slice(None), *inside)], moved[(slice(None), *shifted)]
    assert expected.numel() > 0
    assert torch.allclose(found, expected, atol=1e-4 * here.abs().mean())


def test_bfloat16_features_are_half_as_large_and_close(vgg, volume):
    exact = encode_dense(vgg, "conv2_1", volume)
    rough = encode_dense(vgg, "conv2_1", volume, precision="bfloat16")
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() < 0.02 * exact.norm()


def tilted(voxels: torch.Tensor) -> Volume:
    """An oblique, left-handed grid."""
    turn, _ = np.linalg.qr(np.array([[0.9, 0.2, -0.3], [0.1, -0.8, 0.4], [0.3, 0.5, 0.9]]))
    if np.linalg.det(turn) > 0:
        turn[:, 0] *= -1
    return Volume(voxels, origin=np.array([12.0, -30.0, 7.5]), spacing=np.array([0.8, 1.1, 1.4]), direction=turn)


class Averaging(Encoder):
    """A network whose kernels are means, so that the centroid of what it puts out is that of its input."""

    norm = "frobenius"

    def __init__(self, kernels: tuple[tuple[int, int], ...]):
        super().__init__()
        self.name = "averaging"
        self.convolutions = torch.nn.ModuleList(Convolution(1, 1, (kernel,) * 3).make() for kernel, _ in kernels)
        self.strides = [stride for _, stride in kernels]
        for part in self.convolutions:
            torch.nn.init.constant_(part.weight, 1 / part.weight.numel())
            torch.nn.init.zeros_(part.bias)
        self.layers = {"mean": Layer.after([Step(*step) for step in kernels], "mean", 1)}

    def operations(self, layer):
        return [
            Operation(lambda x, mode, p=part, s=stride: mode.conv(x, p, stride=s), 1, part.weight.shape[-1] - 1, stride)
            for part, stride in zip(self.convolutions, self.strides, strict=True)
        ]


def centroid(volume: Volume, weights: torch.Tensor) -> np.ndarray:
    """LPS mm centre of mass."""
    z, y, x = np.indices(weights.shape)
    indices = np.stack([x, y, z], -1).reshape(-1, 3)
    return np.average(volume.to_world(indices), axis=0, weights=weights.numpy().ravel())


def blob(size: tuple[int, int, int], at: tuple[float, float, float]) -> torch.Tensor:
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    return torch.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) / (2 * 2.5**2))


@pytest.mark.parametrize("kernels", [((3, 1),), ((3, 2),), ((7, 2), (3, 2)), ((2, 2), (3, 1), (2, 2))])
@pytest.mark.parametrize("size", [(24, 24, 24), (25, 27, 26)])
def test_maps_of_strided_convolutions_overlay_their_source(kernels, size):
    source = tilted(blob(size, (12.3, 13.1, 11.6)))
    encoder = Averaging(kernels)
    activation = activation_maps(encoder, "mean", source).channels[0]
    change = activation.voxels - background(encoder, "mean", source)[0]
    offset = source.direction.T @ (centroid(activation, change) - source.to_world(np.array([[12.3, 13.1, 11.6]]))[0])
    assert np.abs(offset / source.spacing).max() < 0.3


@torch.no_grad()
def background(encoder, layer: str, source: Volume) -> torch.Tensor:
    """The layer's maps of the scaled volume without the blob, borders included."""
    return encoder(torch.full_like(source.voxels, -127.5)[None, None], layer)[0]


@pytest.mark.parametrize("layer", ["conv1_2", "conv2_2", "conv3_2"])
def test_vgg_maps_of_a_bright_blob_lie_over_it_to_half_a_voxel(layer):
    encoder = catalog.build("vgg19-3d-random", layer=layer)
    source = tilted(blob((32, 32, 32), (15.3, 16.6, 14.7)))
    stride = encoder.layers[layer].stride
    maps = activation_maps(encoder, layer, source)
    change = sum((m.voxels - b) ** 2 for m, b in zip(maps.channels, background(encoder, layer, source), strict=True))
    assert np.allclose(maps.channels[0].spacing, np.array(source.spacing) * stride)
    offset = source.direction.T @ (
        centroid(maps.channels[0], change) - source.to_world(np.array([[15.3, 16.6, 14.7]]))[0]
    )
    assert np.abs(offset / source.spacing).max() < 0.5


def test_a_patchs_map_lies_at_its_landmark(vgg):
    source = tilted(blob((30, 30, 30), (14, 16, 13)))
    point = source.to_world(np.array([[14.2, 15.9, 13.1]]))[0]
    maps = activation_maps(vgg, "conv2_1", source, point=point, patch_size=12)
    assert maps.complete
    assert len(maps.channels) == 128
    assert maps.channels[0].size == (6, 6, 6)
    assert np.allclose(
        maps.source.to_world(np.full((1, 3), anchor(12)))[0], source.to_world(np.array([[14, 16, 13]]))[0]
    )
    assert np.allclose(maps.channels[0].to_world(np.full((1, 3), 2.5))[0], maps.source.centre)


def test_maps_beyond_the_papers_patch_size_say_so():
    encoder = catalog.build("vgg19-3d-random", layer="conv4_1")
    source = tilted(blob((12, 12, 12), (6, 6, 6)))
    point = source.centre
    assert activation_maps(encoder, "conv4_1", source, point=point, patch_size=8).complete
    assert not activation_maps(encoder, "conv4_1", source, point=point, patch_size=4).complete
    deep = ResNext50("resnet", "stage1_block1_bn1").eval()
    assert activation_maps(deep, "stage1_block1_bn1", source, point=point, patch_size=4).complete


@pytest.mark.parametrize("edge", [-0.5, 11.5])
def test_a_point_on_the_volumes_face_has_the_patch_of_the_outermost_voxel(vgg, edge):
    source = tilted(blob((12, 12, 12), (6, 6, 6)))
    on_face, outermost = source.to_world(np.array([[edge] * 3, [np.clip(edge, 0, 11)] * 3]))
    found, known = (
        activation_maps(vgg, "conv2_1", source, point=point, patch_size=12).source for point in (on_face, outermost)
    )
    assert torch.equal(found.voxels, known.voxels)
    assert np.allclose(found.origin, known.origin)


def test_points_outside_and_half_given_patches_are_refused(vgg):
    source = tilted(blob((12, 12, 12), (6, 6, 6)))
    with pytest.raises(InputError, match="outside"):
        activation_maps(vgg, "conv2_1", source, point=np.array([500.0, 0, 0]), patch_size=12)
    with pytest.raises(InputError, match="both"):
        activation_maps(vgg, "conv2_1", source, patch_size=12)
