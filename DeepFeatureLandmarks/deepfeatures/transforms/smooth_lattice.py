"""Values on a lattice that are expected to be smooth: Gaussian, the covariance a power of the inverse Laplacian.

The covariance is that of Matern (Lindgren et al., An Explicit Link between Gaussian Fields and Gaussian Markov Random
Fields, J. R. Stat. Soc. B 2011). The Laplacian of a lattice is separable, so that three small matrices are enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.transforms.tessellation import Cells

POWER = 2  # of the Laplacian: in space a covariance of exp(-d) at a distance of d lengths
LENGTH = 0.2  # over which displacements of landmarks are alike, of the longest extent of the landmarks
NOISE = 0.15  # variance of a landmark's place that counts fully, where that of the displacements is 1
LEAST_WEIGHT = 1e-6
MOST_CELLS = 24  # of a lattice along its longest edge
ITERATIONS = 300  # of conjugate gradients, at most
CLOSE_ENOUGH = 1e-4  # of what was observed, where they stop


@dataclass(frozen=True, eq=False)
class SmoothLattice:
    """Expects neighbouring nodes to have like values.

    Args:
        modes: Along each axis of an array of values, orthonormal columns `(nodes, modes)`.
        variances: Of each product of modes, one axis for each axis of the array.
    """

    modes: tuple[torch.Tensor, ...]
    variances: torch.Tensor

    @classmethod
    def over(
        cls, nodes: Sequence[int], spacing: Sequence[float], length: float, fixed: Sequence[bool] = (False,) * 3
    ) -> SmoothLattice:
        """For values with a variance of about 1.

        Args:
            nodes: Along each axis.
            spacing: Between them, mm.
            length: Over which values are alike, mm.
            fixed: Along which axes the first and the last value are 0.
        """
        parts = [_modes(n, step, fixed) for n, step, fixed in zip(nodes, spacing, fixed, strict=True)]
        first, second, third = (curvatures for _, curvatures in parts)
        variances = (length**-2 + first[:, None, None] + second[:, None] + third) ** -float(POWER)
        return cls(
            tuple(modes for modes, _ in parts), variances * float(variances.new_tensor(nodes).prod()) / variances.sum()
        )

    def covariance(self, values: torch.Tensor) -> torch.Tensor:
        """The covariance matrix times arrays of values `(..., nz, ny, nx)`."""
        return self._from_modes(self._to_modes(values) * self.variances)

    def surprise(self, values: torch.Tensor) -> torch.Tensor:
        """Twice the negative logarithm of the density of an array of values, up to a constant."""
        return (self._to_modes(values).square() / self.variances).sum()

    def _to_modes(self, values: torch.Tensor) -> torch.Tensor:
        return torch.einsum("...zyx,zc,yb,xa->...cba", values, *self.modes)

    def _from_modes(self, values: torch.Tensor) -> torch.Tensor:
        return torch.einsum("...cba,zc,yb,xa->...zyx", values, *self.modes)


@dataclass(frozen=True, eq=False)
class Observation:
    """Vectors that are sums of the vectors of some nodes, each turned by a matrix.

    Args:
        nodes: Numbers in the flattened array, `(K, N, V)`.
        weights: Of the nodes, `(K, N, V)`.
        matrices: Of each of the K parts of an observed vector, `(K, N, 3, 3)`.
    """

    nodes: torch.Tensor
    weights: torch.Tensor
    matrices: torch.Tensor

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """What is seen of vectors `(3, nz, ny, nx)`: `(N, 3)`."""
        found = (values.flatten(1)[:, self.nodes] * self.weights).sum(-1)
        return torch.einsum("knij,jkn->ni", self.matrices, found)

    def transposed(self, vectors: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Vectors `(N, 3)` given back to the nodes of an array like that, `(3, nz, ny, nx)`."""
        parts = torch.einsum("knij,ni->jkn", self.matrices, vectors)[..., None] * self.weights
        return torch.zeros_like(like).flatten(1).index_add_(1, self.nodes.flatten(), parts.flatten(1)).view_as(like)


def expected_vectors(
    lattices: Sequence[SmoothLattice], observation: Observation, seen: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """The vectors of all nodes that are expected after some have been observed, by conjugate gradients.

    Args:
        lattices: For each of the three components.
        observation: What is seen of the nodes.
        seen: `(N, 3)`.
        noise: Variance of each, where that of the vectors is 1, `(N,)`.

    Returns:
        `(3, nz, ny, nx)`.
    """
    empty = torch.zeros(3, *(len(modes) for modes in lattices[0].modes), dtype=seen.dtype)

    def spread(factors: torch.Tensor) -> torch.Tensor:
        given = observation.transposed(factors, empty)
        return torch.stack([lattice.covariance(one) for lattice, one in zip(lattices, given, strict=True)])

    factors, left = torch.zeros_like(seen), seen.clone()
    direction, power = left, left.square().sum()
    for _ in range(ITERATIONS):
        if left.norm() <= CLOSE_ENOUGH * seen.norm():
            break
        image = observation(spread(direction)) + noise[:, None] * direction
        step = power / (direction * image).sum()
        factors, left = factors + step * direction, left - step * image
        former, power = power, left.square().sum()
        direction = left + power / former * direction
    return spread(factors)


def noise_of(weights: np.ndarray) -> torch.Tensor:
    """Variance of the places of landmarks that count so much, `(N,)`, where that of the displacements is 1."""
    return NOISE / torch.from_numpy(np.maximum(weights, LEAST_WEIGHT))


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cells over a box.

    Args:
        low, high: Of all cells, LPS mm, `(3,)`.
        cells: Along x, y, z.
        length: Over which displacements are expected to be alike, mm.
    """

    low: np.ndarray
    high: np.ndarray
    cells: Cells
    length: float

    @classmethod
    def for_landmarks(cls, points: np.ndarray, low: np.ndarray, high: np.ndarray) -> Lattice:
        """Over a box and one cell more on every side, as fine as landmarks `(N, 3)` lie close together."""
        edges = high - low
        length = max(LENGTH * float(np.ptp(points, axis=0).max()), float(edges.max()) / (MOST_CELLS - 2))
        counts = np.maximum(np.ceil(edges / length), 1).astype(int)
        cell = edges / counts
        nx, ny, nz = (int(n) + 2 for n in counts)
        return cls(low - cell, high + cell, (nx, ny, nz), length)

    @property
    def spacing(self) -> np.ndarray:
        """Edges of a cell, mm, `(3,)`."""
        return (self.high - self.low) / np.array(self.cells)


def _modes(nodes: int, spacing: float, fixed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvectors of the second difference along one axis, and its eigenvalues with the sign turned."""
    free = slice(1, -1) if fixed else slice(None)
    matrix = 2 * torch.eye(nodes, dtype=torch.float64)
    matrix -= torch.diag(torch.ones(nodes - 1, dtype=torch.float64), 1)
    matrix -= torch.diag(torch.ones(nodes - 1, dtype=torch.float64), -1)
    if not fixed:
        matrix[0, 0] = matrix[-1, -1] = 1
    curvatures, vectors = torch.linalg.eigh(matrix[free, free])
    modes = torch.zeros(nodes, len(curvatures), dtype=torch.float64)
    modes[free] = vectors
    return modes, curvatures.clamp(min=0) / spacing**2
