"""Volumes: float32 voxels with their place in the patient, in LPS millimetres."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from deepfeatures.data.resampling import resample_axis

SAME_SPACING = 1e-3  # of a voxel: microscopes have voxels of less than a thousandth of a millimetre


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image.

    Args:
        voxels: float32 tensor of shape `(depth, height, width)`: the last axis is the file's first (x) axis.
        origin: LPS position in mm of the centre of the first voxel, shape `(3,)`.
        spacing: Distance in mm between voxel centres along x, y, z, shape `(3,)`.
        direction: Columns are the LPS unit vectors along which x, y and z grow, shape `(3, 3)`; oblique and left-handed
            ones are allowed.
        name: What messages call this volume.
        modality: DICOM modality such as `"CT"` or `"MR"` where the file tells, else `None`.
        note: What people should know about how it was read, one sentence, else `None`.
    """

    voxels: torch.Tensor
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    spacing: np.ndarray = field(default_factory=lambda: np.ones(3))
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    name: str = "volume"
    modality: str | None = None
    note: str | None = None

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

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the LPS mm positions, shape `(N, 3)`, lie within a voxel, its edges included: bools, shape `(N,)`.

        NaN rows, as undefined landmarks have them, do not.
        """
        edge = 0.5 + 1e-6  # a point on the face of the outermost voxel belongs to it in spite of rounding
        indices = self.to_index(points).reshape(-1, 3)
        return ((indices >= -edge) & (indices <= np.array(self.size) - 1 + edge)).all(axis=1)

    @property
    def centre(self) -> np.ndarray:
        """LPS mm position of the middle of the voxel grid."""
        return self.to_world((np.array(self.size, float)[None] - 1) / 2)[0]

    def with_voxels(self, voxels: torch.Tensor) -> Volume:
        """The same grid with other voxels of the same shape."""
        return replace(self, voxels=voxels)

    def canonical(self) -> Volume:
        """The same voxels at the same places, stored so that x, y and z run as closely as possible along L, P and S.

        Axes are permuted and flipped; nothing is interpolated.
        """
        axes = max(
            itertools.permutations(range(3)),
            key=lambda order: sum(abs(self.direction[world, axis]) for world, axis in enumerate(order)),
        )
        flipped = [self.direction[world, axis] < 0 for world, axis in enumerate(axes)]
        if axes == (0, 1, 2) and not any(flipped):
            return self
        first = np.zeros(3)  # index, in the old order, of the voxel that comes first in the new one
        for axis, flip in zip(axes, flipped, strict=True):
            first[axis] = self.size[axis] - 1 if flip else 0
        # tensor dimension 2 - k holds axis k
        voxels = self.voxels.permute(*(2 - axes[2 - dimension] for dimension in range(3)))
        voxels = voxels.flip([2 - axis for axis in range(3) if flipped[axis]])
        return replace(
            self,
            voxels=voxels.contiguous(),
            origin=self.to_world(first[None])[0],
            spacing=self.spacing[list(axes)],
            direction=self.direction[:, list(axes)] * np.where(flipped, -1.0, 1.0),
        )

    def resampled(self, spacing_mm: float) -> Volume:
        """The volume on an isotropic grid around the same centre, along the same directions, covering the same extent.

        Trilinear, and smoothed first along the axes that get coarser. A volume that already has this spacing is
        returned as it is.
        """
        if np.abs(self.spacing / spacing_mm - 1).max() < SAME_SPACING:
            return self
        step = spacing_mm / self.spacing  # in old voxels
        old_size = np.array(self.size)
        size = np.maximum(np.ceil(old_size / step - SAME_SPACING).astype(int), 1)
        first = (old_size - 1) / 2 - (size - 1) / 2 * step
        voxels = self.voxels
        for axis in np.argsort(size / old_size):  # the axis that shrinks most first: less left to do for the others
            positions = first[axis] + step[axis] * torch.arange(size[axis], dtype=torch.float64, device=voxels.device)
            voxels = resample_axis(voxels, 2 - int(axis), positions, float(step[axis]))
        voxels = voxels.contiguous()
        return replace(self, voxels=voxels, origin=self.to_world(first[None])[0], spacing=np.full(3, float(spacing_mm)))
