"""The frame in which a landmark head learns: the target as it lies on the template, at the template's spacing."""

from __future__ import annotations

from dataclasses import replace

import torch

from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.matching.guided.level import Points, RegistrationLevel, build_level
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.learning.local_jets import LandmarkFrame
from deepfeatures.matching.pose.image_similarity import ImagePair

SAME_SPACING = 1.001
ROUNDS = 30  # until a displacement field is inverted


def frame_level(
    pair: ImagePair,
    pose: torch.Tensor,
    points: Points,
    before_mm: torch.Tensor,
    level: RegistrationLevel,
    template_mm: float,
    settings: GuidedSettings,
) -> RegistrationLevel:
    """The finest level, at the template's own spacing even where the target is coarser.

    Args:
        pair, pose, points, before_mm: Of which `level` was built.
        level: The finest one of the registration.
        template_mm: The template's own finest spacing.
        settings: Of the search.
    """
    if max(level.spacing_mm / template_mm, template_mm / level.spacing_mm) < SAME_SPACING:
        return level
    return build_level(pair, pose, replace(points, finest_mm=template_mm), before_mm, settings.levels[-1], settings)


def landmark_frame(level: RegistrationLevel, displacements_mm: torch.Tensor, reach: int) -> LandmarkFrame:
    """The landmarks' frame.

    Args:
        level: See `frame_level`.
        displacements_mm: Of the landmarks, as the search has found them, in template mm before the pose, `(L, 3)`.
        reach: Voxels to either side that a feature is computed from.
    """
    count = level.landmarks
    found = places_in_frame(level, displacements_mm)
    return LandmarkFrame(
        level.template_features, level.target_features, level.covered, level.points[:count], found, reach
    )


def places_in_frame(level: RegistrationLevel, displacements_mm: torch.Tensor) -> torch.Tensor:
    """Where landmarks displaced by so many template mm, `(L, 3)`, lie in the frame: voxels from their template place.

    The inverse of `RegistrationLevel.displacements_mm`; NaN rows stay NaN.
    """
    points = level.points[: level.landmarks]
    wanted = displacements_mm.nan_to_num(0.0) / level.spacing_mm
    places = wanted
    for _ in range(ROUNDS):
        places = wanted - level.field.at(points + places)
    return torch.where(displacements_mm.isnan(), torch.nan, places)


def displacements_of(level: RegistrationLevel, places: torch.Tensor) -> torch.Tensor:
    """Template mm of places `(L, 3)` in the frame: the inverse of `places_in_frame`."""
    return (places + level.field.at(level.points[: level.landmarks] + places)) * level.spacing_mm


def displacements_to(pose: torch.Tensor, landmarks: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Template mm before the pose that bring landmarks `(L, 3)` to target millimetres `(L, 3)`."""
    return apply_affine(torch.linalg.inv(pose), positions) - landmarks
