"""Volumes made comparable: the same axes, the same cubic voxels, the same range of intensities."""

from __future__ import annotations

import torch

from deepfeatures.errors import InputError
from deepfeatures.intensity import HALF_RANGE
from deepfeatures.volume import Volume

TAILS = 0.01  # part of the voxels at either end of the intensities that is clipped
SAMPLES = 1 << 20  # voxels that percentiles are taken from


def on_common_grid(volume: Volume, spacing_mm: float) -> Volume:
    """The volume with its axes along L, P and S and cubic voxels of `spacing_mm`.

    Raises:
        InputError: It holds voxels that are not finite.
    """
    return in_canonical_order(volume).resampled(spacing_mm)


def in_canonical_order(volume: Volume) -> Volume:
    """The volume with its axes along L, P and S, no voxel changed.

    Raises:
        InputError: It holds voxels that are not finite.
    """
    if not bool(torch.isfinite(volume.voxels).all()):
        raise InputError(f"{volume.name} holds voxels that are not finite; replace them by the background's value.")
    return volume.canonical()


def scale_robustly(voxels: torch.Tensor) -> torch.Tensor:
    """All voxels from their 1st and 99th percentile to [-127.5, 127.5], the rest clipped; a flat volume to zeros.

    The paper scales each patch by its own extremes. Those of a whole volume are often a vessel or a defect, and with
    them two scans of one contrast differ so much in brightness that random features find the nearest grey instead of
    the nearest shape.
    """
    flat = voxels.flatten()
    some = flat[:: max(1, len(flat) // SAMPLES)].sort().values
    tail = int(TAILS * (len(some) - 1))
    low, high = some[tail], some[len(some) - 1 - tail]
    if low == high:
        low, high = flat.min(), flat.max()
    if low == high:
        return torch.zeros_like(voxels)
    return ((voxels - low) / (high - low) * (2 * HALF_RANGE) - HALF_RANGE).clamp_(-HALF_RANGE, HALF_RANGE)
