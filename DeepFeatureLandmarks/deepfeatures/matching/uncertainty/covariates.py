"""Covariates of a match: the numbers about each found landmark from which its error is predicted.

All are taken at the finest level, where one voxel is the unit of length, from both volumes alone; nothing is known of
what the landmark means. Intensities of the target do not count, so that another contrast is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.block_matching import ball
from deepfeatures.matching.geometry.sampling import sample, smooth

SCALES = (1, 2, 4)  # voxels, standard deviations by which the template is smoothed to see its form
NAMES = (
    "feature_distance",  # of the blocks
    "surroundings",  # the same of balls around them
    "posterior_std",  # voxels, of the places around that are nearly as likely
    "neighbour_residual",  # voxels from where the neighbours predict it
    "pose_anisotropy",  # by which factor the pose stretches one direction more than another
    # Root mean square slope of the template's intensity along the direction where it is least, between, and most: none
    # are steep in a flat place, one across a surface, two across a ridge, three at a corner.
    *(f"slope_{scale}_{which}" for scale in SCALES for which in ("least", "middle", "most")),
)
AROUND, STEP = 9, 3  # voxels, of the balls
SMALL = 0.1  # voxels: smaller lengths are alike


@dataclass(frozen=True, eq=False)
class LevelMatch:
    """The finest level, once its landmarks have been matched. Lengths in its voxels.

    Args:
        template: Intensities of the template, `(D, H, W)`.
        template_features, target_features: Of the template and of the resampled target, `(C, D, H, W)`.
        points, matched: Landmarks in the template and their matches in the target, `(L, 3)`.
        distances: Of the landmarks' blocks, `(L,)`.
        posterior_std, neighbour_residual: See `regularization.RegularizedMatch`, `(L,)`.
        pose: Template to target millimetres, `(4, 4)`.
    """

    template: torch.Tensor
    template_features: torch.Tensor
    target_features: torch.Tensor
    points: torch.Tensor
    matched: torch.Tensor
    distances: torch.Tensor
    posterior_std: torch.Tensor
    neighbour_residual: torch.Tensor
    pose: torch.Tensor


def covariates(match: LevelMatch) -> torch.Tensor:
    """Logarithms of the numbers in `NAMES` for each landmark, `(L, len(NAMES))`."""
    points, around = match.points, ball(AROUND, STEP, match.points.device).float()
    apart = sample(match.template_features, points[:, None] + around)
    apart -= sample(match.target_features, match.matched[:, None] + around)
    stretches = torch.linalg.svdvals(match.pose[:3, :3].cpu()).to(points.device)  # Metal lacks it
    columns = (
        match.distances.clamp(min=1e-8),
        apart.square().mean((1, 2)).clamp(min=1e-8),
        match.posterior_std + SMALL,
        match.neighbour_residual + SMALL,
        (stretches[0] / stretches[-1].clamp(min=1e-6)).expand(len(points)),
        *(column for scale in SCALES for column in _slopes(match.template, points, scale).unbind(1)),
    )
    return torch.stack(columns, 1).log()


def _slopes(image: torch.Tensor, points: torch.Tensor, scale: int) -> torch.Tensor:
    """Of an image `(D, H, W)` smoothed by `scale`, around points: along the principal directions, rising, `(N, 3)`."""
    smoothed, around = smooth(image[None], scale), ball(2 * scale + 1, 1, points.device)
    places = points[:, None] + around
    steps = torch.eye(3, device=points.device)
    slopes = torch.cat([sample(smoothed, places + step) - sample(smoothed, places - step) for step in steps], -1) / 2
    squares = torch.linalg.eigvalsh((slopes.mT @ slopes / len(around)).cpu()).to(points.device)  # Metal lacks it
    return squares.clamp(min=1e-6).sqrt() + 0.02
