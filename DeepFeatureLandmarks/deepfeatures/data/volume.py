"""Volumes: float32 voxels with their place in the patient, in LPS millimetres."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from deepfeatures.data.geometry import LARGEST_COSINE, likelihood_notes, size_mm
from deepfeatures.data.notes import Note, joined
from deepfeatures.data.resampling import resample_axis
from deepfeatures.errors import InputError, not_finite

SAME_SPACING = 1e-3  # of a voxel: microscopes have voxels of less than a thousandth of a millimetre


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image.

    Args:
        voxels: float32 tensor of shape `(depth, height, width)`: the last axis is the file's first (x) axis. A NumPy
            array, or numbers of another real type, become such a tensor.
        origin: LPS position in mm of the centre of the first voxel, shape `(3,)`.
        spacing: Distance in mm between voxel centres along x, y, z, shape `(3,)`.
        direction: Columns are the LPS unit vectors along which x, y and z grow, shape `(3, 3)`; oblique and left-handed
            ones are allowed.
        name: What messages call this volume.
        modality: DICOM modality such as `"CT"` or `"MR"` where the file tells, else `None`.
        notes: What people should know about how it was read.

    Raises:
        InputError: Voxels are not real numbers on three axes, or origin, spacing and direction are not those of a
            rectangular grid in millimetres. Voxels may be NaN, as in a map of distances; `require_finite` forbids it.
    """

    voxels: torch.Tensor
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    spacing: np.ndarray = field(default_factory=lambda: np.ones(3))
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    name: str = "volume"
    modality: str | None = None
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        set_field = partial(object.__setattr__, self)  # the one moment at which a frozen volume may be changed
        set_field("voxels", _checked_voxels(self.voxels, self.name))
        set_field("origin", _vector(self.origin, "origin", self.name))
        set_field("spacing", _vector(self.spacing, "spacing", self.name))
        set_field("direction", _checked_direction(self.direction, self.name))
        if not (self.spacing > 0).all():
            raise InputError(f"{self.name} has the spacing {_text(self.spacing)}; give millimetres above 0")

    @property
    def note(self) -> str | None:
        """All notes in one text, each with the volume's name; `None` where there are none."""
        return joined(note.of(self.name) for note in self.notes)

    def require_finite(self) -> None:
        """Raise `InputError` where voxels are NaN or infinite."""
        # a sum is quick and takes no memory; it may overflow, so that a second look tells
        if not torch.isfinite(self.voxels.sum()) and (wrong := int((~torch.isfinite(self.voxels)).sum())):
            raise not_finite(self.name, wrong)

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


def notes_of(*volumes: Volume) -> tuple[Note, ...]:
    """The notes of all volumes, each with its volume's name; also where a size is unlikely."""
    found = ((volume, likelihood_notes(size_mm(volume.size, volume.spacing), volume.origin)) for volume in volumes)
    noted = (note.of(volume.name) for volume, likelihood in found for note in (*volume.notes, *likelihood))
    return tuple(dict.fromkeys(noted))


def _checked_voxels(voxels: Any, name: str) -> torch.Tensor:
    """The voxels as a float32 tensor of three axes; those that are one already are not copied."""
    try:
        if isinstance(voxels, np.ndarray) and voxels.dtype.kind in "biuf":
            voxels = np.ascontiguousarray(voxels, np.float32)  # PyTorch takes no flipped axes and no foreign byte order
        voxels = torch.as_tensor(voxels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} has voxels that are not numbers; give a float32 tensor") from error
    if voxels.is_complex():
        raise InputError(f"{name} has complex voxels; give a scalar volume, for example their magnitude")
    if voxels.ndim != 3 or 0 in voxels.shape:
        shape = " × ".join(map(str, voxels.shape)) or "no axis"
        raise InputError(f"{name} has voxels of shape {shape}; give (depth, height, width), each 1 or more")
    return voxels.to(torch.float32)


def _vector(values: Any, what: str, name: str) -> np.ndarray:
    """Three finite numbers, shape `(3,)`."""
    numbers = _numbers(values)
    if numbers is None or numbers.shape != (3,):
        raise InputError(f"{name} has the {what} {values!r}; give three finite numbers, in millimetres")
    return numbers


def _checked_direction(values: Any, name: str) -> np.ndarray:
    """Three unit vectors at right angles, as columns, shape `(3, 3)`; nine numbers in one row are taken row by row."""
    numbers = _numbers(values)
    if numbers is None or numbers.size != 9 or numbers.ndim > 2:
        raise InputError(f"{name} has a direction that is not a 3 × 3 matrix of finite numbers; give unit vectors")
    matrix = numbers.reshape(3, 3)
    if np.abs(matrix.T @ matrix - np.eye(3)).max() > LARGEST_COSINE:
        raise InputError(
            f"{name} has a direction whose columns are not unit vectors at right angles; resample it to a rectangular "
            "grid, and give voxel sizes as spacing"
        )
    return matrix


def _numbers(values: Any) -> np.ndarray | None:
    """The values as finite float64 numbers, else `None`."""
    try:
        numbers = np.array(values, float)
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _text(numbers: np.ndarray) -> str:
    return " × ".join(f"{number:g}" for number in numbers)
