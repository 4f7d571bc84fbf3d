"""Volumes made comparable: the same axes, the same cubic voxels."""

from __future__ import annotations

from deepfeatures.data.volume import Volume


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
    volume.require_finite()
    return volume.canonical()
