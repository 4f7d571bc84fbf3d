"""DICOM volumes: the folder of a series, one of its files, or a multi-frame file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfeatures.data.geometry import likelihood_notes, size_mm
from deepfeatures.data.volume import Volume
from deepfeatures.errors import not_finite
from deepfeatures.io.dicom.grid import grid_of
from deepfeatures.io.dicom.pixels import read_values
from deepfeatures.io.dicom.series import chosen, series_of
from deepfeatures.io.dicom.shifted_slices import upright
from deepfeatures.io.volume_header import VolumeFile, volume_of


def open_dicom(path: Path, series: str | None = None) -> VolumeFile:
    """A volume, of which only the headers have been read.

    Args:
        path: A folder or a file.
        series: Number, UID or description of the volume to take from a folder that holds several.

    Raises:
        InputError: There is no such volume, or its frames do not make a regular grid.
    """
    one = chosen(path, series) if path.is_dir() else series_of(path)
    grid = grid_of(path, one.frames)
    edges_mm = size_mm(grid.shape[::-1], np.linalg.norm(grid.affine[:, :3], axis=0))
    notes = (*grid.notes, *likelihood_notes(edges_mm, grid.affine[:, 3]))

    def read() -> Volume:
        voxels, affine = read_values(grid.frames), grid.affine
        wrong = sum(one.size - np.count_nonzero(np.isfinite(one)) for one in voxels)  # of slices, to take no memory
        if wrong:
            raise not_finite(path, wrong)
        if grid.sideways is not None:
            voxels, affine = upright(voxels, affine, grid.sideways)
        return volume_of(path, voxels, affine, one.modality or None, notes)

    return VolumeFile(path, grid.shape, read, notes=notes)
