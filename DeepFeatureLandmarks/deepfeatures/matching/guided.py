"""Guided matching: the pose first, then coarse to fine, each landmark held in place by its neighbourhood.

The paper leaves matching "greedy and unconstrained". Here auxiliary keypoints are chosen in the template beside the
landmarks. Their matches give the pose (an affine transform that most of them agree on); the target is then seen through
it in the template's own frame, so that features need not be invariant to rotation; and landmarks and keypoints settle
together, level by level, where their blocks look alike and their neighbours agree. The next level sees the target bent
to the template by what the one before found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from deepfeatures.matching.agreement import matched_back
from deepfeatures.matching.bend import Bend
from deepfeatures.matching.blocks import ball, block_distances, emphasis
from deepfeatures.matching.evidence import Settled, gather
from deepfeatures.matching.frame import Encode, Lattice, Pyramid, Scan, enlargement
from deepfeatures.matching.grids import apply_affine
from deepfeatures.matching.keypoints import evenly, strong_keypoints
from deepfeatures.matching.pose_settings import PoseSettings
from deepfeatures.matching.relaxation import Relaxed, relax
from deepfeatures.matching.rounds import SMALLEST_LEVEL

DARK = 0.1  # of the range of intensities: air, or bone in MRI, which two contrasts share


@dataclass(frozen=True)
class SettleLevel:
    """Landmarks and keypoints settling together at one spacing.

    Args:
        spacing: Of the level, in units of the finest spacing.
        search_radii: Voxels around where the points have come to lie, one a round.
        patch_radius: Voxels.
        tensions: See `relax`.
        fewest: Voxels along the template's shortest axis below which the level shows too little and is left out.
    """

    spacing: float
    search_radii: tuple[int, ...]
    patch_radius: int
    tensions: tuple[float, ...]
    fewest: int = 1


@dataclass(frozen=True)
class GuidedSettings:
    """Everything about the way from coarse to fine. Lengths are in units of the finest spacing unless they say voxels.

    Args:
        pose: The way to the pose.
        settle: Levels of settling.
        patch_step: Every so many voxels of a block are compared, along each axis.
        same_contrast: Correlation of intensities under the pose from which both volumes count as of one contrast.
        widening: Factor of the blocks' radius at the finest level where the contrasts differ: what looks alike in both
            is sparser there, and shared noise is none.
        wide_step: Step in such blocks.
        keypoints: Auxiliary keypoints that settle beside the landmarks.
        near: Keypoints lie within this distance of a landmark.
        reach: Standard deviation of the Gaussian that makes points neighbours, and by which they bend the target.
        landmarks_reach: The same among the landmarks alone; 0 where they count as all other points do.
        bend: Whether a level sees the target bent by what the level before found, or through the pose alone.
        largest: The finest spacing is coarsened until the template has at most the voxels of a cube of this edge.
    """

    pose: PoseSettings = field(default_factory=PoseSettings)
    settle: tuple[SettleLevel, ...] = (
        SettleLevel(4, (4,), 4, (0.004, 0.014, 0.014), fewest=SMALLEST_LEVEL),
        SettleLevel(2, (4,), 5, (0.002, 0.007, 0.007)),
        SettleLevel(1, (3, 2), 6, (0.0005, 0.0014, 0.0014)),
    )
    patch_step: int = 2
    same_contrast: float = 0.2
    widening: float = 1.6
    wide_step: int = 3
    keypoints: int = 400
    near: float = 25.0
    reach: float = 10.0
    landmarks_reach: float = 16.0
    bend: bool = True
    largest: int = 256


def with_patch(settings: GuidedSettings, patch_size: int) -> GuidedSettings:
    """The settings with the blocks of the finest level `patch_size` voxels across."""
    finest = replace(settings.settle[-1], patch_radius=patch_size // 2)
    return replace(settings, settle=(*settings.settle[:-1], finest))


@dataclass(frozen=True, eq=False)
class Located:
    """The landmarks in the target, and what speaks for them.

    Args:
        positions: Target's own millimetres, `(N, 3)`.
        settled: Of the finest level; displacements are what was left to find in the bent target.
        round_trip_mm: Distance between the landmark and its place matched back into the template, `(N,)`.
        agreement: Share of all points that are matched back to where they came from, see `matched_back`.
        evidence: See `evidence.gather`, `(N, F)`.
        spacing_mm: Of the finest level as it lies in the target, the unit of the evidence.
    """

    positions: torch.Tensor
    settled: Relaxed
    round_trip_mm: torch.Tensor
    agreement: float | None
    evidence: torch.Tensor
    spacing_mm: float


def finest_spacing(template: Scan, target: Scan, settings: GuidedSettings, pose: torch.Tensor | None = None) -> float:
    """Millimetres of the template: the coarser of the two scans decides, since it shows no more.

    Once the pose `(4, 4)` is known, a target that is larger than the template shows more of it.
    """
    ours, theirs = (float(scan.spacing.prod()) ** (1 / 3) for scan in (template, target))
    if pose is not None:
        theirs /= max(enlargement(pose), 1.0)
    return max(ours, theirs, float(template.extent.prod()) ** (1 / 3) / settings.largest)


def locate(
    template: Pyramid,
    points: torch.Tensor,
    target: Pyramid,
    pose: torch.Tensor,
    encode: Encode,
    settings: GuidedSettings,
    progress: Callable[[float], None] = lambda _: None,
    settling: Callable[[torch.Tensor], None] = lambda _: None,
) -> Located:
    """Find template points `(N, 3)`, in the template's millimetres, in the target.

    Args:
        pose: Of the target, `(4, 4)`, template to target millimetres.
        encode: Features of a view.
        settling: Called after each level with where the points have come to lie, `(N, 3)`, in the target's millimetres.
    """
    unit = finest_spacing(template.scan, target.scan, settings, pose)
    every = torch.cat([points, _keypoints_near(template, points, unit, settings)])
    displacements = torch.zeros_like(every)  # mm in the template's frame
    levels = _levels_for(template.scan, unit, settings)
    for number, level in enumerate(levels):
        spacing = level.spacing * unit
        bent = number > 0 and settings.bend
        reached = sum(level.search_radii) * spacing
        if not bent:  # else what was found lies in the bend
            reached += float(displacements.abs().max())
        on = Lattice.around(template.scan, spacing, every, reached + (level.patch_radius + 3) * spacing, reached)
        image, features = template.encoded(on, encode)
        here, among_all = on.to_voxels(every), settings.reach * unit / spacing
        bend = Bend.none(on.shape, points.device)
        if bent:
            bend = Bend.through(here, displacements / spacing, among_all, on.shape)
        scene, covered = target.view(on, pose, bend)
        seen = encode(scene)
        radius, step = level.patch_radius, settings.patch_step
        if number == len(levels) - 1 and correlation(image, scene) < settings.same_contrast:
            radius, step = round(radius * settings.widening), settings.wide_step
        patch = ball(radius, step, points.device)
        weights = emphasis(patch)
        for search_radius in level.search_radii:
            moved = displacements / spacing - bend.at(here)  # as it is left to find in the bent target
            distances = block_distances(features, seen, here, here + moved, search_radius, patch, weights, covered)
            settled = relax(
                distances,
                here,
                moved,
                tensions=level.tensions,
                reach=among_all,
                landmarks=len(points),
                landmarks_reach=settings.landmarks_reach * unit / spacing,
            )
            displacements = (settled.displacements + bend.at(here + settled.displacements)) * spacing
        progress(0.9 * (number + 1) / len(levels))
        settling(apply_affine(pose, (every + displacements)[: len(points)]))
    places, count = apply_affine(pose, every + displacements), len(points)
    there, inside = here + settled.displacements, target.scan.covers(places)
    round_trips, agreement = matched_back(features, seen, here, there, inside, count, max(level.search_radii), patch)
    found = Relaxed(*(getattr(settled, name)[:count] for name in settled.__dataclass_fields__))
    here, there = here[:count], there[:count]
    progress(1.0)
    return Located(
        places[:count],
        found,
        round_trips * spacing,
        agreement,
        gather(Settled(image, features, seen, here, there, found.distances, found.spread, found.astray, pose)),
        spacing * enlargement(pose),
    )


def _levels_for(template: Scan, unit: float, settings: GuidedSettings) -> list[SettleLevel]:
    """Those in which the template has voxels enough."""
    shortest = float(template.extent.min()) / unit
    return [level for level in settings.settle if shortest >= level.fewest * level.spacing]


def correlation(image: torch.Tensor, scene: torch.Tensor) -> float:
    """Of the intensities of two volumes `(D, H, W)` where neither is dark: near 1 in one contrast, less in two."""
    there = (image > image.min() + DARK * (image.max() - image.min())) & (
        scene > scene.min() + DARK * (scene.max() - scene.min())
    )
    if there.sum() < 2:
        return 1.0
    both = torch.stack([image[there], scene[there]])
    return float(torch.nan_to_num(torch.corrcoef(both)[0, 1], nan=1.0))


def _keypoints_near(template: Pyramid, points: torch.Tensor, unit: float, settings: GuidedSettings) -> torch.Tensor:
    """Keypoints, in the template's millimetres, that lie near a landmark."""
    on = Lattice.around(template.scan, 2 * unit, points, settings.near * unit)
    found = on.to_mm(strong_keypoints(template.view(on)[0], 8000))
    if len(found):
        found = found[torch.cdist(found, points).amin(1) < settings.near * unit]
    return evenly(found, settings.keypoints)
