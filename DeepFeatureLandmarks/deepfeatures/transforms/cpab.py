"""Continuous piecewise-affine velocities (CPAB) in 3D: transforms that cannot fold, with an inverse like any point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from deepfeatures.transforms.smooth_lattice import (
    Lattice,
    Observation,
    SmoothLattice,
    expected_vectors,
    noise_of,
)
from deepfeatures.transforms.tessellation import (
    Cells,
    affine_at,
    affine_velocities,
    cells_of,
    inside,
    is_inside,
    vertex_weights,
)
from deepfeatures.transforms.transform import InversePoints, Transform, as_points

STEPS_A_SLOPE = 10  # of the integration, by the largest difference of velocity between neighbouring vertices
FEWEST_STEPS = 4
ROUNDS = 20  # of a fit, at most
SMALL_GAIN = 1e-3  # of the cost, after which it stops
SMALL_MM = 1e-3  # of a change of velocity that is not halved any more
AT_ONCE = 1 << 14  # points that are integrated together

Boundary = Literal["zero", "free"]


def flow(velocities: torch.Tensor, places: torch.Tensor, steps: int) -> torch.Tensor:
    """Where places come to after a time of 1, by the fourth-order method of Runge and Kutta; differentiable.

    Args:
        velocities: Of the vertices, in cells, `(B, nz + 1, ny + 1, nx + 1, 3)`; beyond the box that of the nearest
            place in it goes on. Negated, they lead back.
        places: In cells, x, y, z, `(B, N, 3)`.
        steps: Of the integration.

    Returns:
        `(B, N, 3)`.
    """
    affine, cells = affine_velocities(velocities), cells_of(velocities)
    arrived = []
    for part in places.split(AT_ONCE, 1):
        state = part.movedim(-1, 0).contiguous()  # each coordinate together: three times as fast
        for _ in range(steps):
            state = _step(lambda at: _velocity(affine, at, cells), state, 1 / steps)
        arrived.append(state)
    return torch.cat(arrived, 2).movedim(0, -1)


def flow_with_jacobian(velocities: torch.Tensor, places: torch.Tensor, steps: int) -> list[torch.Tensor]:
    """As `flow`, step by step, with derivatives by the places.

    Returns:
        At the start and after each step `(3, 4, B, N)`: the places, and behind them their derivatives.
    """
    affine, cells = affine_velocities(velocities), cells_of(velocities)

    def velocity(state: torch.Tensor) -> torch.Tensor:
        here = affine_at(affine, inside(state[:, 0], cells), cells)
        slope = here[:, :3] * is_inside(state[:, 0], cells)
        of_derivatives = torch.einsum("ijbn,jkbn->ikbn", slope, state[:, 1:])
        return torch.cat([_applied(here, inside(state[:, 0], cells))[:, None], of_derivatives], 1)

    start = torch.eye(3).to(places)[:, :, None, None].expand(3, 3, *places.shape[:2])
    states = [torch.cat([places.movedim(-1, 0)[:, None], start], 1)]
    for _ in range(steps):
        states.append(_step(velocity, states[-1], 1 / steps))
    return states


def steps_for(velocities: torch.Tensor) -> int:
    """Steps after which a place that goes forward and back misses by less than 1e-4 cells."""
    steepest = max(float(velocities.detach().diff(dim=axis).abs().max()) for axis in (1, 2, 3))
    return max(FEWEST_STEPS, int(np.ceil(STEPS_A_SLOPE * steepest)))


def movable(cells: Cells, boundary: Boundary) -> torch.Tensor:
    """Which components of the velocities of vertices may differ from 0, `(nz + 1, ny + 1, nx + 1, 3)`.

    With `"zero"` nothing crosses the faces of the box; along them, places still slide.
    """
    nx, ny, nz = cells
    free = torch.ones(nz + 1, ny + 1, nx + 1, 3, dtype=torch.bool)
    if boundary == "zero":
        for axis in range(3):
            for end in (0, -1):
                free.select(2 - axis, end)[..., axis] = False
    return free


class CpabLayer(nn.Module):
    """A differentiable layer: parameters of a velocity and places in, moved places out.

    Args:
        cells: Along x, y, z.
        boundary: See `movable`.
        steps: Of the integration; 0 to choose them by the velocity.
    """

    def __init__(self, cells: Cells, boundary: Boundary = "zero", steps: int = 0):
        super().__init__()
        self.register_buffer("free", movable(cells, boundary), persistent=False)
        self.steps = steps

    @property
    def parameter_count(self) -> int:
        """How many numbers describe one velocity."""
        return int(self.free.sum())

    def velocities(self, parameters: torch.Tensor) -> torch.Tensor:
        """Velocities of the vertices for parameters `(B, P)`, in cells."""
        found = parameters.new_zeros(len(parameters), *self.free.shape)
        found[:, self.free] = parameters
        return found

    def forward(self, parameters: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Places `(B, N, 3)` in cells, x, y, z, moved by parameters `(B, P)`; negated parameters lead back."""
        velocities = self.velocities(parameters)
        return flow(velocities, places, self.steps or steps_for(velocities))


@dataclass(frozen=True, eq=False)
class CpabTransform(Transform):
    """A velocity on a box, followed for a time of 1; beyond the box the velocity of the nearest place in it goes on.

    Args:
        velocities: Of the vertices, mm, `(nz + 1, ny + 1, nx + 1, 3)`, float64, components along LPS.
        low, high: Corners of the box, LPS mm, `(3,)`.
    """

    velocities: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        velocities = self.in_cells()
        return flow(velocities, self.places(points)[None], steps_for(velocities))[0].numpy() * self.cell + self.low

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        velocities = self.in_cells()
        steps = steps_for(velocities)
        parts = self.places(points).split(AT_ONCE)
        found = torch.cat([flow_with_jacobian(velocities, part[None], steps)[-1][:, 1:, 0] for part in parts], 2)
        return found.movedim(2, 0).numpy() * self.cell[:, None] / self.cell

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        found = self.inverted()(points)
        return InversePoints(found, np.linalg.norm(self(found) - as_points(points), axis=1))

    def inverted(self) -> CpabTransform:
        return CpabTransform(-self.velocities, self.low, self.high)

    @property
    def cell(self) -> np.ndarray:
        """Size of a cell, mm, `(3,)`."""
        return (self.high - self.low) / np.array(cells_of(torch.from_numpy(self.velocities)))

    def places(self, points: np.ndarray) -> torch.Tensor:
        """Points in cells, `(N, 3)`."""
        return torch.from_numpy((as_points(points) - self.low) / self.cell)

    def in_cells(self) -> torch.Tensor:
        """Velocities in cells, `(1, nz + 1, ny + 1, nx + 1, 3)`."""
        return torch.from_numpy(self.velocities / self.cell)[None]


def fit_cpab(
    points: np.ndarray, targets: np.ndarray, weights: np.ndarray, low: np.ndarray, high: np.ndarray
) -> CpabTransform:
    """The likeliest smooth velocity that brings points near their targets, by the method of Gauss and Newton.

    It does not meet the targets; what is left grows with the differences between neighbours.

    Args:
        points, targets: LPS mm, `(N, 3)`, with no affine part left between them.
        weights: How much each pair counts beside the others, `(N,)`, at most 1.
        low, high: Corners of the box in which the transform is used, LPS mm, `(3,)`.
    """
    lattice = Lattice.for_landmarks(as_points(points), low, high)
    wanted, noise = torch.from_numpy(as_points(targets)), noise_of(weights)
    nodes, spacing = [n + 1 for n in reversed(lattice.cells)], lattice.spacing[::-1]
    smooth = [SmoothLattice.over(nodes, spacing, lattice.length, [axis == k for k in (2, 1, 0)]) for axis in range(3)]

    def tried(values: torch.Tensor) -> tuple[CpabTransform, torch.Tensor, float]:
        transform = CpabTransform(values.movedim(0, -1).contiguous().numpy(), lattice.low, lattice.high)
        missed = wanted - torch.from_numpy(transform(points))
        surprise = sum(float(part.surprise(one)) for part, one in zip(smooth, values, strict=True))
        return transform, missed, surprise + float((missed.square() / noise[:, None]).sum())

    velocities = torch.zeros(3, *nodes, dtype=torch.float64)
    transform, missed, cost = tried(velocities)
    for _ in range(ROUNDS):
        seen = _sensitivity(transform, points)
        change = expected_vectors(smooth, seen, missed + seen(velocities), noise) - velocities
        found = tried(velocities + change)
        while found[2] > cost and change.abs().max() > SMALL_MM:
            change /= 2
            found = tried(velocities + change)
        gain = cost - found[2]
        if gain > 0:
            velocities, (transform, missed, cost) = velocities + change, found
        if gain <= SMALL_GAIN * cost:
            break
    return transform


def _sensitivity(transform: CpabTransform, points: np.ndarray) -> Observation:
    """By how much points that are moved follow from the velocity of each vertex."""
    velocities = transform.in_cells()
    cells = cells_of(velocities)
    path = flow_with_jacobian(velocities, transform.places(points)[None], steps_for(velocities))
    states = torch.stack(path)[..., 0, :]
    shares = torch.full((len(states), 1, 1, 1), 1 / (len(states) - 1), dtype=states.dtype)
    shares[[0, -1]] /= 2  # the trapezoidal rule
    derivatives = states[:, :, 1:].permute(0, 3, 1, 2)
    onwards = derivatives[-1] @ torch.linalg.inv(derivatives)
    cell = torch.from_numpy(transform.cell)
    nodes, weights = vertex_weights(states[:, :, 0].movedim(1, -1).flatten(0, 1), cells)
    shape = (*onwards.shape[:2], 4)
    return Observation(nodes.view(shape), weights.view(shape), shares * onwards * cell[:, None] / cell)


def _step(velocity, state: torch.Tensor, duration: float) -> torch.Tensor:
    first = velocity(state)
    second = velocity(state.add(first, alpha=duration / 2))
    third = velocity(state.add(second, alpha=duration / 2))
    fourth = velocity(state.add(third, alpha=duration))
    return state.add(first + fourth, alpha=duration / 6).add(second + third, alpha=duration / 3)


def _velocity(affine: torch.Tensor, places: torch.Tensor, cells: Cells) -> torch.Tensor:
    places = inside(places, cells)
    return _applied(affine_at(affine, places, cells), places)


def _applied(affine: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Affine velocities `(3, 4, B, N)` at places `(3, B, N)`."""
    found = affine[:, 3]
    for j in range(3):
        found = torch.addcmul(found, affine[:, j], places[j])
    return found
