"""Covariates of a match: the numbers about each found landmark from which its error is predicted.

All are taken at the finest level, where one voxel is the unit of length, from both volumes alone; nothing is known of
what the landmark means. Intensities of the target count in one of them alone, which tells whether both have one
contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.block_matching import ball, cube, distances_of_blocks
from deepfeatures.matching.geometry.displacement_field import ScatteredDisplacements
from deepfeatures.matching.geometry.robust_affine import robust_affine
from deepfeatures.matching.geometry.sampling import apply_affine, smooth
from deepfeatures.transforms.samplers import sample

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
    "inverse_consistency",  # voxels between the landmark and its match matched back
    "deviation",  # voxels from where an affine transform of all points has it
    "strain",  # by which factor the displacements stretch or squeeze the surroundings, its logarithm
    "look_alike",  # how unlike the template is a few voxels away, in feature distances of the match
    # Of the pair of volumes, the same for all landmarks:
    "pair_similarity",  # share of correlation that the features lack
    "pair_contrast",  # the same of the intensities
    "pair_consistent",  # share of points that are not matched back to where they came from
    "pair_coarseness",  # finest spacing in voxels of the template
)
AROUND, STEP = 9, 3  # voxels, of the balls
SMALL = 0.1  # voxels: smaller lengths are alike
ELSEWHERE = (2.5, 5)  # voxels from a landmark, between which its own look-alikes are searched
STEP_OF_STRAIN = 3.0  # voxels to either side
SMALL_DISTANCE = 1e-4  # of features: smaller ones are alike
LITTLE = 0.02  # strain, share: less is alike
SAMPLED = 2  # every so many voxels along each axis tell how similar two volumes are
UNKNOWN_SHARE = 0.5  # consistent, where too few points tell


@dataclass(frozen=True, eq=False)
class LevelMatch:
    """The finest level, once its landmarks have been matched. Lengths in its voxels.

    Args:
        template: Intensities of the template, `(D, H, W)`.
        template_features, target_features: Of the template and of the resampled target, `(C, D, H, W)`.
        covered: 1 where the target's features are of its voxels, 0 beyond, `(D, H, W)`.
        points, matched: Landmarks in the template and their matches in the target, `(L, 3)`.
        blocks, patch, weights: Template features around the landmarks, `(L, K, C)`, see `distances_of_blocks`.
        distances: Of the landmarks' blocks, `(L,)`.
        posterior_std, neighbour_residual: See `regularization.RegularizedMatch`, `(L,)`.
        inverse_consistency: Errors, `(L,)`.
        displacements: Of landmarks and keypoints, before the pose.
        pose: Template to target millimetres, `(4, 4)`.
        contrast: Correlation of the intensities.
        consistent_share: See `inverse_consistency`.
        coarseness: Edge of its voxels in those of the template.
    """

    template: torch.Tensor
    template_features: torch.Tensor
    target_features: torch.Tensor
    covered: torch.Tensor
    points: torch.Tensor
    matched: torch.Tensor
    blocks: torch.Tensor
    patch: torch.Tensor
    weights: torch.Tensor
    distances: torch.Tensor
    posterior_std: torch.Tensor
    neighbour_residual: torch.Tensor
    inverse_consistency: torch.Tensor
    displacements: ScatteredDisplacements
    pose: torch.Tensor
    contrast: float
    consistent_share: float | None
    coarseness: float


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
        match.inverse_consistency + SMALL,
        _deviation(match.displacements, len(points)) + SMALL,
        _strain(match.displacements, points) + LITTLE,
        (_look_alike(match) + SMALL_DISTANCE) / (match.distances + SMALL_DISTANCE),
        *(number.expand(len(points)) for number in _of_pair(match)),
    )
    return torch.stack(columns, 1).log()


def _of_pair(match: LevelMatch) -> tuple[torch.Tensor, ...]:
    some = (slice(None, None, SAMPLED),) * 3
    covered = match.covered[some] > 0
    template, target = (
        features[(slice(None), *some)][:, covered] for features in (match.template_features, match.target_features)
    )
    template, target = (values - values.mean(1, keepdim=True) for values in (template, target))
    similarity = (template * target).sum() / (template.norm() * target.norm()).clamp(min=1e-12)
    share = UNKNOWN_SHARE if match.consistent_share is None else match.consistent_share
    lacking = torch.tensor([match.contrast, share], device=template.device)
    return (
        (1 - similarity).clamp(min=LITTLE),
        *(1 - lacking).clamp(min=LITTLE),
        torch.tensor(match.coarseness, device=template.device),
    )


def _deviation(displacements: ScatteredDisplacements, count: int) -> torch.Tensor:
    """Of the first points from an affine transform of all, `(count,)`."""
    points, moved = displacements.points, displacements.points + displacements.displacements
    if len(points) < 4:
        return torch.zeros(count, device=points.device)
    matrix, _ = robust_affine(points, moved, torch.ones(len(points), device=points.device))
    return (apply_affine(matrix, points[:count]) - moved[:count]).norm(dim=1)


def _strain(displacements: ScatteredDisplacements, points: torch.Tensor) -> torch.Tensor:
    """The largest logarithm of a stretch around each of the points, without its sign, `(N,)`."""
    steps = STEP_OF_STRAIN * torch.eye(3, device=points.device)
    places = torch.cat([points[:, None] + steps, points[:, None] - steps], 1)
    moved = (places + displacements.at(places.reshape(-1, 3)).reshape(places.shape)).cpu()  # Metal lacks what follows
    gradients = (moved[:, :3] - moved[:, 3:]) / (2 * STEP_OF_STRAIN)
    return torch.linalg.svdvals(gradients).clamp(min=1e-3).log().abs().amax(1).to(points.device)


def _look_alike(match: LevelMatch) -> torch.Tensor:
    """Feature distance of each landmark's block to the most alike place of the template a few voxels away, `(L,)`."""
    least, most = ELSEWHERE
    distances = distances_of_blocks(
        match.blocks, match.template_features, match.points, most, match.patch, match.weights
    )
    away = cube(most, match.points.device).float().norm(dim=1)
    return distances.flatten(1)[:, (away > least) & (away <= most)].amin(1)


def _slopes(image: torch.Tensor, points: torch.Tensor, scale: int) -> torch.Tensor:
    """Of an image `(D, H, W)` smoothed by `scale`, around points: along the principal directions, rising, `(N, 3)`."""
    smoothed, around = smooth(image[None], scale), ball(2 * scale + 1, 1, points.device)
    places = points[:, None] + around
    steps = torch.eye(3, device=points.device)
    slopes = torch.cat([sample(smoothed, places + step) - sample(smoothed, places - step) for step in steps], -1) / 2
    squares = torch.linalg.eigvalsh((slopes.mT @ slopes / len(around)).cpu()).to(points.device)  # Metal lacks it
    return squares.clamp(min=1e-6).sqrt() + 0.02
