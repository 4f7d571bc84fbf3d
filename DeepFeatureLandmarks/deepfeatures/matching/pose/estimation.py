"""Pose estimation: the affine transform that most keypoints of the template agree on.

Keypoint matches find it from a start nearby. World directions are such a start where both heads were scanned alike,
with the volumes' centres in one place or, as with two series of one patient, where the world has them. Whether the
start was right is seen from the features, once the pose is found: they must be similar, and more similar than with the
pose rotated a little further. Else all translations are tried, since one volume may show a part of the other. Then
all rotations are tried on a coarse level; where one volume holds larger structures, also with both made one size. A
rotated pose that is more similar, but not by much, is kept beside the upright one: landmarks matched from both decide.
Where too few points agree on a start that seemed right, rotations are tried after all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.pose.image_similarity import ImagePair, max_overlap
from deepfeatures.matching.pose.initialization import centres_aligned, world_aligned
from deepfeatures.matching.pose.refinement import refine_pose, usable_spacing
from deepfeatures.matching.pose.rotation_search import best_rotation, scales
from deepfeatures.matching.pose.settings import PoseSettings
from deepfeatures.matching.pose.translation_search import best_translation


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the target lies.

    Args:
        matrix: Template millimetres to target millimetres, `(4, 4)`.
        initialization: What it was found from: `"centres"`, `"world"`, `"translation"` or `"any"`.
        similarity: See `ImagePair.similarity`, at the spacing of the last coarse round.
        is_sure: Whether it looked right or was given by the user, so that rotations were not tried.
    """

    matrix: torch.Tensor
    initialization: str
    similarity: float
    is_sure: bool = False

    @property
    def is_searched(self) -> bool:
        """Whether it is the best of many, which may look alike by chance."""
        return self.initialization in ("translation", "any")


def estimate_poses(pair: ImagePair, initialization: str, finest_mm: float, settings: PoseSettings) -> tuple[Pose, ...]:
    """The pose of the target; or two, an upright and a rotated one, where similarity leaves open which of them.

    Args:
        pair: Template and target, and the features by which they are compared.
        initialization: `"centres"` starts from equal directions in the world and centres in one place, `"world"` from
            equal places in the world, `"any"` from the rotation that fits best. `"auto"` starts from centres or the
            world; where that is not right from the translation that fits best, and then from any rotation.
        finest_mm: The finest spacing, the unit of the settings' lengths.
    """
    template, target = pair.template, pair.target
    spacing = usable_spacing(template.image, settings.coarse[-1].spacing, finest_mm)
    aligned = world_aligned(template.image, target.image)
    pair = replace(pair, max_overlap=max_overlap(template, target, aligned, spacing))
    if initialization == "any":
        poses = [_rotated(pair, spacing, finest_mm, settings)]
    else:
        upright = _upright(pair, aligned, initialization, spacing, finest_mm, settings)
        poses = [upright]
        if not upright.is_sure:
            rotated = _rotated(pair, spacing, finest_mm, settings)
            gain = rotated.similarity - upright.similarity
            if gain > settings.advantage:
                poses = [rotated]
            elif gain > 0:
                poses = [upright, rotated]
    return tuple(refined(pair, pose, finest_mm, settings) for pose in poses)


def _upright(
    pair: ImagePair,
    aligned: torch.Tensor,
    initialization: str,
    spacing: float,
    finest_mm: float,
    settings: PoseSettings,
) -> Pose:
    """The pose of equal directions in the world; an initialization that the user gave counts as sure."""
    pose = _coarse(
        pair, *_start(pair, aligned, initialization, spacing, settings.slight_advantage), finest_mm, settings
    )
    if initialization != "auto" or _is_right(pair, pose, spacing, settings):
        return replace(pose, is_sure=True)
    translated = _coarse(pair, best_translation(pair, aligned, spacing), "translation", finest_mm, settings)
    if translated.similarity > pose.similarity + settings.slight_advantage:
        return replace(translated, is_sure=_is_right(pair, translated, spacing, settings))
    return pose


def _rotated(pair: ImagePair, spacing: float, finest_mm: float, settings: PoseSettings) -> Pose:
    """The pose of whatever rotation fits best."""
    found = []
    for scale in scales(pair, spacing, settings.sizes):
        pose = _coarse(pair, best_rotation(pair, scale, spacing, settings), "any", finest_mm, settings)
        if scale == 1 or pose.similarity >= settings.alike:
            found.append(pose)
    return max(found, key=lambda pose: pose.similarity)


def _start(
    pair: ImagePair, aligned: torch.Tensor, initialization: str, spacing: float, slight_advantage: float
) -> tuple[torch.Tensor, str]:
    """Where an initialization starts, given where the world has the target, and the start's name."""
    centres = centres_aligned(pair.template.image, pair.target.image)
    if initialization == "auto":
        better = pair.similarity(aligned, spacing) > pair.similarity(centres, spacing) + slight_advantage
        initialization = "world" if better else "centres"
    return aligned if initialization == "world" else centres, initialization


def _is_right(pair: ImagePair, pose: Pose, spacing: float, settings: PoseSettings) -> bool:
    def most(tilts: list[torch.Tensor]) -> float:
        return max(pair.similarity(pose.matrix @ tilt, spacing) for tilt in tilts)

    scan = pair.template.image
    # Coarse or smooth volumes look alike upside down too.
    chance = most(_tilts(scan, 180)[::2])  # both ways are one
    if pose.similarity - chance < settings.alike * (1 - chance):
        return False
    return most(_tilts(scan, settings.tilt_deg)) < pose.similarity


def _tilts(image: Image, angle_deg: float) -> list[torch.Tensor]:
    """Rotations about the middle of the image, both ways about each axis, `(4, 4)`."""
    middle, angle = (image.extent - image.spacing) / 2, math.radians(angle_deg)
    tilts = []
    for axis in range(3):
        for sine in (math.sin(angle), -math.sin(angle)):
            tilt = torch.eye(4, device=middle.device)
            a, b = (axis + 1) % 3, (axis + 2) % 3
            tilt[a, a] = tilt[b, b] = math.cos(angle)
            tilt[a, b], tilt[b, a] = -sine, sine
            tilt[:3, 3] = middle - tilt[:3, :3] @ middle
            tilts.append(tilt)
    return tilts


def _coarse(
    pair: ImagePair, start: torch.Tensor, initialization: str, finest_mm: float, settings: PoseSettings
) -> Pose:
    matrix = start
    for level in settings.coarse:
        spacing = usable_spacing(pair.template.image, level.spacing, finest_mm)
        matrix = refine_pose(pair, matrix, level, spacing, settings, settings.prior)
    return Pose(matrix, initialization, pair.similarity(matrix, spacing))


def refined(pair: ImagePair, pose: Pose, finest_mm: float, settings: PoseSettings) -> Pose:
    """A pose after the fine rounds."""
    matrix = pose.matrix
    for level in settings.fine:
        spacing = usable_spacing(pair.template.image, level.spacing, finest_mm)
        matrix = refine_pose(pair, matrix, level, spacing, settings, settings.prior)
    return replace(pose, matrix=matrix)
