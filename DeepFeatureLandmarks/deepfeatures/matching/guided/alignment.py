"""The last term of the last level: landmarks aligned between voxels, and how their surroundings are turned.

Block matching tries whole voxels and fits a parabola. Inverse compositional alignment goes on from there on the same
features. Between two scans of one person it is several times nearer. Between two people the features differ more than
the places are off, and a full step would follow what only one of them has. So it is held by where the match was and by
where the neighbours predict the landmark, the more, the less alike both look; and it counts only in part where the
match was sharp.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from deepfeatures.matching.geometry.block_matching import ball, emphasis
from deepfeatures.matching.geometry.inverse_compositional import (
    AlignmentModel,
    AlignmentPrior,
    align,
    rotations,
)
from deepfeatures.matching.guided.level import RegistrationLevel
from deepfeatures.matching.guided.regularization import RegularizedMatch
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.transforms.samplers import sample

# Chosen on hippocampus 033 in targets of odd numbers and brain 1000; multiples of the match's feature distance.
MATCH_WEIGHT, NEIGHBOURS_WEIGHT, STRAIN_WEIGHT = 0.07, 0.07, 0.025  # that a voxel away costs
WIDER = 4 / 3  # radius of the template's own blocks, in those of the level's
STEP_OF_FIELD = 1.0  # voxels to either side, for its gradient


@dataclass(frozen=True, eq=False)
class AlignedMatch:
    """A match of the finest level with its landmarks aligned.

    Args:
        match: Of landmarks and keypoints.
        affine: What the surroundings of the landmarks become in the resampled target, `(L, 3, 3)`.
    """

    match: RegularizedMatch
    affine: torch.Tensor


def aligned(
    pair: ImagePair, level: RegistrationLevel, match: RegularizedMatch, settings: GuidedSettings
) -> AlignedMatch:
    """The match with its landmarks between voxels, by what the template shows."""
    return _aligned(level, match, _model(pair, level, WIDER), settings.sharp)


def aligned_to_group(
    pair: ImagePair, level: RegistrationLevel, match: RegularizedMatch, blocks: torch.Tensor, settings: GuidedSettings
) -> AlignedMatch:
    """The same by what a group shows around all points, `(N, K, C)`; the gradients stay the template's."""
    model = replace(_model(pair, level, 1.0), blocks=blocks[: level.landmarks])
    return _aligned(level, match, model, settings.sharp_in_group)


def _aligned(level: RegistrationLevel, match: RegularizedMatch, model: AlignmentModel, sharp: float) -> AlignedMatch:
    count, features = level.landmarks, level.target_features
    found = match.displacements[:count]
    difference, spread = match.distances[:count].clamp(min=1e-6), match.posterior_std[:count]
    prior = AlignmentPrior(
        NEIGHBOURS_WEIGHT / (NEIGHBOURS_WEIGHT + MATCH_WEIGHT) * (match.expected[:count] - found),
        (NEIGHBOURS_WEIGHT + MATCH_WEIGHT) * difference,
        STRAIN_WEIGHT * difference,
    )
    beyond = torch.where(level.covered > 0, 0.0, torch.nan)[None] if not bool(level.covered.all()) else None

    def look(middles: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
        places = middles[:, None] + model.patch.float() @ affine.mT
        seen = sample(features, places)
        return seen if beyond is None else seen + sample(beyond, places)

    alignment = align(model, look, level.points[:count] + found, prior)
    share = spread.square() / (spread.square() + sharp * difference)
    displacements = match.displacements.clone()
    displacements[:count] += share[:, None] * alignment.shifts
    return AlignedMatch(replace(match, displacements=displacements), alignment.affine)


def orientations(level: RegistrationLevel, found: AlignedMatch, pose: torch.Tensor) -> torch.Tensor:
    """How the landmarks' surroundings are turned from template to target millimetres, `(L, 3, 3)`.

    The rotation in alignment, displacement field and pose `(4, 4)` together.
    """
    count = level.landmarks
    places = level.points[:count] + found.match.displacements[:count]
    steps = STEP_OF_FIELD * torch.eye(3, device=places.device)
    columns = [level.field.at(places + step) - level.field.at(places - step) for step in steps]
    gradient = torch.stack(columns, -1) / (2 * STEP_OF_FIELD)
    return rotations(pose[:3, :3] @ (steps / STEP_OF_FIELD + gradient) @ found.affine)


def _model(pair: ImagePair, level: RegistrationLevel, wider: float) -> AlignmentModel:
    """Of the template around the landmarks, in blocks so much wider than the level's.

    It is kept until template, landmarks, grid or features are others.
    """
    step = int(level.patch[level.patch > 0].min())
    radius = round(wider * int(level.patch.max()))
    landmarks = level.points[: level.landmarks]
    key = AlignmentModel, pair.encode, level.grid.key, radius, step, tuple(landmarks.flatten().tolist())

    def fit() -> AlignmentModel:
        patch = ball(radius, step, landmarks.device)
        return AlignmentModel.fit(level.template_features, landmarks, patch, emphasis(patch))

    return pair.template.kept(key, fit)
