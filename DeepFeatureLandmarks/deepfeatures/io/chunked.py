"""Volumes on disk that are read region by region, unchanged or averaged over blocks of voxels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfeatures.errors import not_finite

Region = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class ChunkedVolume:
    """A volume of which nothing but the header has been read.

    Args:
        path: What messages call it.
        shape: Voxels `(depth, height, width)`.
        affine: `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm; its axes are at right angles.
        chunk: Edges `(depth, height, width)` of the parts in which the file is stored; regions are multiples of them.
        read: The float32 voxels of a region; raises `InputError` where they are damaged.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    chunk: tuple[int, int, int]
    read: Callable[[Region], np.ndarray]

    @property
    def spacing(self) -> np.ndarray:
        """Millimetres along x, y, z."""
        return np.linalg.norm(self.affine[:, :3], axis=0)


def factors_to_fit(shape: tuple[int, int, int], spacing: np.ndarray, most_voxels: int) -> tuple[int, int, int]:
    """Edges in voxels of the blocks to average so that at most `most_voxels` are left, as cubic as possible.

    Args:
        shape: `(depth, height, width)`.
        spacing: Along x, y, z.
        most_voxels: 1 or more.
    """
    lengths, spacing = np.array(shape), np.asarray(spacing, float)[::-1]
    factors = np.ones(3, int)
    while np.prod(-(-lengths // factors)) > most_voxels:
        finest = np.where(factors < lengths, spacing * factors, np.inf).argmin()
        factors[finest] += 1
    return tuple(factors.tolist())


def read_averaged(volume: ChunkedVolume, factors: tuple[int, int, int] = (1, 1, 1)) -> tuple[np.ndarray, np.ndarray]:
    """Means over blocks of voxels, and where they lie; the whole volume is never in memory.

    A block that reaches beyond the end is filled up with the outermost voxels, so that the extent is covered.

    Args:
        volume: The volume.
        factors: Voxels of a block along depth, height, width.

    Returns:
        float32 voxels `(depth, height, width)` and their `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm.

    Raises:
        InputError: Voxels are damaged or not finite.
    """
    voxels = np.empty([-(-length // factor) for length, factor in zip(volume.shape, factors, strict=True)], np.float32)
    wrong = 0
    for region in _regions(volume, factors):
        block = volume.read(region)
        wrong += int(block.size - np.isfinite(block).sum())
        into = tuple(
            slice(part.start // factor, -(-part.stop // factor)) for part, factor in zip(region, factors, strict=True)
        )
        voxels[into] = block_means(block, factors)
    if wrong:
        raise not_finite(volume.path, wrong)
    along_axes = np.array(factors[::-1])
    linear = volume.affine[:, :3]
    return voxels, np.column_stack([linear * along_axes, volume.affine[:, 3] + linear @ ((along_axes - 1) / 2)])


def block_means(voxels: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Means of `(D, H, W)` over blocks of `factors`; blocks at the end are filled up with the outermost voxels."""
    if factors == (1, 1, 1):
        return voxels
    surplus = [(0, -length % factor) for length, factor in zip(voxels.shape, factors, strict=True)]
    padded = np.pad(voxels, surplus, mode="edge")
    parts = [edge for length, factor in zip(padded.shape, factors, strict=True) for edge in (length // factor, factor)]
    return padded.reshape(parts).mean(axis=(1, 3, 5))


def _regions(volume: ChunkedVolume, factors: tuple[int, int, int]) -> Iterator[Region]:
    """Boxes that cover the volume, in the file's order; each holds whole blocks and is as small as chunks allow."""
    axes = []
    for length, chunk, factor in zip(volume.shape, volume.chunk, factors, strict=True):
        step = -(-chunk // factor) * factor
        axes.append([slice(first, min(first + step, length)) for first in range(0, length, step)])
    return itertools.product(*axes)
