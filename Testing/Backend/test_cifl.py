"""The network: what its features depend on, and what it takes as weights."""

import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.features.dense import FIXED_BYTES, encode_dense
from deepfeatures.networks.cifl import COARSE_STRIDE, Cifl, _Double, _ReplicatePad, build_cifl, normalise
from deepfeatures.networks.mind import Mind


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = Cifl().train()
    with torch.no_grad():
        for _ in range(3):  # running statistics away from their start
            network.maps(torch.rand(2, 1, 16, 16, 16))
    return network.eval().requires_grad_(False)


def test_features_move_along_when_the_crop_is_shifted(network):
    volume = torch.nn.functional.interpolate(torch.randn(1, 1, 24, 14, 14), scale_factor=4, mode="trilinear")
    shift = 16
    whole = network.maps(volume)["fine"][..., shift:, :, :]
    crop = network.maps(volume[..., shift:, :, :])["fine"]
    inner = (slice(None), slice(None), slice(40, None))
    agreement = torch.cosine_similarity(whole[inner], crop[inner], dim=1)
    assert agreement.min() > 0.999


def test_a_feature_depends_on_its_surroundings_and_not_on_far_voxels(network):
    volume = torch.rand(1, 1, 8, 8, 240)
    changed = volume.clone()
    changed[..., 200:] = 0
    before, after = network.maps(volume)["fine"], network.maps(changed)["fine"]
    assert torch.equal(before[..., :100], after[..., :100])
    assert not torch.allclose(before[..., 200:], after[..., 200:])


def test_borders_carry_no_mark_of_position(network):
    features = network.maps(torch.full((1, 1, 24, 24, 24), 0.5))["fine"]
    assert (features - features[..., 12:13, 12:13, 12:13]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("layer", "channels", "stride"), [("fine", 8, 1), ("fine_ssc", 20, 1), ("coarse", 48, COARSE_STRIDE)]
)
def test_maps_have_the_sizes_that_layers_announce(network, layer, channels, stride):
    volume = 255 * torch.rand(2, 1, 41, 43, 44) - 127.5
    assert network(volume, layer).shape == (2, channels, -(-41 // stride), -(-43 // stride), -(-44 // stride))
    field = network.layers[layer].receptive_field
    assert network.dense(volume, layer).shape[1:] == (channels, *(n - field + 1 for n in (41, 43, 44)))


def test_coarse_vectors_have_unit_length_and_fine_ones_at_most(network):
    maps = network.maps(torch.rand(1, 1, 40, 40, 40))
    torch.testing.assert_close(maps["coarse"].norm(dim=1), torch.ones(1, 10, 10, 10))
    lengths = maps["fine"].norm(dim=1)
    assert lengths.min() > 0
    assert lengths.max() <= 1


def test_features_beside_self_similarity_weigh_as_trained(network):
    volume = 255 * torch.rand(1, 1, 24, 24, 24) - 127.5
    both, fine = network(volume, "fine_ssc"), network(volume, "fine")
    similar = Mind()(torch.nn.functional.pad(volume, (3,) * 6, mode="replicate"), "ssc_r1_d2", padding="valid")

    def apart(features, channels):
        return (features - features.roll(1, 4)).square().sum(1) / channels

    wanted = apart(similar, 12) + float(network.log_gain.exp()) * apart(fine, 12)
    torch.testing.assert_close(apart(both, 20), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["fine", "fine_ssc", "coarse"])
@pytest.mark.parametrize("corner", [(0, 0, 0), (9, 3, 17)])
def test_a_part_has_the_features_of_the_whole(network, layer, corner):
    """Off the whole's border by as much as features reach in practice, and at the border itself."""
    volume = 255 * torch.rand(48, 40, 56, generator=torch.Generator().manual_seed(0)) - 127.5
    whole = encode_dense(network, layer, volume)
    region = tuple(slice(first, first + 8) for first in corner)
    part = encode_dense(network, layer, volume, region=region)
    assert part.shape == whole[(slice(None), *region)].shape
    assert (part - whole[(slice(None), *region)]).norm(dim=0).max() < 0.05 * whole.norm(dim=0).max()


def test_tiles_cover_the_volume(network):
    volume = 255 * torch.rand(40, 40, 40, generator=torch.Generator().manual_seed(0)) - 127.5
    whole = encode_dense(network, "fine", volume)
    tiled = encode_dense(network, "fine", volume, working_bytes=FIXED_BYTES + (1 << 20))
    assert (whole - tiled).norm(dim=0).mean() < 0.02 * whole.norm(dim=0).mean()


def test_bfloat16_is_the_same_up_to_its_precision(network):
    volume = 255 * torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(0)) - 127.5
    exact = encode_dense(network, "fine_ssc", volume)
    rounded = encode_dense(network, "fine_ssc", volume, precision="bfloat16")
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm(dim=0).mean() < 0.03 * exact.norm(dim=0).mean()


def test_fused_weights_give_the_same_features(network):
    volume = torch.rand(1, 1, 24, 24, 24)
    fused = build_cifl("cifl", network.state_dict())
    for layer, wanted in network.maps(volume).items():
        torch.testing.assert_close(fused.maps(volume)[layer], wanted, atol=1e-4, rtol=0)


def test_wrong_weights_are_named(network):
    tensors = network.state_dict()
    with pytest.raises(InputError, match=r"fine_head\.bias"):
        build_cifl("cifl", {key: value for key, value in tensors.items() if key != "fine_head.bias"})
    with pytest.raises(InputError, match=r"up1\.0\.0\.weight"):
        build_cifl("cifl", {**tensors, "up1.0.0.weight": torch.zeros(1)})


def test_it_is_small_enough_to_ship():
    assert sum(value.numel() * 4 for value in Cifl().state_dict().values()) < 10e6


def test_normalise_ignores_unit_offset_and_outliers():
    x = torch.rand(2, 1, 20, 20, 20)
    scaled = 700 * x - 1000
    scaled[0, 0, 0, 0, 0] = 1e6
    torch.testing.assert_close(normalise(x).flatten(1)[:, 1:], normalise(scaled).flatten(1)[:, 1:], atol=2e-2, rtol=0)


def test_normalise_bears_constant_and_almost_empty_volumes():
    x = torch.zeros(2, 1, 8, 8, 8)
    x[1, 0, 4, 4, 4] = 50
    found = normalise(x)
    assert torch.isfinite(found).all()
    assert found[1, 0, 4, 4, 4] == 1


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        (_ReplicatePad.apply, lambda x: torch.nn.functional.pad(x, (1,) * 6, mode="replicate")),
        (_Double.apply, lambda x: torch.nn.functional.interpolate(x, scale_factor=2, mode="trilinear")),
    ],
    ids=["pad", "double"],
)
def test_own_gradients_equal_those_of_torch(own, reference):
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.double, requires_grad=True)
    weights = torch.randn_like(reference(x))
    gradients = [torch.autograd.grad((operation(x) * weights).sum(), x)[0] for operation in (own, reference)]
    assert torch.equal(own(x), reference(x))
    torch.testing.assert_close(*gradients)
