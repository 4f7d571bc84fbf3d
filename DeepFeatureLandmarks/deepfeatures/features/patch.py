"""Patches as in the paper: cut at the landmark, scaled each for itself, encoded with zero padding."""

from __future__ import annotations

import numpy as np
import torch

from deepfeatures.errors import InputError
from deepfeatures.features import SMALLEST_PATCH
from deepfeatures.features.dense import DTYPES
from deepfeatures.networks.base import Encoder

HALF_RANGE = 127.5


def anchor(size: int) -> int:
    """Index, along each axis of a patch, of the voxel at which it was cut.

    An even patch has no middle voxel: the anchor is the one before the middle (`round(size / 2) - 1`), half a voxel
    from the patch's centre. It is the same voxel in template and target, so that matching it loses nothing.
    """
    return (size - 1) // 2


def cut_patches(voxels: torch.Tensor, indices_xyz: np.ndarray | torch.Tensor, size: int) -> torch.Tensor:
    """Cubes of `size` voxels whose anchor lies at the given voxels.

    The authors' code leaves out voxels whose patch would cross the border; here the border is repeated instead, as
    dense encoding does, so that landmarks near it can be matched.

    Args:
        voxels: Shape `(depth, height, width)`.
        indices_xyz: Whole `(x, y, z)` voxel indices, shape `(N, 3)`.
        size: Voxels along each edge, 4 or more.

    Returns:
        Shape `(N, 1, size, size, size)`, on the device of `voxels`.
    """
    if size < SMALLEST_PATCH:
        raise InputError(f"A patch of {size} voxels is too small: take {SMALLEST_PATCH} or more.")
    indices = torch.as_tensor(np.asarray(indices_xyz), device=voxels.device).long().reshape(-1, 3)
    steps = torch.arange(size, device=voxels.device) - anchor(size)
    z, y, x = (
        (indices[:, axis, None] + steps).clamp_(0, voxels.shape[2 - axis] - 1) for axis in (2, 1, 0)
    )  # (N, size) each
    return voxels[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]][:, None]


def scale_patches(patches: torch.Tensor) -> torch.Tensor:
    """Each patch `(N, 1, s, s, s)` from its own minimum and maximum to [-127.5, 127.5]; a flat one to zeros."""
    low, high = patches.amin((1, 2, 3, 4), keepdim=True), patches.amax((1, 2, 3, 4), keepdim=True)
    span = high - low
    scaled = (patches - low) / span.clamp_min(torch.finfo(patches.dtype).tiny) * (2 * HALF_RANGE) - HALF_RANGE
    return torch.where(span > 0, scaled, 0.0)


@torch.no_grad()
def patch_features(
    encoder: Encoder,
    layer: str,
    patches: torch.Tensor,
    *,
    batch: int = 16,
    precision: str = "float32",
    padding: str = "same",
) -> torch.Tensor:
    """The layer's map of every patch, shape `(N, channels, d, h, w)`, float32, on the encoder's device.

    Args:
        encoder: Any network.
        layer: One of its layers.
        patches: Scaled patches, shape `(N, 1, size, size, size)`.
        batch: Patches encoded at a time.
        precision: `"float32"` or `"bfloat16"`, in which the network computes.
        padding: `"same"` as in the paper, or `"valid"`.
    """
    dtype = DTYPES[precision]
    maps = [encoder(part.to(encoder.device, dtype), layer, padding=padding).float() for part in patches.split(batch)]
    return torch.cat(maps)
