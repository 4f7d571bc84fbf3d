"""Guided matching: the pose first, then coarse to fine, each landmark held in place by its neighbourhood.

The paper leaves matching "greedy and unconstrained". Here auxiliary keypoints are chosen in the template beside the
landmarks. Their matches give the pose (an affine transform that most of them agree on); the target is then seen through
it in the template's own frame, so that features need not be invariant to rotation; and landmarks and keypoints settle
together, level by level, where their blocks look alike and their neighbours agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from deepfeatures.matching.blocks import ball, block_distances, sub_voxel_minimum
from deepfeatures.matching.consensus import robust_affine
from deepfeatures.matching.frame import Lattice, Pyramid, Scan
from deepfeatures.matching.grids import apply_affine
from deepfeatures.matching.keypoints import strong_keypoints
from deepfeatures.matching.relaxation import Relaxed, relax

Encode = Callable[[torch.Tensor], torch.Tensor]  # intensities (D, H, W) to features (C, D, H, W)


@dataclass(frozen=True)
class PoseLevel:
    """One round of the pose.

    Args:
        spacing: Of the level, in units of the finest spacing.
        search_radius: Voxels.
        patch_radius: Voxels.
        keypoints: At most so many.
        kind: `"translation"` or `"affine"`.
    """

    spacing: float
    search_radius: int
    patch_radius: int
    keypoints: int
    kind: str


@dataclass(frozen=True)
class SettleLevel:
    """One round of landmarks and keypoints settling together.

    Args:
        spacing: Of the level, in units of the finest spacing.
        search_radius: Voxels.
        patch_radius: Voxels.
        tensions: See `relax`.
    """

    spacing: float
    search_radius: int
    patch_radius: int
    tensions: tuple[float, ...]


@dataclass(frozen=True)
class GuidedSettings:
    """Everything about the way from coarse to fine. Lengths are in units of the finest spacing unless they say voxels.

    Args:
        pose: Rounds of the pose; those with too few voxels for their search are done at the next finer spacing.
        settle: Rounds of settling.
        patch_step: Every so many voxels of a block are compared, along each axis.
        prior: Weight of "the pose changes little" against all matches of a round.
        keypoints: Auxiliary keypoints that settle beside the landmarks.
        near: Keypoints lie within this distance of a landmark.
        reach: Standard deviation of the Gaussian that makes points neighbours.
        largest: The finest spacing is coarsened until the template has at most so many voxels along an axis.
    """

    pose: tuple[PoseLevel, ...] = (
        PoseLevel(4, 5, 3, 400, "translation"),
        PoseLevel(4, 4, 3, 500, "affine"),
        PoseLevel(2, 4, 4, 500, "affine"),
    )
    settle: tuple[SettleLevel, ...] = (
        SettleLevel(2, 4, 4, (0.003, 0.01, 0.01)),
        SettleLevel(1, 3, 6, (0.0007, 0.002, 0.002)),
    )
    patch_step: int = 2
    prior: float = 0.3
    keypoints: int = 400
    near: float = 25.0
    reach: float = 8.0
    largest: int = 256


def with_patch(settings: GuidedSettings, patch_size: int) -> GuidedSettings:
    """The settings with the blocks of the finest level `patch_size` voxels across."""
    finest = replace(settings.settle[-1], patch_radius=patch_size // 2)
    return replace(settings, settle=(*settings.settle[:-1], finest))


SMALLEST_LEVEL = 16  # voxels along the shortest axis below which a level holds too little


@dataclass(frozen=True, eq=False)
class Located:
    """The landmarks in the target, and what speaks for them.

    Args:
        positions: Target's own millimetres, `(N, 3)`.
        settled: Of the finest level.
        round_trip_mm: Distance between the landmark and its place matched back into the template, `(N,)`.
        spacing_mm: The finest spacing.
        pose: Template millimetres to target millimetres, `(4, 4)`.
    """

    positions: torch.Tensor
    settled: Relaxed
    round_trip_mm: torch.Tensor
    spacing_mm: float
    pose: torch.Tensor


def finest_spacing(template: Scan, target: Scan, settings: GuidedSettings) -> float:
    """Millimetres: the coarser of the two scans decides, since it shows no more."""
    per_scan = [float(scan.spacing.prod()) ** (1 / 3) for scan in (template, target)]
    return max(*per_scan, float(template.extent.max()) / settings.largest)


def find_pose(
    template: Pyramid, target: Pyramid, start: torch.Tensor, encode: Encode, unit: float, settings: GuidedSettings
) -> torch.Tensor:
    """The affine transform `(4, 4)` from the template's to the target's millimetres that most keypoints agree on."""
    pose, identity = start, torch.eye(4, device=start.device)
    for level in settings.pose:
        spacing = level.spacing * unit
        while spacing > unit and min(Lattice.around(template.scan, spacing).shape) < SMALLEST_LEVEL:
            spacing /= 2
        on = Lattice.around(template.scan, spacing)
        image = template.view(on, identity)
        keypoints = strong_keypoints(image, level.keypoints)
        if len(keypoints) < 4:
            continue
        distances = block_distances(
            encode(image),
            encode(target.view(on, pose)),
            keypoints,
            keypoints,
            level.search_radius,
            ball(level.patch_radius, settings.patch_step if level.patch_radius > 3 else 1, keypoints.device),
        )
        displacements, _, _ = sub_voxel_minimum(distances)
        here, there = on.to_mm(keypoints), on.to_mm(keypoints + displacements)
        pose = pose @ _agreed(here, there, level.kind, settings.prior)
    return pose


def _agreed(here: torch.Tensor, there: torch.Tensor, kind: str, prior: float) -> torch.Tensor:
    """The transform that most matches agree on, held back by the corners of their box, which would rather stay."""
    if kind == "translation":
        return _translation(here, there)
    low, high = here.amin(0), here.amax(0)
    choice = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], device=here.device)
    corners = low + choice * (high - low)
    weights = torch.ones(len(here) + 8, device=here.device)
    weights[-8:] = prior * len(here) / 8
    matrix, _ = robust_affine(torch.cat([here, corners]), torch.cat([there, corners]), weights)
    return matrix


def _translation(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    moves = there - here
    mean = moves.median(0).values
    for _ in range(10):
        lengths = (moves - mean).norm(dim=1)
        weights = 1 / (1 + (lengths / lengths.median().clamp(min=1e-6)) ** 2) ** 2
        mean = weights @ moves / weights.sum()
    matrix = torch.eye(4, device=here.device)
    matrix[:3, 3] = mean
    return matrix


def locate(
    template: Pyramid,
    points: torch.Tensor,
    target: Pyramid,
    start: torch.Tensor,
    encode: Encode,
    settings: GuidedSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> Located:
    """Find template points `(N, 3)`, in the template's millimetres, in the target.

    Args:
        start: First guess of the pose, `(4, 4)`, template to target millimetres.
        encode: Features of a view.
    """
    unit, identity = finest_spacing(template.scan, target.scan, settings), torch.eye(4, device=points.device)
    pose = find_pose(template, target, start, encode, unit, settings)
    progress(0.4)
    every = torch.cat([points, _keypoints_near(template, points, unit, settings)])
    displacements = torch.zeros_like(every)  # mm in the template's frame
    for number, level in enumerate(settings.settle):
        spacing = level.spacing * unit
        margin = (level.search_radius + level.patch_radius + 3) * spacing + float(displacements.abs().max())
        on = Lattice.around(template.scan, spacing, every, margin)
        features, seen = encode(template.view(on, identity)), encode(target.view(on, pose))
        patch = ball(level.patch_radius, settings.patch_step, points.device)
        here, moved = on.to_voxels(every), displacements / spacing
        distances = block_distances(features, seen, here, here + moved, level.search_radius, patch)
        settled = relax(distances, here, moved, tensions=level.tensions, reach=settings.reach * unit / spacing)
        displacements = settled.displacements * spacing
        progress(0.4 + 0.5 * (number + 1) / len(settings.settle))
    count = len(points)
    back = block_distances(
        seen, features, (here + settled.displacements)[:count], here[:count], level.search_radius, patch
    )
    returned, _, _ = sub_voxel_minimum(back)
    progress(1.0)
    return Located(
        apply_affine(pose, (every + displacements)[:count]),
        Relaxed(*(getattr(settled, name)[:count] for name in settled.__dataclass_fields__)),
        returned.norm(dim=1) * spacing,
        unit,
        pose,
    )


def _keypoints_near(template: Pyramid, points: torch.Tensor, unit: float, settings: GuidedSettings) -> torch.Tensor:
    """Keypoints, in the template's millimetres, that lie near a landmark."""
    on = Lattice.around(template.scan, 2 * unit, points, settings.near * unit)
    found = on.to_mm(strong_keypoints(template.view(on, torch.eye(4, device=points.device)), 8000))
    if len(found):
        found = found[torch.cdist(found, points).amin(1) < settings.near * unit]
    kept = torch.linspace(0, len(found) - 1, min(len(found), settings.keypoints), device=points.device).round().long()
    return found[kept]
