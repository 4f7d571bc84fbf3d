"""Separable resampling of voxels: as exact as trilinear interpolation, without a sampling grid in memory.

Faster than the samplers of `transforms.samplers`, which take any grid, where the axes of both volumes are parallel.
"""

from __future__ import annotations

import math

import torch

# Full width at half maximum of a Gaussian in standard deviations.
FWHM = 2 * math.sqrt(2 * math.log(2))


def resample_axis(voxels: torch.Tensor, axis: int, positions: torch.Tensor, step: float) -> torch.Tensor:
    """Linear interpolation along one axis, smoothed first where the new samples lie further apart than the old ones.

    The Gaussian turns a point spread as wide as an old voxel into one as wide as a new voxel, which avoids aliasing
    (Cardoso et al., Scale factor point spread function matching, MICCAI 2015). Beyond the ends the outermost voxel is
    repeated.

    Args:
        voxels: float tensor of any shape.
        axis: The axis to resample.
        positions: Continuous indices along the axis, float64, shape `(new size,)`.
        step: Distance between neighbouring positions, in old voxels.
    """
    weights = _interpolation_matrix(voxels.shape[axis], positions, step).to(voxels.dtype)
    # one matrix product is many times faster than gathering slices
    return torch.tensordot(weights, voxels, dims=([1], [axis])).movedim(0, axis)


def _interpolation_matrix(old_size: int, positions: torch.Tensor, step: float) -> torch.Tensor:
    """Weight of each old voxel in each new sample, shape `(new size, old size)`, float64; rows sum to 1."""
    sigma = math.sqrt(max(step**2 - 1, 0)) / FWHM
    reach = math.ceil(3 * sigma)
    matrix = positions.new_zeros(len(positions), old_size)
    for offset in range(-reach, reach + 1):
        weight = math.exp(-0.5 * (offset / sigma) ** 2) if offset else 1.0
        shifted = (positions + offset).clamp(0, old_size - 1)
        lower = shifted.floor().long()[:, None]
        fraction = shifted[:, None] - lower
        matrix.scatter_add_(1, lower, weight * (1 - fraction))
        matrix.scatter_add_(1, (lower + 1).clamp(max=old_size - 1), weight * fraction)
    return matrix / matrix.sum(dim=1, keepdim=True)
