"""Volumes: float32 voxels with their place in the patient, in LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image.

    Args:
        voxels: float32 tensor of shape `(depth, height, width)`: the last axis is the file's first (x) axis.
        origin: LPS position in mm of the centre of the first voxel, shape `(3,)`.
        spacing: Distance in mm between voxel centres along x, y, z, shape `(3,)`.
        direction: Columns are the LPS unit vectors along which x, y and z grow, shape `(3, 3)`; it may be oblique and left-handed.
        name: What messages call this volume.
        modality: DICOM modality such as `"CT"` or `"MR"` where the file tells, else `None`.
    """

    voxels: torch.Tensor
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    spacing: np.ndarray = field(default_factory=lambda: np.ones(3))
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    name: str = "volume"
    modality: str | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        depth, height, width = self.voxels.shape
        return width, height, depth

    @cached_property
    def index_to_world(self) -> np.ndarray:
        """Homogeneous `(4, 4)` matrix from continuous `(x, y, z)` voxel index to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    @cached_property
    def world_to_index(self) -> np.ndarray:
        """Homogeneous `(4, 4)` matrix from LPS mm to continuous `(x, y, z)` voxel index."""
        return np.linalg.inv(self.index_to_world)

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """LPS mm positions, shape `(N, 3)`, of continuous `(x, y, z)` indices, shape `(N, 3)`."""
        return np.asarray(indices, float) @ self.index_to_world[:3, :3].T + self.index_to_world[:3, 3]

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Continuous `(x, y, z)` indices, shape `(N, 3)`, of LPS mm positions, shape `(N, 3)`."""
        return np.asarray(points, float) @ self.world_to_index[:3, :3].T + self.world_to_index[:3, 3]

    @property
    def centre(self) -> np.ndarray:
        """LPS mm position of the middle of the voxel grid."""
        return self.to_world((np.array(self.size, float)[None] - 1) / 2)[0]

    def with_voxels(self, voxels: torch.Tensor) -> Volume:
        """The same grid with other voxels of the same shape."""
        return replace(self, voxels=voxels)
