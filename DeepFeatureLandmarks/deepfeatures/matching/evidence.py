"""What speaks for and against each place that was found: the numbers from which its error is predicted.

All are taken at the finest level, where one voxel is the unit of length, from both volumes alone; nothing is known of
what the landmark means. Intensities count only as far as those of the template foretell those of the target, so that
another contrast is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.blocks import ball, cube
from deepfeatures.matching.grids import sample
from deepfeatures.matching.relaxation import Relaxed

NAMES = (
    "distance",  # feature distance of the blocks
    "contrast",  # the same over that of an average displacement
    "round_trip",  # voxels between the point and its place matched back
    "spread",  # of displacements that are nearly as good as the best, voxels
    "strain",  # how much the neighbourhood is stretched or bent
    "texture_near",  # standard deviation of the template's intensity
    "texture_far",
    "surprise_near",  # difference between the target's intensity and what the template's foretells
    "surprise_far",
)
NEAR, FAR = 4, 10  # voxels, radii of the balls in which intensities are compared
SHADES = 32  # of the template's intensity, for each of which the target's is foretold


@dataclass(frozen=True, eq=False)
class Settled:
    """The finest level, once its points have settled. Lengths in its voxels.

    Args:
        image, scene: Intensities of the template and of the target seen through the pose, `(D, H, W)`.
        points: Landmarks first, then keypoints, `(N, 3)`.
        distances: Of each point's block to those tried, `(N, n, n, n)`.
        relaxed: Where the points went.
        round_trips: Of the landmarks, `(L,)`.
        reach: Standard deviation of the Gaussian that makes points neighbours.
    """

    image: torch.Tensor
    scene: torch.Tensor
    points: torch.Tensor
    distances: torch.Tensor
    relaxed: Relaxed
    round_trips: torch.Tensor
    reach: float


def gather(settled: Settled) -> torch.Tensor:
    """Logarithms of the numbers in `NAMES` for each landmark, `(L, len(NAMES))`."""
    count, relaxed = len(settled.round_trips), settled.relaxed
    here = settled.points[:count]
    there = here + relaxed.displacements[:count]
    distance, typical = relaxed.distances[:count], relaxed.typical[:count]
    surprise = _surprise(settled.image, settled.scene)
    textures, surprises = [], []
    for radius in (NEAR, FAR):
        around = ball(radius, 2, here.device).float()
        shades = sample(settled.image[None], here[:, None] + around)[..., 0]
        textures.append(shades.std(1) + 0.01)
        surprises.append(surprise(shades, sample(settled.scene[None], there[:, None] + around)[..., 0]) + 0.01)
    columns = (
        distance.clamp(min=1e-8),
        (distance / typical.clamp(min=1e-9)).clamp(min=1e-6),
        settled.round_trips + 0.25,
        _spread(settled.distances[:count]) + 0.1,
        _strain(settled.points, relaxed.displacements, count, settled.reach) + 0.02,
        *textures,
        *surprises,
    )
    return torch.stack(columns, 1).log()


def _spread(distances: torch.Tensor) -> torch.Tensor:
    flat = distances.flatten(1)
    weights = torch.softmax(-flat / (0.05 * flat.mean()).clamp(min=1e-12), 1)
    steps = cube(distances.shape[1] // 2, distances.device).float()
    mean = weights @ steps
    return ((weights @ steps.square()) - mean.square()).clamp(min=0).sum(1).sqrt()


def _strain(points: torch.Tensor, displacements: torch.Tensor, count: int, reach: float) -> torch.Tensor:
    """Norm of the gradient of an affine map fitted to the neighbours' displacements, `(count,)`."""
    apart = points[None] - points[:count, None]  # (L, N, 3)
    weights = torch.exp(-apart.square().sum(-1) / (2 * reach**2))
    weights[:, :count].fill_diagonal_(0)
    total = weights.sum(1).clamp(min=1e-9)
    design = torch.cat([apart, torch.ones_like(apart[..., :1])], -1)
    weighted = design * weights[..., None]
    damping = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0], device=points.device)) * reach  # few neighbours: no strain
    normal = weighted.mT @ design + damping * total[:, None, None] + 1e-6 * torch.eye(4, device=points.device)
    gradient = torch.linalg.solve(normal, weighted.mT @ displacements)[:, :3]
    return gradient.flatten(1).norm(dim=1)


def _surprise(image: torch.Tensor, scene: torch.Tensor):
    """A function of shades `(L, K)` and what is seen there: the mean difference from what the shade foretells."""
    low, high = image.min(), image.max()

    def shade(values: torch.Tensor) -> torch.Tensor:
        return ((values - low) / (high - low).clamp(min=1e-9) * (SHADES - 1)).round().long().clamp(0, SHADES - 1)

    shades, seen = shade(image.flatten()), scene.flatten()
    counts = torch.zeros(SHADES, device=image.device).index_add_(0, shades, torch.ones_like(seen))
    sums = torch.zeros(SHADES, device=image.device).index_add_(0, shades, seen)
    means = torch.where(counts > 0, sums / counts.clamp(min=1), seen.mean())  # between voxels there are more shades
    scale = seen.std().clamp(min=1e-9)

    def surprise(values: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        return ((found - means[shade(values)]).abs() / scale).mean(1)

    return surprise
