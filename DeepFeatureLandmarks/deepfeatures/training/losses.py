"""What training asks of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from deepfeatures.training.random_deformations import sample


def interpolate(features: torch.Tensor, points: torch.Tensor, stride: int) -> torch.Tensor:
    """Feature vectors at voxel positions, interpolated linearly.

    Args:
        features: map of the whole view, shape `(batch, channels, d, h, w)`; entry k is centred on voxel
            `stride * k + (stride - 1) / 2`.
        points: voxel indices `(z, y, x)` of the view, shape `(batch, N, 3)`.

    Returns:
        shape `(batch, N, channels)`.
    """
    size = torch.tensor(features.shape[2:], device=points.device)
    entries = (points - (stride - 1) / 2) / stride - (size - 1) / 2
    return sample(features.float(), entries.mT).mT


def position_contrast(
    first: torch.Tensor,
    second: torch.Tensor,
    points: torch.Tensor,
    valid: torch.Tensor,
    *,
    margin: float,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE between positions: a place in one view agrees with itself in the other, against all other places.

    Other places are the other points of the same volume (close ones and far look-alikes) and of the other volumes of
    the batch. Both directions count.

    Args:
        first, second: features of corresponding points, shape `(batch, N, channels)`; only their directions count.
        points: voxel indices of the points in the second view, shape `(batch, N, 3)`.
        valid: which points count, shape `(batch, N)`.
        margin: Points of the same volume closer than this, in voxels, are no negatives: they are nearly the same place.
    """
    batch, n = valid.shape
    close = torch.cdist(points, points) < margin
    close.diagonal(dim1=1, dim2=2).fill_(False)
    ignored = torch.block_diag(*close.float()).bool() | ~valid.flatten()[None]
    first, second = F.normalize(first.flatten(0, 1), dim=1), F.normalize(second.flatten(0, 1), dim=1)
    logits = first @ second.mT / temperature
    target = torch.arange(batch * n, device=valid.device)
    total = torch.zeros((), device=valid.device)
    for scores in (logits, logits.mT):
        loss = F.cross_entropy(scores.masked_fill(ignored, -1e4).float(), target, reduction="none")
        total = total + (loss * valid.flatten()).sum() / valid.sum().clamp_min(1)
    return total / 2
