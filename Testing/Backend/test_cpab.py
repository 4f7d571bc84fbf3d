"""Continuous piecewise-affine velocities: continuous, without folds, with an inverse, and as libcpab has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.transforms.cpab import CpabLayer, CpabTransform, fit_cpab, flow, flow_with_jacobian, steps_for
from deepfeatures.transforms.smooth_lattice import NOISE, Lattice, SmoothLattice
from deepfeatures.transforms.tessellation import affine_at, affine_velocities, tetrahedron_of, vertex_weights
from deepfeatures.transforms.transform import Transform

CELLS = st.tuples(*[st.integers(1, 4)] * 3)
SEEDS = st.integers(0, 2**32 - 1)
BOUNDARIES = st.sampled_from(["zero", "free"])


def drawn(seed: int, cells: tuple[int, int, int], boundary: str = "zero", spread: float = 0.4) -> torch.Tensor:
    """Velocities of vertices, in cells."""
    layer = CpabLayer(cells, boundary)
    generator = torch.Generator().manual_seed(seed)
    return layer.velocities(spread * torch.randn(1, layer.parameter_count, generator=generator, dtype=torch.float64))


def places_in(cells: tuple[int, int, int], count: int = 200, seed: int = 0) -> torch.Tensor:
    """`(1, N, 3)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, count, 3, generator=generator, dtype=torch.float64) * torch.tensor(cells)


def velocity_at(velocities: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """At places `(1, N, 3)`, `(N, 3)`."""
    cells = tuple(n - 1 for n in velocities.shape[3:0:-1])
    here = affine_at(affine_velocities(velocities), places.movedim(-1, 0), cells)[:, :, 0]
    return (torch.einsum("ijn,nj->in", here[:, :3], places[0]) + here[:, 3]).T


def vertices(cells: tuple[int, int, int]) -> torch.Tensor:
    """`(1, N, 3)`, x fastest."""
    z, y, x = torch.meshgrid(*(torch.arange(n + 1.0, dtype=torch.float64) for n in reversed(cells)), indexing="ij")
    return torch.stack([x, y, z], -1).reshape(1, -1, 3)


@pytest.mark.parametrize(("cells", "expected"), [((1, 1, 1), 0), ((2, 2, 2), 27), ((3, 3, 3), 96)])
def test_as_many_parameters_as_the_literature_has_with_a_boundary_of_zero(cells, expected):
    assert CpabLayer(cells, "zero").parameter_count == expected


def test_a_free_boundary_has_three_parameters_for_each_vertex():
    assert CpabLayer((2, 3, 4), "free").parameter_count == 3 * 3 * 4 * 5


@settings(max_examples=12, deadline=None)
@given(SEEDS, CELLS)
def test_the_velocity_is_that_of_the_vertices_and_continuous(seed, cells):
    velocities = drawn(seed, cells, "free")
    torch.testing.assert_close(velocity_at(velocities, vertices(cells)), velocities.reshape(-1, 3))
    places = places_in(cells, 2000, seed)
    step = 1e-7 * torch.tensor([[0.6, -0.5, 0.62]], dtype=torch.float64)
    steepest = float(affine_velocities(velocities).abs().sum(1).max())
    change = velocity_at(velocities, places + step) - velocity_at(velocities, places - step)
    assert change.abs().max() <= 2.1e-7 * steepest, "it would jump between tetrahedra"


def test_there_are_five_tetrahedra_a_cell_and_the_one_in_the_middle_is_the_largest():
    cells = (2, 3, 2)
    counts = torch.bincount(tetrahedron_of(places_in(cells, 60_000)[0].T, cells), minlength=60)
    shares = counts.view(-1, 5) / counts.sum() * 12
    torch.testing.assert_close(shares.mean(0), torch.tensor([1 / 3, *[1 / 6] * 4]), atol=0.01, rtol=0)


def test_the_weights_of_vertices_give_the_same_velocity():
    cells = (3, 2, 4)
    velocities, places = drawn(0, cells, "free"), places_in(cells)
    nodes, weights = vertex_weights(places[0], cells)
    assert weights.min() >= -1e-12
    found = (velocities.reshape(-1, 3)[nodes] * weights[..., None]).sum(1)
    torch.testing.assert_close(found, velocity_at(velocities, places))


def test_inside_one_tetrahedron_the_flow_is_the_matrix_exponential():
    velocities = drawn(0, (1, 1, 1), "free", spread=0.02)
    place = torch.full((1, 1, 3), 0.5, dtype=torch.float64)
    affine = torch.cat([affine_velocities(velocities)[0].view(3, 4), torch.zeros(1, 4)])
    expected = torch.linalg.matrix_exp(affine.double()) @ torch.tensor([0.5, 0.5, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(flow(velocities, place, 8)[0, 0], expected[:3], atol=1e-10, rtol=0)


@settings(max_examples=12, deadline=None)
@given(SEEDS, CELLS, BOUNDARIES)
def test_the_negated_velocity_leads_back(seed, cells, boundary):
    velocities, places = drawn(seed, cells, boundary), places_in(cells, seed=seed)
    there = flow(velocities, places, steps_for(velocities))
    back = flow(-velocities, there, steps_for(velocities))
    assert (back - places).norm(dim=-1).max() < 1e-4


@settings(max_examples=12, deadline=None)
@given(SEEDS, CELLS, BOUNDARIES)
def test_nothing_folds(seed, cells, boundary):
    velocities, places = drawn(seed, cells, boundary, spread=0.8), places_in(cells, seed=seed)
    last = flow_with_jacobian(velocities, places, steps_for(velocities))[-1]
    assert torch.linalg.det(last[:, 1:, 0].permute(2, 0, 1)).min() > 0


@settings(max_examples=12, deadline=None)
@given(SEEDS, CELLS, st.integers(0, 2), st.booleans())
def test_nothing_crosses_a_boundary_of_zero(seed, cells, axis, far):
    velocities, places = drawn(seed, cells), places_in(cells, seed=seed)
    face = float(cells[axis] * far)
    places[0, :50, axis] = face
    moved = flow(velocities, places, steps_for(velocities))[0]
    torch.testing.assert_close(moved[:50, axis], torch.full((50,), face, dtype=torch.float64))
    assert (moved >= -1e-12).all() and (moved <= torch.tensor(cells) + 1e-12).all()


def test_along_the_boundary_points_slide_and_a_free_one_they_cross():
    places = places_in((2, 2, 2))
    places[..., 0] = 0
    assert (flow(drawn(0, (2, 2, 2)), places, 16) - places)[..., 1:].abs().max() > 0.05
    assert (flow(drawn(0, (2, 2, 2), "free"), places, 16) - places)[..., 0].abs().max() > 0.05


@pytest.mark.parametrize("boundary", ["zero", "free"])
def test_the_layer_has_the_right_gradients(boundary):
    layer = CpabLayer((2, 1, 2), boundary, steps=2)
    generator = torch.Generator().manual_seed(0)
    parameters = 0.4 * torch.randn(2, layer.parameter_count, generator=generator, dtype=torch.float64)
    places = places_in((2, 1, 2), 3).repeat(2, 1, 1)
    assert torch.autograd.gradcheck(layer, (parameters.requires_grad_(), places.requires_grad_()))


def test_each_of_a_batch_has_its_own_velocity():
    layer, places = CpabLayer((2, 3, 2), steps=8), places_in((2, 3, 2))
    parameters = torch.randn(3, layer.parameter_count, dtype=torch.float64)
    together = layer(parameters, places.expand(3, -1, -1))
    for one, alone in zip(together, parameters, strict=True):
        torch.testing.assert_close(one, layer(alone[None], places)[0])


def test_a_layer_learns_the_velocity_that_moved_points():
    layer, places = CpabLayer((2, 2, 2)), places_in((2, 2, 2), 300)
    true = 0.3 * torch.randn(1, 27, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = layer(true, places)
    guess = torch.zeros(1, 27, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([guess], max_iter=20, line_search_fn="strong_wolfe")

    def missed() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (layer(guess, places) - wanted).square().mean()
        loss.backward()
        return loss

    optimiser.step(missed)
    assert (guess - true).detach().abs().max() < 0.01


def in_millimetres(seed: int = 0) -> CpabTransform:
    """Cells of 20, 30 and 25 mm."""
    cells = np.array([20.0, 30.0, 25.0])
    low = np.array([-50.0, 10.0, 100.0])
    velocities = drawn(seed, (3, 2, 4), spread=0.3)[0].numpy() * cells
    return CpabTransform(velocities, low, low + cells * (3, 2, 4))


def around(transform: CpabTransform, count: int = 300) -> np.ndarray:
    """LPS mm in its box and beyond."""
    edge = transform.high - transform.low
    return np.random.default_rng(0).uniform(transform.low - edge / 4, transform.high + edge / 4, (count, 3))


def test_the_jacobian_is_the_derivative():
    transform = in_millimetres()
    points = around(transform)
    off = np.abs(transform.jacobian(points) - Transform.jacobian(transform, points)).max((1, 2))
    assert np.quantile(off, 0.95) < 1e-6, "but for a few whose neighbours go through other tetrahedra"


def test_points_in_and_beyond_the_box_come_back():
    transform = in_millimetres()
    points = around(transform)
    back = transform.inverse(transform(points))
    assert back.errors_mm.max() < 1e-4 * transform.cell.min()
    np.testing.assert_allclose(back.points, points, atol=0.01)
    np.testing.assert_allclose(transform.inverted()(transform(points)), points, atol=0.01)


def test_beyond_the_box_the_velocity_goes_on_without_a_jump():
    transform = in_millimetres()
    middle = (transform.low + transform.high) / 2
    for axis in range(3):
        face = middle[None].copy()
        face[:, axis] = transform.high[axis]
        step = 1e-6 * np.eye(3)[axis]
        np.testing.assert_allclose(transform(face + step), transform(face - step), atol=1e-5)
        far = face + 100 * np.eye(3)[axis]
        np.testing.assert_allclose(transform(far) - far, transform(face) - face, atol=1e-9)


def pairs(count: int, wave_mm: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(seed).uniform(0, 100, (count, 3))
    return points, points + wave_mm * np.sin(points[:, ::-1] / 25)


BOX = np.zeros(3), np.full(3, 100.0)


def test_a_smooth_change_is_recovered_between_the_landmarks():
    transform = fit_cpab(*pairs(200, 3.0), np.ones(200), *BOX)
    others, wanted = pairs(200, 3.0, seed=1)
    off = np.linalg.norm(transform(others) - wanted, axis=1)
    assert off.mean() < 0.2 * np.linalg.norm(wanted - others, axis=1).mean()


def test_a_fit_is_the_best_there_is_nearby():
    points, targets = pairs(30, 8.0)
    transform = fit_cpab(points, targets, np.ones(30), *BOX)
    lattice = Lattice.for_landmarks(points, *BOX)
    nodes = transform.velocities.shape[:3]
    smooth = [
        SmoothLattice.over(nodes, lattice.spacing[::-1], lattice.length, [axis == k for k in (2, 1, 0)])
        for axis in range(3)
    ]

    def cost(change: np.ndarray) -> float:
        tried = CpabTransform(transform.velocities + change, transform.low, transform.high)
        surprise = sum(one.surprise(torch.from_numpy(tried.velocities[..., k])) for k, one in enumerate(smooth))
        return float(surprise) + float(((tried(points) - targets) ** 2).sum() / NOISE)

    best = cost(np.zeros(3))
    for seed in range(6):
        noise = torch.randn(3, *nodes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        change = torch.stack([one.covariance(part) for one, part in zip(smooth, noise, strict=True)], -1).numpy()
        for size_mm in (-0.1, 0.1):
            assert cost(size_mm * change / np.abs(change).max()) > best * (1 - 1e-4)
    assert (
        np.linalg.norm(transform(points) - targets, axis=1).mean()
        < 0.5 * np.linalg.norm(points - targets, axis=1).mean()
    )


def test_a_pair_that_counts_less_is_followed_less():
    points, targets = pairs(40, 0.0)
    targets = targets + np.eye(40)[:, :1] * 10.0
    moved = [
        np.linalg.norm(fit_cpab(points, targets, weights, *BOX)(points[:1]) - points[:1])
        for weights in (np.ones(40), np.where(np.arange(40) == 0, 0.05, 1.0), np.where(np.arange(40) == 0, 0.0, 1.0))
    ]
    assert moved[0] > 5.0 > moved[1] > 10 * moved[2]


def test_landmarks_that_have_changed_places_do_not_fold_it():
    points, targets = pairs(30, 2.0)
    nearest = int(np.linalg.norm(points[1:] - points[0], axis=1).argmin()) + 1
    targets[[0, nearest]] = targets[[nearest, 0]]
    transform = fit_cpab(points, targets, np.ones(30), *BOX)
    places = np.random.default_rng(0).uniform(*BOX, (3000, 3))
    assert transform.jacobian_determinant(places).min() > 0
    assert transform.inverse(places).errors_mm.max() < 1e-4 * transform.cell.min()


def test_libcpab_has_the_same_velocities_and_paths():
    libcpab = pytest.importorskip("libcpab", reason="a peer, installed by hand")
    peer = libcpab.Cpab([2, 2, 2], device="cpu", zero_boundary=True)
    theta = 0.3 * torch.randn(1, 27, generator=torch.Generator().manual_seed(0))
    cells = (2, 2, 2)
    at_vertices = peer.calc_vectorfield((vertices(cells)[0].T / 2).float(), theta)
    velocities = 2 * at_vertices.T.double().reshape(1, 3, 3, 3, 3)
    places = places_in(cells)
    unit = (places[0].T / 2).float()
    expected = 2 * peer.calc_vectorfield(unit.clone(), theta).T.double()
    torch.testing.assert_close(velocity_at(velocities, places), expected, atol=1e-5, rtol=0)
    moved = 2 * peer.transform_grid(unit.clone(), theta)[0].T.double()
    torch.testing.assert_close(flow(velocities, places, 32)[0], moved, atol=2e-4, rtol=0)
