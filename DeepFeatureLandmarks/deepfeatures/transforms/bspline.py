"""Cubic B-splines on a lattice, as ITK's `BSplineTransform` of order 3 has them, fitted to landmarks.

Rueckert et al., Nonrigid Registration Using Free-Form Deformations (IEEE Trans. Med. Imaging 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from deepfeatures.transforms.smooth_lattice import (
    Lattice,
    Observation,
    SmoothLattice,
    expected_vectors,
    noise_of,
)
from deepfeatures.transforms.transform import Transform, as_points

ORDER = 3
AT_ONCE = 1 << 12  # points that are evaluated together
# Powers of the place within a cell, from the third to none, for each of the four coefficients around it.
BASIS = torch.tensor([[-1, 3, -3, 1], [3, -6, 0, 4], [-3, 3, 3, 1], [1, 0, 0, 0]], dtype=torch.float64) / 6


@dataclass(frozen=True, eq=False)
class BSplineTransform(Transform):
    """Moves points by a sum of the coefficients around them; where there are too few of these nothing moves, as in ITK.

    The parameters of ITK's transform are the flattened coefficients; its lattice has no direction of its own.

    Args:
        coefficients: LPS mm, `(3, nz, ny, nx)`, float64.
        origin: Of the first coefficient, LPS mm, `(3,)`.
        spacing: Between coefficients, mm, `(3,)`.
    """

    coefficients: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        points = as_points(points)
        parts = torch.from_numpy(self._index(points)).split(AT_ONCE)
        return points + torch.cat([self._displacements(part) for part in parts]).numpy()

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(self._index(as_points(points))).split(AT_ONCE)
        columns = [torch.cat([self._displacements(part, axis) for part in parts]).numpy() for axis in range(3)]
        return np.eye(3) + np.stack(columns, -1) / self.spacing

    def _displacements(self, index: torch.Tensor, axis: int | None = None) -> torch.Tensor:
        """At continuous indices `(N, 3)`, or their derivative along an axis, `(N, 3)`."""
        size = self.coefficients.shape[:0:-1]
        nodes, weights = spline_weights(index, size, axis)
        around = self._rows.index_select(0, nodes.flatten()).unflatten(0, nodes.shape)
        return torch.bmm(weights[:, None], around)[:, 0] * _is_inside(index, size)[:, None]

    @cached_property
    def _rows(self) -> torch.Tensor:
        """The coefficients one after the other, `(nz * ny * nx, 3)`: copied once, which takes longer than their use."""
        return torch.from_numpy(self.coefficients).flatten(1).T.contiguous()

    def _index(self, points: np.ndarray) -> np.ndarray:
        return (points - self.origin) / self.spacing


def spline_weights(
    index: torch.Tensor, size: tuple[int, int, int], derivative: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which coefficients count at continuous indices.

    Args:
        index: Along x, y, z, `(N, 3)`.
        size: Coefficients along x, y, z.
        derivative: The axis along which the spline is derived; `None` for the spline itself.

    Returns:
        Numbers of the coefficients in the flattened array, and their weights, each `(N, 64)`.
    """
    first, weights = [], []
    for axis, count in enumerate(size):
        start = index[:, axis].floor().clamp(1, count - ORDER)
        within = index[:, axis] - start
        powers = torch.stack([within**3, within**2, within, torch.ones_like(within)], -1)
        if axis == derivative:
            powers = torch.stack([3 * within**2, 2 * within, torch.ones_like(within), torch.zeros_like(within)], -1)
        first.append(start.long()[:, None] - 1 + torch.arange(ORDER + 1))
        weights.append(powers @ BASIS.T)
    (x, y, z), (wx, wy, wz) = first, weights
    nodes = (z[:, :, None, None] * size[1] + y[:, None, :, None]) * size[0] + x[:, None, None, :]
    return nodes.flatten(1), torch.einsum("nz,ny,nx->nzyx", wz, wy, wx).flatten(1)


def fit_bspline(
    points: np.ndarray, targets: np.ndarray, weights: np.ndarray, low: np.ndarray, high: np.ndarray
) -> BSplineTransform:
    """The likeliest smooth spline that brings points near their targets: regularised least squares.

    Args:
        points, targets: LPS mm, `(N, 3)`, with no affine part left between them.
        weights: How much each pair counts beside the others, `(N,)`, at most 1.
        low, high: Corners of the box in which the transform is used, LPS mm, `(3,)`; the lattice reaches beyond it.
    """
    points = as_points(points)
    lattice = Lattice.for_landmarks(points, low, high)
    spacing = lattice.spacing
    # ITK uses a spline from the second coefficient to the last but one.
    nx, ny, nz = (n + ORDER for n in lattice.cells)
    origin = lattice.low - spacing
    nodes, shares = spline_weights(torch.from_numpy((points - origin) / spacing), (nx, ny, nz))
    seen = Observation(nodes[None], shares[None], torch.eye(3, dtype=torch.float64).expand(1, len(points), 3, 3))
    smooth = SmoothLattice.over((nz, ny, nx), spacing[::-1], lattice.length)
    wanted = torch.from_numpy(as_points(targets) - points)
    coefficients = expected_vectors([smooth] * 3, seen, wanted, noise_of(weights))
    return BSplineTransform(coefficients.numpy(), origin, spacing)


def _is_inside(index: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """Where all four coefficients around a place are known, along each axis."""
    last = index.new_tensor(size) - 2
    return ((index >= 1) & (index <= last)).all(1)
