"""Auxiliary keypoints: places in the template that block matching can hold on to."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.sampling import edge_strength

BORDER = 2  # voxels along the faces of a volume that hold no keypoints


def detect_keypoints(image: torch.Tensor) -> torch.Tensor:
    """Places spread over the volume where structure is strongest.

    Local maxima of the smallest eigenvalue-like corner measure would be sparse in smooth anatomy; local maxima of the
    gradient's strength are plentiful, lie on boundaries, and never in air.

    Args:
        image: One level of the template, `(D, H, W)`.

    Returns:
        Voxel coordinates `(n, 3)` in x, y, z; take some of them `subsample`.
    """
    strength = edge_strength(image, 1.0)
    inside = torch.zeros_like(strength, dtype=torch.bool)
    inside[(slice(BORDER, -BORDER),) * 3] = True
    peaks = strength == F.max_pool3d(strength[None, None], 3, 1, 1)[0, 0]
    high = strength[strength > 0.05 * strength.max()]
    if high.numel() == 0:
        return torch.zeros(0, 3, device=image.device)
    threshold = 0.2 * high.sort().values[int(0.9 * (high.numel() - 1))]
    return (peaks & inside & (strength > threshold)).nonzero().flip(-1).float()


def subsample(rows: torch.Tensor, most: int) -> torch.Tensor:
    """At most so many of the rows, from the first to the last."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), most), device=rows.device).round().long()]
