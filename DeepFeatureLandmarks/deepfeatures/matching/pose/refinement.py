"""Refinement of a pose: keypoints of the template are matched near where a pose has them, and correct it."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.block_matching import ball, block_distances, sub_voxel_minimum
from deepfeatures.matching.geometry.keypoints import detect_keypoints, subsample
from deepfeatures.matching.geometry.pyramid import Image, SamplingGrid
from deepfeatures.matching.geometry.robust_affine import limit_anisotropy, robust_affine
from deepfeatures.matching.geometry.sampling import apply_affine, box_corners, translation
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.pose.settings import PoseLevel, PoseSettings

SMALLEST_LEVEL = 16  # voxels along the shortest axis below which a level holds too little


def usable_spacing(template: Image, wanted: float, finest_mm: float) -> float:
    """Millimetres: `wanted` times the finest, halved until the template has enough voxels, but not below the finest."""
    spacing = wanted * finest_mm
    while spacing > finest_mm and min(SamplingGrid.around(template, spacing).shape) < SMALLEST_LEVEL:
        spacing /= 2
    return spacing


def refine_pose(
    pair: ImagePair,
    pose: torch.Tensor,
    level: PoseLevel,
    spacing: float,
    settings: PoseSettings,
    prior: float,
    covered_only: bool = False,
) -> torch.Tensor:
    """The pose after keypoints have been matched once: those that the search may find in the target, or only those that
    lie a voxel inside it."""
    grid = SamplingGrid.around(pair.template.image, spacing)
    keypoints = subsample(pair.template.cached(grid, detect_keypoints), level.keypoints)
    margin = -spacing if covered_only else spacing * level.search_radius
    keypoints = keypoints[pair.target.image.covers(apply_affine(pose, grid.to_mm(keypoints)), margin)]
    if len(keypoints) < 4:
        return pose
    resampled, covered = pair.target.resample(grid, pose)
    distances = block_distances(
        pair.template.cached(grid, pair.encode),
        pair.encode(resampled),
        keypoints,
        keypoints,
        level.search_radius,
        ball(level.patch_radius, settings.patch_step if level.patch_radius > 3 else 1, keypoints.device),
        covered=covered,
    )
    displacements, _ = sub_voxel_minimum(distances)
    points, matches = grid.to_mm(keypoints), grid.to_mm(keypoints + displacements)
    return limit_anisotropy(pose @ _agreed(points, matches, level.kind, prior), settings.proportions, points.mean(0))


def _agreed(points: torch.Tensor, matches: torch.Tensor, kind: str, prior: float) -> torch.Tensor:
    """The transform that most matches agree on, held back by the corners of their box, which count as unmoved."""
    if kind == "translation":
        return _agreed_translation(points, matches)
    corners = box_corners(points.amin(0), points.amax(0))
    weights = torch.ones(len(points) + 8, device=points.device)
    weights[-8:] = prior * len(points) / 8
    matrix, _ = robust_affine(torch.cat([points, corners]), torch.cat([matches, corners]), weights)
    return matrix


def _agreed_translation(points: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    moves = matches - points
    mean = moves.median(0).values
    for _ in range(10):
        lengths = (moves - mean).norm(dim=1)
        weights = 1 / (1 + (lengths / lengths.median().clamp(min=1e-6)) ** 2) ** 2
        mean = weights @ moves / weights.sum()
    return translation(mean)
