"""One round of the pose: keypoints of the template are matched near where a pose has them, and correct it."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.block_matching import ball, block_distances, sub_voxel_minimum
from deepfeatures.matching.geometry.keypoints import evenly, strong_keypoints
from deepfeatures.matching.geometry.pyramid import Lattice, Scan
from deepfeatures.matching.geometry.sampling import apply_affine, box_corners, translation
from deepfeatures.matching.pose.robust_affine import in_proportion, robust_affine
from deepfeatures.matching.pose.settings import PoseLevel, PoseSettings
from deepfeatures.matching.pose.similarity import Pair

SMALLEST_LEVEL = 16  # voxels along the shortest axis below which a level holds too little


def usable_spacing(template: Scan, wanted: float, unit: float) -> float:
    """Millimetres: `wanted` units, halved until the template has enough voxels, but not below one unit."""
    spacing = wanted * unit
    while spacing > unit and min(Lattice.around(template, spacing).shape) < SMALLEST_LEVEL:
        spacing /= 2
    return spacing


def matched_round(
    pair: Pair,
    pose: torch.Tensor,
    level: PoseLevel,
    spacing: float,
    settings: PoseSettings,
    prior: float,
    covered_only: bool = False,
) -> torch.Tensor:
    """The pose after keypoints have been matched once: those that the search may find in the target, or only those that
    lie a voxel inside it."""
    on = Lattice.around(pair.template.scan, spacing)
    keypoints = evenly(pair.template.own(on, strong_keypoints), level.keypoints)
    margin = -spacing if covered_only else spacing * level.search_radius
    keypoints = keypoints[pair.target.scan.covers(apply_affine(pose, on.to_mm(keypoints)), margin)]
    if len(keypoints) < 4:
        return pose
    scene, covered = pair.target.view(on, pose)
    distances = block_distances(
        pair.template.own(on, pair.encode),
        pair.encode(scene),
        keypoints,
        keypoints,
        level.search_radius,
        ball(level.patch_radius, settings.patch_step if level.patch_radius > 3 else 1, keypoints.device),
        covered=covered,
    )
    displacements, _ = sub_voxel_minimum(distances)
    here, there = on.to_mm(keypoints), on.to_mm(keypoints + displacements)
    return in_proportion(pose @ _agreed(here, there, level.kind, prior), settings.proportions, here.mean(0))


def _agreed(here: torch.Tensor, there: torch.Tensor, kind: str, prior: float) -> torch.Tensor:
    """The transform that most matches agree on, held back by the corners of their box, which would rather stay."""
    if kind == "translation":
        return _agreed_translation(here, there)
    corners = box_corners(here.amin(0), here.amax(0))
    weights = torch.ones(len(here) + 8, device=here.device)
    weights[-8:] = prior * len(here) / 8
    matrix, _ = robust_affine(torch.cat([here, corners]), torch.cat([there, corners]), weights)
    return matrix


def _agreed_translation(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    moves = there - here
    mean = moves.median(0).values
    for _ in range(10):
        lengths = (moves - mean).norm(dim=1)
        weights = 1 / (1 + (lengths / lengths.median().clamp(min=1e-6)) ** 2) ** 2
        mean = weights @ moves / weights.sum()
    return translation(mean)
