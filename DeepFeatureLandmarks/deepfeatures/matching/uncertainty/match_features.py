"""What speaks for and against each place that was found: the numbers from which its error is predicted.

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
    "distance",  # feature distance of the blocks
    "surroundings",  # the same of balls around them
    "spread",  # voxels, of the places around that are nearly as likely
    "astray",  # voxels from where the neighbours foretell it
    "stretch",  # by which factor the pose stretches one direction more than another
    # Root mean square slope of the template's intensity along the direction where it is least, between, and most: none
    # are steep in a flat place, one across a surface, two across a ridge, three at a corner.
    *(f"slope_{scale}_{which}" for scale in SCALES for which in ("least", "middle", "most")),
)
AROUND, STEP = 9, 3  # voxels, of the balls
SMALL = 0.1  # voxels: smaller lengths are alike


@dataclass(frozen=True, eq=False)
class Settled:
    """The finest level, once its landmarks have settled. Lengths in its voxels.

    Args:
        image: Intensities of the template, `(D, H, W)`.
        features, seen: Of the template and of the target seen through the pose, `(C, D, H, W)`.
        here, there: Landmarks in the one and their places in the other, `(L, 3)`.
        distances: Of the landmarks' blocks, `(L,)`.
        spread, astray: See `relaxation.Relaxed`, `(L,)`.
        pose: Template to target millimetres, `(4, 4)`.
    """

    image: torch.Tensor
    features: torch.Tensor
    seen: torch.Tensor
    here: torch.Tensor
    there: torch.Tensor
    distances: torch.Tensor
    spread: torch.Tensor
    astray: torch.Tensor
    pose: torch.Tensor


def gather(settled: Settled) -> torch.Tensor:
    """Logarithms of the numbers in `NAMES` for each landmark, `(L, len(NAMES))`."""
    here, there = settled.here, settled.there
    around = ball(AROUND, STEP, here.device).float()
    apart = sample(settled.features, here[:, None] + around) - sample(settled.seen, there[:, None] + around)
    stretches = torch.linalg.svdvals(settled.pose[:3, :3].cpu()).to(here.device)  # Metal lacks it
    columns = (
        settled.distances.clamp(min=1e-8),
        apart.square().mean((1, 2)).clamp(min=1e-8),
        settled.spread + SMALL,
        settled.astray + SMALL,
        (stretches[0] / stretches[-1].clamp(min=1e-6)).expand(len(here)),
        *(column for scale in SCALES for column in _slopes(settled.image, here, scale).unbind(1)),
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
