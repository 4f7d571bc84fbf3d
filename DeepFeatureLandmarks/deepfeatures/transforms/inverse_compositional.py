"""Inverse compositional spatial transformers: a network says several times how the template must move to fit.

After Lin and Lucey, Inverse compositional spatial transformer networks (CVPR 2017). In each round the volume that was
given is warped by all that was found so far, so that blur does not add up, and one network looks at it. The warp is
followed by the inverse of what it says: `warp ∘ step⁻¹`. The authors' code multiplies from the other side. A network
can learn to make up for that, but its steps are then not those of the frame that it sees.

A warp takes places of the output to places of the input, in units from -1 to 1 between the outer faces of the voxels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.transforms.spatial_transformer import AffineGrid, SpatialTransformer

AFFINE = SpatialTransformer(nn.Identity(), AffineGrid())


class InverseCompositionalTransformer(nn.Module):
    """Moves volumes in several rounds, differentiable by volumes and network.

    Args:
        localisation: From volumes `(B, C, D, H, W)` to the twelve numbers of an affine step less those of the identity,
            `(B, 12)`, row by row. It is the same in all rounds.
        rounds: How often it looks.
    """

    def __init__(self, localisation: nn.Module, rounds: int = 4) -> None:
        super().__init__()
        self.localisation, self.rounds = localisation, rounds

    def forward(self, volumes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Volumes `(B, C, D, H, W)` after all rounds, and their warps, `(B, 4, 4)`."""
        identity = torch.eye(4, dtype=volumes.dtype, device=volumes.device).expand(len(volumes), 4, 4)
        warp = identity
        for _ in range(self.rounds):
            step = F.pad(self.localisation(warped(volumes, warp)).unflatten(1, (3, 4)), (0, 0, 0, 1))
            warp = after_inverse(warp, identity + step)
        return warped(volumes, warp), warp


def after_inverse(warp: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """`warp ∘ step⁻¹`, the inverse compositional update, of matrices `(..., 4, 4)`."""
    return warp @ torch.linalg.inv(step)


def warped(volumes: torch.Tensor, warp: torch.Tensor) -> torch.Tensor:
    """Volumes `(B, C, D, H, W)` seen through warps `(B, 4, 4)`; borders are repeated."""
    identity = torch.eye(4, dtype=warp.dtype, device=warp.device)
    return AFFINE.resample(volumes, (warp - identity)[:, :3].flatten(1))
