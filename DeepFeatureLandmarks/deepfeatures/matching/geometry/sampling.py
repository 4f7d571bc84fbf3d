"""Sampling on regular grids: tensors run `(channels, z, y, x)`, points run `(x, y, z)` in voxels of the grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

IN_CACHE = 1 << 18  # voxels that a processor smooths at a time on the way from memory and back


def smooth(image: torch.Tensor, sigma: float | tuple[float, float, float]) -> torch.Tensor:
    """Gaussian smoothing with replicated borders.

    Args:
        image: Shape `(C, D, H, W)`.
        sigma: Standard deviation in voxels, one for all axes or one each for x, y, z.
    """
    sigmas = (sigma,) * 3 if isinstance(sigma, (int, float)) else sigma
    result = image
    for axis, sigma_axis in zip((3, 2, 1), sigmas, strict=True):  # x is the last axis
        if sigma_axis > 0:
            result = _smooth_along(result, axis, sigma_axis)
    return result


def _smooth_along(image: torch.Tensor, axis: int, sigma: float) -> torch.Tensor:
    radius, count = max(1, math.ceil(2.5 * sigma)), image.shape[axis]
    weights = [math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    padding = [0] * 6
    padding[2 * (3 - axis)] = padding[2 * (3 - axis) + 1] = radius
    across = 2 if axis == 1 else 1
    rows = image.shape[across]
    if image.device.type == "cpu":
        rows = max(1, IN_CACHE * rows // max(1, image.numel()))
    result = torch.empty_like(image)
    for part, smoothed in zip(image.split(rows, across), result.split(rows, across), strict=True):
        padded = F.pad(part[None], padding, mode="replicate")[0]
        # Shifted copies added up: several times faster on a processor than a convolution of one channel.
        torch.mul(padded.narrow(axis, radius, count), weights[0] / total, out=smoothed)
        for offset in range(1, radius + 1):
            pair = padded.narrow(axis, radius - offset, count) + padded.narrow(axis, radius + offset, count)
            smoothed.add_(pair, alpha=weights[offset] / total)
    return result


def edge_strength(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Length of the gradient of an image `(D, H, W)` smoothed by `sigma` voxels; an axis of one voxel has none."""
    axes = [axis for axis in range(3) if image.shape[axis] > 1]
    if not axes:
        return torch.zeros_like(image)
    return sum(slope.square() for slope in torch.gradient(smooth(image[None], sigma)[0], dim=axes)).sqrt()


def extract_windows(image: torch.Tensor, middles: torch.Tensor, radius: int) -> torch.Tensor:
    """What `sample` finds on the cubes of whole voxels around points, from rows that are read whole: much faster.

    Args:
        image: Channels last, `(D, H, W, C)`, contiguous.
        middles: Of the cubes, `(N, 3)`, sub-voxel.
        radius: Voxels.

    Returns:
        `(N, n, n, n, C)` with `n = 2 radius + 1`, axes z, y, x.
    """
    lowest = middles.floor()
    side = 2 * radius + 2
    steps = torch.arange(-radius, side - radius, device=image.device)
    x, y, z = (
        (low[:, None] + steps).clamp(0, size - 1)
        for low, size in zip(lowest.long().unbind(1), image.shape[2::-1], strict=True)
    )
    rows = (z[:, :, None, None] * image.shape[1] + y[:, None, :, None]) * image.shape[2] + x[:, None, None]
    found = image.flatten(0, 2).index_select(0, rows.flatten()).unflatten(0, rows.shape)
    for axis, share in zip((3, 2, 1), (middles - lowest).unbind(1), strict=True):  # x is the last axis
        lower, upper = found.narrow(axis, 0, side - 1), found.narrow(axis, 1, side - 1)
        found = torch.lerp(lower, upper, share[:, None, None, None, None])
    return found


def box_corners(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The corners `(8, 3)` of the box between two of them, `(3,)`."""
    return torch.cartesian_prod(*torch.stack([low, high], 1))


def translation(shift: torch.Tensor) -> torch.Tensor:
    """The homogeneous `(4, 4)` matrix that moves points by `shift` `(3,)`."""
    matrix = torch.eye(4, device=shift.device)
    matrix[:3, 3] = shift
    return matrix


def apply_affine(matrix: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """`points` `(..., 3)` through a homogeneous `(4, 4)` matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
