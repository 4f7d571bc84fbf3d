"""Intensity scaling of whole volumes."""

from __future__ import annotations

import torch

HALF_RANGE = 127.5


def scale_volume(voxels: torch.Tensor) -> torch.Tensor:
    """All voxels from their minimum and maximum to [-127.5, 127.5], as the authors' code does; flat ones to zeros."""
    low, high = voxels.min(), voxels.max()
    if low == high:
        return torch.zeros_like(voxels)
    return (voxels - low) / (high - low) * (2 * HALF_RANGE) - HALF_RANGE
