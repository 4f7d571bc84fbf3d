"""A regular grid of points in space: where a field has its nodes, or a volume its voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.data.volume import Volume


@dataclass(frozen=True, eq=False)
class Grid:
    """As ITK has it.

    Args:
        origin: Of the first node, LPS mm, `(3,)`.
        spacing: Between nodes along i, j, k, mm, `(3,)`.
        direction: Columns are the axes, `(3, 3)`.
        size: Nodes along i, j, k.
    """

    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    size: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume) -> Grid:
        """The voxel centres of a volume."""
        return cls(np.asarray(volume.origin), np.asarray(volume.spacing), np.asarray(volume.direction), volume.size)

    def padded(self, margin_mm: float) -> Grid:
        """The same nodes, and so many more that they reach so far beyond on every side."""
        more = np.ceil(margin_mm / self.spacing).astype(int)
        first = tuple(int(n + 2 * extra) for n, extra in zip(self.size, more, strict=True))
        return Grid(self.to_world(-more[None].astype(float))[0], self.spacing, self.direction, first)

    def with_spacing(self, spacing_mm: float) -> Grid:
        """Nodes about so far apart, from the same first to the same last one."""
        lengths = (np.array(self.size) - 1) * self.spacing
        steps = np.maximum(np.ceil(lengths / spacing_mm - 1e-9), 1).astype(int)
        spacing = np.where(lengths > 0, lengths / steps, self.spacing)
        size = tuple(int(step) + 1 if length > 0 else 1 for step, length in zip(steps, lengths, strict=True))
        return Grid(self.origin, spacing, self.direction, size)

    def every(self, step: int) -> Grid:
        """Every `step`-th node along each axis, from the first to the last or just beyond."""
        size = tuple(-(-(n - 1) // step) + 1 for n in self.size)
        return Grid(self.origin, self.spacing * step, self.direction, size)

    def middles(self) -> Grid:
        """The middles of the cells between eight nodes; none where an axis has one node."""
        size = tuple(max(n - 1, 0) for n in self.size)
        return Grid(self.to_world(np.full((1, 3), 0.5))[0], self.spacing, self.direction, size)

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """LPS mm of continuous indices `(N, 3)`."""
        return indices * self.spacing @ self.direction.T + self.origin

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Continuous indices of LPS positions `(N, 3)`."""
        return (points - self.origin) @ np.linalg.inv(self.direction).T / self.spacing

    def points(self) -> np.ndarray:
        """All nodes, LPS mm, `(D * H * W, 3)`, the first axis fastest."""
        k, j, i = np.meshgrid(*(np.arange(n, dtype=float) for n in self.size[::-1]), indexing="ij")
        return self.to_world(np.stack([i, j, k], -1).reshape(-1, 3))

    def random_points(self, count: int, seed: int = 0) -> np.ndarray:
        """LPS mm anywhere between the first and the last node, `(count, 3)`."""
        return self.to_world(np.random.default_rng(seed).random((count, 3)) * (np.array(self.size) - 1))

    def distances(self, points: np.ndarray) -> np.ndarray:
        """How far points `(N, 3)` lie beyond the outermost nodes, mm, `(N,)`; 0 between them."""
        index = self.to_index(points)
        beyond = np.maximum(np.maximum(-index, index - (np.array(self.size) - 1)), 0) * self.spacing
        return np.linalg.norm(beyond, axis=1)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which points `(N, 3)` lie in the voxels of the nodes, `(N,)`."""
        index = self.to_index(points)
        return ((index >= -0.5) & (index < np.array(self.size) - 0.5)).all(1)


def faded(share: np.ndarray) -> np.ndarray:
    """From 1 at 0 to 0 at 1 and beyond, without an edge."""
    share = np.clip(share, 0, 1)
    return 1 - share**2 * (3 - 2 * share)


def voxels_of_cells(cells: torch.Tensor, step: int) -> torch.Tensor:
    """What is known of cells `(D, H, W)` at each of their `step`³ voxels, `(D step, H step, W step)`."""
    for axis in range(3):
        cells = cells.repeat_interleave(step, axis)
    return cells
