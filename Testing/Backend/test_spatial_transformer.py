"""The two samplers, and the spatial transformer: which way it moves what, from where it starts, and its gradients."""

import math

import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.transforms.samplers import centre_units, face_units, sample_by_centres, sample_by_faces
from deepfeatures.transforms.spatial_transformer import (
    SAMPLERS,
    AffineGrid,
    AttentionGrid,
    LocalisationNet,
    SpatialTransformer,
    ThinPlateGrid,
)

GRIDS = {"affine": AffineGrid, "attention": AttentionGrid, "thin plate": lambda: ThinPlateGrid(3)}
SHAPE = (7, 9, 11)


def voxels(shape=SHAPE):
    """x, y, z of each voxel, `(N, 3)`, float64."""
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    return torch.stack((x, y, z), -1).reshape(-1, 3)


def blob(places, centre):
    """A ball of light about a place, seen at places `(N, 3)` in units."""
    return torch.exp(-5 * (places - centre).square().sum(-1))


def random_parameters(grid, batch=2, size=0.15):
    return size * torch.randn(batch, grid.count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("units", "sampler"), [(face_units, sample_by_faces), (centre_units, sample_by_centres)], ids=["faces", "centres"]
)
def test_a_sampler_finds_every_voxel_where_its_units_put_it(units, sampler):
    volume = torch.rand(1, 2, *SHAPE, dtype=torch.float64)
    places = units(voxels(), SHAPE).reshape(1, *SHAPE, 3)
    for interpolation in ("bilinear", "nearest"):
        torch.testing.assert_close(sampler(volume, places, interpolation=interpolation), volume)


def test_the_units_differ_by_half_a_voxel_at_the_ends_and_agree_in_the_middle():
    ends = torch.tensor([[0.0, 0, 0], [10, 8, 6], [5, 4, 3]], dtype=torch.float64)
    torch.testing.assert_close(
        centre_units(ends, SHAPE), torch.tensor([[-1.0] * 3, [1.0] * 3, [0.0] * 3], dtype=torch.float64)
    )
    assert face_units(ends, SHAPE)[0].tolist() == pytest.approx([-1 + 1 / 11, -1 + 1 / 9, -1 + 1 / 7])
    ramp = voxels()[:, 0].reshape(1, 1, *SHAPE)
    beside = torch.tensor([0.9, 0, 0], dtype=torch.float64).reshape(1, 1, 1, 1, 3)
    assert float(sample_by_faces(ramp, beside)) == pytest.approx((0.9 + 1) * 11 / 2 - 0.5)
    assert float(sample_by_centres(ramp, beside)) == pytest.approx((0.9 + 1) * 10 / 2)


@pytest.mark.parametrize("sampler", [sample_by_faces, sample_by_centres])
def test_beyond_the_volume_a_border_is_repeated_and_zeros_fade(sampler):
    volume = torch.ones(1, 1, *SHAPE)
    beyond = torch.tensor([1.6, 0, 0]).reshape(1, 1, 1, 1, 3)
    assert float(sampler(volume, beyond)) == 1
    assert float(sampler(volume, beyond, padding="zeros")) == 0


def test_an_axis_of_one_voxel_has_its_value_everywhere_between_centres():
    slice_ = torch.rand(1, 1, 1, 5, 5)
    places = centre_units(voxels((1, 5, 5)).float(), slice_.shape)
    assert torch.isfinite(places).all()
    torch.testing.assert_close(sample_by_centres(slice_, places.reshape(1, 1, 5, 5, 3)), slice_)


@pytest.mark.parametrize("units", SAMPLERS)
@pytest.mark.parametrize("kind", GRIDS)
def test_a_new_transformer_leaves_volumes_as_they_are(kind, units):
    grid = GRIDS[kind]()
    transformer = SpatialTransformer(LocalisationNet(2, grid.count), grid, units=units)
    volumes = torch.rand(3, 2, 16, 20, 18)
    torch.testing.assert_close(transformer(volumes), volumes, atol=2e-5, rtol=0)


@pytest.mark.parametrize("units", SAMPLERS)
@pytest.mark.parametrize("kind", GRIDS)
def test_points_of_the_output_show_what_lies_at_their_places_in_the_input(kind, units):
    """The picture agrees with the points: output(p) = input(where the grid takes p)."""
    grid, shape = GRIDS[kind](), (28, 32, 36)
    places = SAMPLERS[units][0](voxels(shape), shape)
    light = torch.tensor([0.3, -0.2, 0.25], dtype=torch.float64)
    transformer = SpatialTransformer(torch.nn.Identity(), grid, units=units)
    parameters = random_parameters(grid, 1, 0.1)
    moved = transformer.resample(blob(places, light).reshape(1, 1, *shape), parameters).flatten()
    there = grid(parameters, places)[0]
    within = (there.abs() < 0.9).all(1)
    expected, other_way = blob(there, light), blob(2 * places - there, light)
    assert (moved - expected)[within].abs().max() < 0.02
    assert (moved - other_way)[within].abs().max() > 0.2


@pytest.mark.parametrize("units", SAMPLERS)
def test_a_shift_of_one_voxel_along_x_shows_the_next_voxel_along_x(units):
    volume = torch.rand(1, 1, *SHAPE, dtype=torch.float64)
    step = SAMPLERS[units][0](torch.tensor([[1.0, 0, 0]], dtype=torch.float64), SHAPE)
    step = step - SAMPLERS[units][0](torch.zeros(1, 3, dtype=torch.float64), SHAPE)
    shift = torch.zeros(1, 3, 4, dtype=torch.float64)
    shift[0, :, 3] = step[0]
    moved = SpatialTransformer(torch.nn.Identity(), AffineGrid(), units=units).resample(volume, shift.flatten(1))
    torch.testing.assert_close(moved[..., :-1], volume[..., 1:])


def test_attention_enlarges_what_lies_at_its_place():
    grid = AttentionGrid()
    corners = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    seen = grid(torch.tensor([[math.log(0.25), 0.5, 0, -0.5]]), corners)[0]
    assert seen.flatten().tolist() == pytest.approx([0.25, -0.25, -0.75, 0.75, 0.25, -0.25])


def test_a_thin_plate_moves_its_control_points_by_its_parameters_and_carries_affine_moves_everywhere():
    grid = ThinPlateGrid(3)
    parameters = random_parameters(grid)
    moved = grid(parameters, grid.controls)
    torch.testing.assert_close(moved, grid.controls + parameters.unflatten(1, (27, 3)))
    matrix = torch.tensor([[0.1, 0.2, 0], [-0.2, 0.1, 0.05], [0, 0, -0.1]], dtype=torch.float64)
    elsewhere = torch.tensor([[0.37, -0.61, 0.2], [0.9, 0.8, -0.7]], dtype=torch.float64)
    carried = grid((grid.controls @ matrix.T).reshape(1, -1), elsewhere)[0]
    torch.testing.assert_close(carried, elsewhere + elsewhere @ matrix.T)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("units", SAMPLERS)
def test_gradients_are_right_to_a_millionth(kind, units):
    grid = GRIDS[kind]()
    transformer = SpatialTransformer(torch.nn.Identity(), grid, units=units)
    volumes = torch.rand(1, 1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    # Half steps off the nodes, where linear interpolation has no kinks.
    parameters = random_parameters(grid, 1, 0.05) + 0.013
    assert torch.autograd.gradcheck(
        transformer.resample, (volumes.requires_grad_(), parameters.requires_grad_()), eps=1e-6, atol=1e-6, rtol=0
    )


def test_a_transformer_learns_to_undo_a_shift():
    """Loss alone teaches the localisation net: no one tells it the shift."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grid = AttentionGrid()
        transformer = SpatialTransformer(LocalisationNet(1, grid.count), grid)
    shape, generator = (20, 20, 20), torch.Generator().manual_seed(2)
    places = face_units(voxels(shape).float(), shape)
    wanted = blob(places, torch.zeros(3)).reshape(1, 1, *shape)
    optimiser = torch.optim.Adam(transformer.parameters(), lr=2e-3)

    def shifted():
        shifts = 0.6 * torch.rand(8, 1, 3, generator=generator) - 0.3
        return blob(places, shifts).reshape(8, 1, *shape)

    held_out = shifted()
    before = (held_out - wanted).square().mean()
    for _ in range(120):
        loss = (transformer(shifted()) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (transformer(held_out) - wanted).square().mean() < 0.25 * before


def test_a_thin_plate_of_one_control_point_is_refused():
    with pytest.raises(InputError, match="two control points"):
        ThinPlateGrid(1)
