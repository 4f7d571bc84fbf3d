"""The header of a volume file, checked before any voxel is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from deepfeatures.data.geometry import is_rectangular
from deepfeatures.data.intensity import notes_on_values
from deepfeatures.data.notes import Note
from deepfeatures.data.volume import Volume
from deepfeatures.errors import no_geometry, sheared
from deepfeatures.io.chunked import ChunkedVolume
from deepfeatures.io.image_names import image_stem


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume file or series whose header was found good.

    Args:
        path: The file or folder.
        shape: Voxels `(depth, height, width)`.
        read: Reads all of it; raises `InputError` where voxels are damaged or not finite.
        levels: Opens it to be read by region, at each spacing that the file holds, the finest first; `None` where the
            format can only be read whole.
        notes: What people should know of the header; the volume that is read has them, and those of its voxels.
    """

    path: Path
    shape: tuple[int, int, int]
    read: Callable[[], Volume]
    levels: Callable[[], Sequence[ChunkedVolume]] | None = None
    notes: tuple[Note, ...] = ()


def volume_of(
    path: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    modality: str | None = None,
    notes: tuple[Note, ...] = (),
) -> Volume:
    """The volume with float32 voxels `(depth, height, width)` and this `(3, 4)` matrix from voxel index to LPS mm.

    Raises:
        InputError: The matrix is not that of a rectangular grid.
    """
    check_affine(affine, path)
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    volume = Volume(
        torch.from_numpy(voxels), affine[:, 3], spacing, affine[:, :3] / spacing, image_stem(path), modality, notes
    )
    return replace(volume, notes=(*notes, *notes_on_values(volume)))


def check_affine(affine: np.ndarray, path: Path) -> None:
    """Raise `InputError` unless the `(3, 4)` matrix is that of a rectangular grid."""
    if not np.isfinite(affine).all() or not np.linalg.norm(affine[:, :3], axis=0).all():
        raise no_geometry(path)
    if not is_rectangular(affine):
        raise sheared(path)
