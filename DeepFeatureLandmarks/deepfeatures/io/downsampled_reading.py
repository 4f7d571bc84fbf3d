"""Volumes larger than memory, read as fine as fits.

The guided search never works finer than a few hundred voxels along an axis, so that the means over blocks of a volume
that does not fit lose it little or nothing.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io import nifti
from deepfeatures.io.chunked import Region, Stored, factors_to_fit, read_averaged
from deepfeatures.io.ome_zarr import is_zarr, read_levels
from deepfeatures.io.volume_files import opened, read_volume, volume_of

# Of a volume's own bytes, what a search takes with template and target of its size: 14 times was measured.
WORKING_SPACE = 16
VOXEL_BYTES = 4
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def read_fitting(path: str | Path, memory_bytes: float | None = None) -> Volume:
    """What `read_volume` reads, but as fine as memory allows; `note` says so where that is coarser than the file.

    Of an OME-Zarr scan the finest level that fits is read. A NIfTI file that does not fit is averaged over blocks of
    voxels while it is read slice by slice, as is a coarsest level. Other files are always read whole.

    Args:
        path: The volume.
        memory_bytes: What a search in it may take in all, by default what is free now.

    Raises:
        InputError: As `read_volume`, or a package that is needed is missing.
    """
    path = Path(path)
    most_voxels = (memory_available() if memory_bytes is None else memory_bytes) / VOXEL_BYTES / WORKING_SPACE
    if is_zarr(path):
        levels = read_levels(path)
        chosen = next((level for level in levels if math.prod(level.shape) <= most_voxels), levels[-1])
        return _read(chosen, levels[0].spacing, most_voxels)
    stored = _large_nifti(path, most_voxels)
    return read_volume(path) if stored is None else _read(stored, stored.spacing, most_voxels)


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


def _read(stored: Stored, finest: np.ndarray, most_voxels: float) -> Volume:
    factors = (1, 1, 1)
    if math.prod(stored.shape) > most_voxels:
        factors = factors_to_fit(stored.shape, stored.spacing, max(1, int(most_voxels)))
    voxels, affine = read_averaged(stored, factors)
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    note = None
    if not np.allclose(spacing, finest):
        note = f"{stored.path} is too large for the memory: read at {_told(spacing)} mm instead of {_told(finest)} mm"
    return volume_of(stored.path, voxels, affine, note=note)


def _large_nifti(path: Path, most_voxels: float) -> Stored | None:
    """A NIfTI file to be read by region, `None` where it has no more voxels than that, or `path` is something else."""
    if not path.is_file() or (header := nifti.read_header(path)) is None:
        return None
    with opened(path) as (reader, affine):
        shape = tuple(reader.GetSize()[2::-1])
    if math.prod(shape) <= most_voxels:
        return None
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            f"{path} is too large for the memory; install what reads it by region with pip install '.[large]'"
        ) from error
    nifti.require_finite(path, header)
    voxels = nibabel.load(path, keep_file_open=True).dataobj  # kept open: gzip can only be read on, not from the middle
    others = (0,) * (len(voxels.shape) - 3)

    def read(region: Region) -> np.ndarray:
        depth, height, width = region
        return np.asarray(voxels[(width, height, depth, *others)], np.float32).T

    return Stored(path, shape, affine, (1, *shape[1:]), read)


def _told(spacing: np.ndarray) -> str:
    return " × ".join(f"{value:.3g}" for value in spacing)
