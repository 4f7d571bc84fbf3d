"""The pose of a target: the affine transform that most keypoints of the template agree on.

Keypoint matches find it from a start nearby. World directions are such a start where both heads were scanned alike,
with the volumes' centres in one place or, as with two series of one patient, where the world has them. Whether it was
one is seen from the features, once the pose is found: they must be alike, and more alike than a little further turned.
Else all shifts are tried, since one volume may show a part of the other; and then all rotations on a coarse level,
where one volume holds larger structures than the other also with both made one size. A turned pose that is more alike,
but not by much, is handed on beside the upright one: landmarks placed from both tell them apart. And where too few
points agree on a start that passed for right, rotations are tried after all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from deepfeatures.matching.geometry.pyramid import Encode, Pyramid, Scan
from deepfeatures.matching.pose.initialization import centres_aligned, world_aligned
from deepfeatures.matching.pose.refinement import matched_round, usable_spacing
from deepfeatures.matching.pose.rotation_search import best_rotation, scales
from deepfeatures.matching.pose.settings import PoseSettings
from deepfeatures.matching.pose.similarity import Pair, attainable_share
from deepfeatures.matching.pose.translation_search import best_shift

WAYS = ("auto", "centres", "world", "any")


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the target lies.

    Args:
        matrix: Template millimetres to target millimetres, `(4, 4)`.
        way: What it was found from: `"centres"`, `"world"`, `"shift"` or `"any"`.
        likeness: See `Pair.likeness`, at the spacing of the last coarse round.
        is_sure: Whether it looked right or was the user's word, so that rotations were not tried.
    """

    matrix: torch.Tensor
    way: str
    likeness: float
    is_sure: bool = False

    @property
    def is_searched(self) -> bool:
        """Whether it is the best of many, which may look alike by chance."""
        return self.way in ("shift", "any")


def find_poses(
    template: Pyramid, target: Pyramid, way: str, encode: Encode, unit: float, settings: PoseSettings
) -> tuple[Pose, ...]:
    """The pose of the target; or two, an upright and a turned one, where likeness leaves open which of them.

    Args:
        way: `"centres"` starts from equal directions in the world and centres in one place, `"world"` from equal
            places in the world, `"any"` from whatever rotation fits best; `"auto"` from centres or the world, where
            that is not right from equal directions wherever they fit best (`"shift"`), and where that is not right
            from any.
        encode: Features of a view.
        unit: The finest spacing, mm.
    """
    spacing = usable_spacing(template.scan, settings.coarse[-1].spacing, unit)
    aligned = world_aligned(template.scan, target.scan)
    pair = Pair(template, target, encode, attainable_share(template, target, aligned, spacing))
    if way == "any":
        poses = [_turned(pair, spacing, unit, settings)]
    else:
        upright = _upright(pair, aligned, way, spacing, unit, settings)
        poses = [upright]
        if not upright.is_sure:
            turned = _turned(pair, spacing, unit, settings)
            gain = turned.likeness - upright.likeness
            if gain > settings.advantage:
                poses = [turned]
            elif gain > 0:
                poses = [upright, turned]
    return tuple(_fine(pair, pose, unit, settings) for pose in poses)


def _upright(pair: Pair, aligned: torch.Tensor, way: str, spacing: float, unit: float, settings: PoseSettings) -> Pose:
    """The pose of equal directions in the world; the user's word is sure."""
    pose = _coarse(pair, *_start(pair, aligned, way, spacing, settings.slight_advantage), unit, settings)
    if way != "auto" or _is_right(pair, pose, spacing, settings):
        return replace(pose, is_sure=True)
    shifted = _coarse(pair, best_shift(pair, aligned, spacing), "shift", unit, settings)
    if shifted.likeness > pose.likeness + settings.slight_advantage:
        return replace(shifted, is_sure=_is_right(pair, shifted, spacing, settings))
    return pose


def _turned(pair: Pair, spacing: float, unit: float, settings: PoseSettings) -> Pose:
    """The pose of whatever rotation fits best."""
    found = []
    for scale in scales(pair, spacing, settings.sizes):
        pose = _coarse(pair, best_rotation(pair, scale, spacing, settings), "any", unit, settings)
        if scale == 1 or pose.likeness >= settings.alike:
            found.append(pose)
    return max(found, key=lambda pose: pose.likeness)


def _start(
    pair: Pair, aligned: torch.Tensor, way: str, spacing: float, slight_advantage: float
) -> tuple[torch.Tensor, str]:
    """Where a way starts, given where the world has the target, and the start's name."""
    centres = centres_aligned(pair.template.scan, pair.target.scan)
    if way == "auto":
        better = pair.likeness(aligned, spacing) > pair.likeness(centres, spacing) + slight_advantage
        way = "world" if better else "centres"
    return aligned if way == "world" else centres, way


def _is_right(pair: Pair, pose: Pose, spacing: float, settings: PoseSettings) -> bool:
    def most(tilts: list[torch.Tensor]) -> float:
        return max(pair.likeness(pose.matrix @ tilt, spacing) for tilt in tilts)

    scan = pair.template.scan
    # Coarse or smooth volumes look alike upside down too.
    chance = most(_tilts(scan, 180)[::2])  # both ways are one
    if pose.likeness - chance < settings.alike * (1 - chance):
        return False
    return most(_tilts(scan, settings.tilt_deg)) < pose.likeness


def _tilts(scan: Scan, angle_deg: float) -> list[torch.Tensor]:
    """Rotations about the middle of the scan, both ways about each axis, `(4, 4)`."""
    middle, angle = (scan.extent - scan.spacing) / 2, math.radians(angle_deg)
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


def _coarse(pair: Pair, start: torch.Tensor, way: str, unit: float, settings: PoseSettings) -> Pose:
    matrix = start
    for level in settings.coarse:
        spacing = usable_spacing(pair.template.scan, level.spacing, unit)
        matrix = matched_round(pair, matrix, level, spacing, settings, settings.prior)
    return Pose(matrix, way, pair.likeness(matrix, spacing))


def _fine(pair: Pair, pose: Pose, unit: float, settings: PoseSettings) -> Pose:
    matrix = pose.matrix
    for level in settings.fine:
        spacing = usable_spacing(pair.template.scan, level.spacing, unit)
        matrix = matched_round(pair, matrix, level, spacing, settings, settings.prior)
    return replace(pose, matrix=matrix)
