"""Volumes larger than memory, read as fine as fits.

The guided search never works finer than a few hundred voxels along an axis. A volume that does not fit is averaged over
blocks of voxels, which changes the search little or nothing.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.io.chunked import ChunkedVolume, factors_to_fit, read_averaged
from deepfeatures.io.volume_files import open_volume
from deepfeatures.io.volume_header import volume_of

# Memory that a search takes, in sizes of one volume, with template and target of that size: 14 were measured.
WORKING_SPACE = 16
VOXEL_BYTES = 4
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def read_within_memory(path: str | Path, memory_bytes: float | None = None, series: str | None = None) -> Volume:
    """What `read_volume` reads, but as fine as memory allows; a note says so where that is coarser than the file.

    Of an OME-Zarr folder the finest level that fits is read. A NIfTI file that does not fit is averaged over blocks of
    voxels while it is read slice by slice, as is a coarsest level. Other files are always read whole.

    Args:
        path: The volume.
        memory_bytes: What a search in it may take in all, by default what is free now.
        series: Of a folder of DICOM files, see `open_volume`.

    Raises:
        InputError: As `read_volume`, or a package that is needed is missing.
    """
    file = open_volume(path, series)
    most_voxels = (memory_available() if memory_bytes is None else memory_bytes) / VOXEL_BYTES / WORKING_SPACE
    if file.levels is None or math.prod(file.shape) <= most_voxels:
        return file.read()
    levels = file.levels()
    chosen = next((level for level in levels if math.prod(level.shape) <= most_voxels), levels[-1])
    return _read(chosen, levels[0].spacing, most_voxels, file.notes)


def memory_available() -> float:
    """Bytes that are free, at most those that the process' container may have; infinity where nobody can tell."""
    try:
        import psutil
    except ImportError:
        return math.inf
    try:
        limit = float(CONTAINER_LIMIT.read_text())
    except (OSError, ValueError):  # no container, or "max"
        limit = math.inf
    return min(psutil.virtual_memory().available, limit)


def _read(level: ChunkedVolume, finest: np.ndarray, most_voxels: float, notes: tuple[Note, ...]) -> Volume:
    factors = (1, 1, 1)
    if math.prod(level.shape) > most_voxels:
        factors = factors_to_fit(level.shape, level.spacing, max(1, int(most_voxels)))
    voxels, affine = read_averaged(level, factors)
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    if not np.allclose(spacing, finest):
        text = f"too large for the memory: read at {_text(spacing)} mm instead of {_text(finest)} mm"
        notes = (*notes, Note(NoteKind.RESAMPLED, text))
    return volume_of(level.path, voxels, affine, notes=notes)


def _text(spacing: np.ndarray) -> str:
    return " × ".join(f"{value:.3g}" for value in spacing)
