"""The mapping that a geodesic of momenta ends in, as a transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.lddmm import flow, reversed_in_time
from deepfeatures.transforms.transform import InversePoints, Transform, as_points


@dataclass(frozen=True, eq=False)
class LddmmTransform(Transform):
    """Points that flow along with velocities. Beyond the grid the velocity of its border goes on.

    Args:
        velocities: As `lddmm.shoot` gives them, in voxels, `(steps + 1, 3, D, H, W)`.
        grid: Where they lie; its voxels are cubes.
    """

    velocities: torch.Tensor
    grid: Grid

    def __call__(self, points: np.ndarray) -> np.ndarray:
        start = torch.from_numpy(self.grid.to_index(as_points(points)))
        return self.grid.to_world(flow(start, self.velocities.double()).numpy())

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        found = self.inverted()(points)
        return InversePoints(found, np.linalg.norm(self(found) - as_points(points), axis=1))

    def inverted(self) -> LddmmTransform:
        return LddmmTransform(reversed_in_time(self.velocities), self.grid)
