"""Geodesic shooting: what must hold of every momentum, and momenta that are fitted."""

import numpy as np
import pytest
import torch

from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.lddmm import (
    Kernel,
    KernelSettings,
    energy,
    flow,
    geodesic,
    reversed_in_time,
    shoot,
    warped,
)
from deepfeatures.transforms.lddmm_fit import FitSettings, Pull, fit_momentum
from deepfeatures.transforms.lddmm_transform import LddmmTransform

SHAPE = (20, 26, 22)


def kernel_of(shape=SHAPE, like=torch.float64) -> Kernel:
    return Kernel(shape, 2.0, KernelSettings(), torch.zeros(1, dtype=like))


def momentum_of(moves: float, shape=SHAPE, seed=0) -> torch.Tensor:
    """A random momentum within the grid, by which the fastest place moves so many voxels."""
    rough = torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inner = torch.zeros(shape, dtype=torch.float64)
    inner[5:-5, 5:-5, 5:-5] = 1
    kernel = kernel_of(shape)
    smooth = kernel(rough * inner)
    return moves * smooth / kernel(smooth).norm(dim=0).max()


def inner_points(count=500) -> torch.Tensor:
    last = torch.tensor(SHAPE[::-1], dtype=torch.float64) - 1
    return 4 + (last - 8) * torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_kernel_undoes_the_operator_applied_twice():
    """Against differences between voxels, written out."""
    settings = KernelSettings()
    alpha, beta = settings.alpha_mm2 / 4, settings.beta_mm2 / 4

    def slope(field, axis):
        return (field.roll(-1, axis) - field.roll(1, axis)) / 2

    def operator(velocity):
        curvature = sum(velocity.roll(1, axis) + velocity.roll(-1, axis) - 2 * velocity for axis in (1, 2, 3))
        divergence = sum(slope(velocity[c], 2 - c) for c in range(3))
        squeeze = torch.stack([slope(divergence, 2 - c) for c in range(3)])
        return settings.gamma * velocity - alpha * curvature - beta * squeeze

    momentum = torch.randn(3, 7, 8, 9, dtype=torch.float64)
    found = operator(operator(kernel_of((7, 8, 9))(momentum)))
    torch.testing.assert_close(found, momentum)


def test_without_momentum_nothing_moves():
    velocities = shoot(torch.zeros(3, *SHAPE, dtype=torch.float64), kernel_of())
    points = inner_points()
    assert torch.equal(flow(points, velocities), points)


def test_the_energy_stays_along_the_geodesic():
    kernel = kernel_of()
    momenta = [momentum for momentum, _ in geodesic(momentum_of(3.0), kernel)]
    energies = [float(energy(momentum, kernel)) for momentum in momenta]
    assert energies == pytest.approx([energies[0]] * len(momenta), rel=1e-5)
    assert (momenta[-1] - momenta[0]).norm() > 0.05 * momenta[0].norm(), "the momentum itself does change"


@pytest.mark.parametrize("moves", [0.5, 2.0, 4.0])
def test_the_way_back_leads_to_the_start(moves):
    velocities, points = shoot(momentum_of(moves), kernel_of()), inner_points()
    there = flow(points, velocities)
    assert (there - points).norm(dim=1).max() > 0.3 * moves
    assert (flow(there, reversed_in_time(velocities)) - points).norm(dim=1).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_leaves_no_folds(seed):
    """Even where the fastest place moves by 4 voxels, which is 8 mm."""
    transform = LddmmTransform(shoot(momentum_of(4.0, seed=seed), kernel_of()), grid())
    determinants = transform.jacobian_determinant(grid().random_points(4000))
    assert 0.2 < determinants.min() < 0.9


def test_half_the_steps_lead_to_much_the_same_place():
    momentum, points = momentum_of(2.0), inner_points()
    ends = [flow(points, shoot(momentum, kernel_of(), steps)) for steps in (4, 10, 20)]
    assert (ends[1] - ends[2]).norm(dim=1).max() < 1e-3
    assert (ends[0] - ends[2]).norm(dim=1).max() < 2e-2


def test_gradients_are_those_of_differences():
    shape, points = (4, 5, 6), torch.tensor([[1.2, 2.1, 1.7], [3.3, 1.4, 2.2]], dtype=torch.float64)

    def moved(momentum):
        return flow(points, shoot(momentum, kernel_of(shape), 2))

    momentum = torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moved, (momentum,))


def grid() -> Grid:
    """Turned, left-handed, and away from the origin."""
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]])
    return Grid(np.array([40.0, -30.0, 12.0]), np.full(3, 2.0), turn, SHAPE[::-1])


def test_as_a_transform_it_maps_millimetres_and_back():
    velocities = shoot(momentum_of(2.0), kernel_of())
    transform, indices = LddmmTransform(velocities, grid()), inner_points()
    expected = grid().to_world(flow(indices, velocities).numpy())
    points = grid().to_world(indices.numpy())
    np.testing.assert_allclose(transform(points), expected, atol=1e-9)
    back = transform.inverse(expected)
    assert np.linalg.norm(back.points - points, axis=1).max() < 2e-3
    assert back.errors_mm.max() < 2e-3
    np.testing.assert_allclose(transform.inverted().inverted()(points), expected, atol=1e-9)
    assert transform(np.empty((0, 3))).shape == (0, 3)


def test_a_momentum_fitted_to_points_moves_them():
    points, true = inner_points(60), momentum_of(1.5)
    moves = flow(points, shoot(true, kernel_of())) - points
    pull = Pull(points, moves, torch.ones(60, dtype=torch.float64))
    settings = FitSettings(rounds=4, ridge=1e-7, images=0)
    found = fit_momentum(pull, kernel_of(), torch.zeros(SHAPE, dtype=torch.float64), settings=settings)
    left = flow(points, shoot(found, kernel_of())) - points - moves
    assert left.norm(dim=1).mean() < 0.05 * moves.norm(dim=1).mean()


def test_a_point_without_weight_does_not_count():
    points = torch.tensor([[8.0, 8, 8], [14, 14, 12]], dtype=torch.float64)
    pull = Pull(points, torch.tensor([[1.0, 0, 0], [0, 5, 0]]).double(), torch.tensor([1.0, 0.0]).double())
    settings = FitSettings(ridge=1e-7, images=0)
    found = fit_momentum(pull, kernel_of(), torch.zeros(SHAPE, dtype=torch.float64), settings=settings)
    moved = flow(points, shoot(found, kernel_of())) - points
    assert abs(moved[0, 0] - 1) < 0.05
    assert moved[1].norm() < 0.5


def test_images_alone_show_where_to():
    """A texture that a known momentum has moved; no point pulls."""
    smooth = kernel_of()(torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64))[0]
    template, true = smooth / smooth.abs().max(), shoot(momentum_of(1.0), kernel_of())
    target = warped(template, reversed_in_time(true))
    nobody = Pull(inner_points(1), torch.zeros(1, 3).double(), torch.full((1,), 1e-9).double())
    settings = FitSettings(rounds=6, ridge=1e-4, images=3e4)
    found = shoot(fit_momentum(nobody, kernel_of(), template, target, settings), kernel_of())
    points = inner_points()
    left = (flow(points, found) - flow(points, true)).norm(dim=1).mean()
    assert left < 0.5 * (flow(points, true) - points).norm(dim=1).mean()
