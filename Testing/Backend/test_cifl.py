"""The network: what its features depend on, and what it takes as weights."""

import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.networks.cifl import COARSE_STRIDE, HALO, Cifl, _Double, _ReplicatePad, build_cifl, normalise


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
    agreement = (whole[inner] * crop[inner]).sum(1)
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


@pytest.mark.parametrize(("layer", "channels", "stride"), [("fine", 16, 1), ("coarse", 48, COARSE_STRIDE)])
def test_maps_have_unit_vectors_and_the_sizes_that_layers_announce(network, layer, channels, stride):
    volume = torch.rand(2, 1, 41, 43, 44)
    found = network.forward(volume, layer)
    assert found.shape == (2, channels, -(-41 // stride), -(-43 // stride), -(-44 // stride))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(found.shape[0], *found.shape[2:]))
    field = network.layers[layer].receptive_field
    assert network.dense(volume, layer).shape[2:] == tuple(n - field + 1 for n in (41, 43, 44))


def test_dense_features_lie_where_the_map_has_them(network):
    volume = torch.rand(1, 1, 40, 40, 40)
    fine = network.maps(volume)["fine"]
    assert torch.equal(network.dense(volume, "fine")[..., 0, 0, 0], fine[..., HALO, HALO, HALO])
    view = torch.empty(16, 8, 8, 8)
    network.dense_into([view], volume, "fine")
    assert torch.equal(view, fine[0, :, HALO:-HALO, HALO:-HALO, HALO:-HALO])


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
