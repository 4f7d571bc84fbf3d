"""Guided matching: the pose first, then coarse to fine, each landmark held in place by its neighbourhood.

The paper leaves matching "greedy and unconstrained". Here auxiliary keypoints are chosen in the template beside the
landmarks. Their matches give the pose (an affine transform that most of them agree on); the target is then seen through
it in the template's own frame, so that features need not be invariant to rotation; and landmarks and keypoints settle
together, level by level, where their blocks look alike and their neighbours agree. The next level sees the target bent
to the template by what the one before found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.keypoints import evenly, strong_keypoints
from deepfeatures.matching.geometry.pyramid import Encode, Lattice, Pyramid, Scan, enlargement
from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.matching.guided.groupwise import Company, Course
from deepfeatures.matching.guided.inverse_consistency import matched_back
from deepfeatures.matching.guided.level import set_stage
from deepfeatures.matching.guided.regularization import Relaxed
from deepfeatures.matching.guided.settings import GuidedSettings, SettleLevel
from deepfeatures.matching.pose.similarity import Pair
from deepfeatures.matching.uncertainty.match_features import Settled, gather

COARSER_STEPS = 4  # from one spacing to twice as much
MOST_KEYPOINTS = 8000  # whose distance to the landmarks is looked at


@dataclass(frozen=True, eq=False)
class Located:
    """The landmarks in the target, and what speaks for them.

    Args:
        positions: Target's own millimetres, `(N, 3)`.
        settled: Of the finest level; displacements are what was left to find in the bent target.
        inverse_consistency_error_mm: See `Scores`, `(N,)`.
        agreement: Share of all points that are matched back to where they came from, see `matched_back`.
        evidence: See `evidence.gather`, `(N, F)`.
        spacing_mm: Of the finest level as it lies in the target, the unit of the evidence.
        course: By which the finest level can be gone once more.
        blocks: What the target shows around landmarks and keypoints, `(N, K, C)`.
    """

    positions: torch.Tensor
    settled: Relaxed
    inverse_consistency_error_mm: torch.Tensor
    agreement: float | None
    evidence: torch.Tensor
    spacing_mm: float
    course: Course
    blocks: torch.Tensor


def finest_spacing(template: Scan, target: Scan, settings: GuidedSettings, pose: torch.Tensor | None = None) -> float:
    """Millimetres of the template: the coarser of the two scans decides, since it shows no more.

    Once the pose `(4, 4)` is known, a target that is larger than the template shows more of it. Coarser targets are
    seen in steps, so that those of one scanner share the template's features, and its keypoints.
    """
    ours, theirs = (float(scan.spacing.prod()) ** (1 / 3) for scan in (template, target))
    if pose is not None:
        theirs /= max(enlargement(pose), 1.0)
    ours = max(ours, float(template.extent.prod()) ** (1 / 3) / settings.largest)
    steps = round(COARSER_STEPS * math.log2(max(theirs / ours, 1.0)))
    return ours * 2 ** (steps / COARSER_STEPS)


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
    pair, count = Pair(template, target, encode), len(points)
    unit = finest_spacing(template.scan, target.scan, settings, pose)
    every = _with_keypoints(template, points, unit, settings)
    displacements = torch.zeros_like(every)  # mm in the template's frame
    levels = _levels_for(template.scan, unit, settings)
    for level in levels:
        before = displacements
        stage = set_stage(pair, pose, every, count, before, level, levels, unit, settings)
        blocks = stage.blocks_of_template()
        for search_radius in level.search_radii:
            settled = stage.settle(blocks, displacements, search_radius)
            displacements = stage.displacements_mm(settled.displacements)
        progress(0.9 * (levels.index(level) + 1) / len(levels))
        settling(apply_affine(pose, (every + displacements)[:count]))
    places = apply_affine(pose, every + displacements)
    here, there, inside = stage.here, stage.here + settled.displacements, target.scan.covers(places)
    round_trips, agreement = matched_back(
        stage.features, stage.seen, here, there, inside, count, max(level.search_radii), stage.patch
    )
    found = Relaxed(*(getattr(settled, name)[:count] for name in settled.__dataclass_fields__))
    here, there = here[:count], there[:count]
    progress(1.0)
    return Located(
        places[:count],
        found,
        round_trips * stage.spacing_mm,
        agreement,
        gather(
            Settled(
                stage.image, stage.features, stage.seen, here, there, found.distances, found.spread, found.astray, pose
            )
        ),
        stage.spacing_mm * enlargement(pose),
        Course(pose, before, settled.displacements, inside, (stage.spacing_mm, tuple(blocks.shape))),
        stage.blocks_of_target(settled.displacements),
    )


def locate_again(
    template: Pyramid,
    points: torch.Tensor,
    target: Pyramid,
    course: Course,
    company: Company,
    encode: Encode,
    settings: GuidedSettings,
) -> torch.Tensor:
    """Where the points lie by what the company shows, too, in the target's millimetres, `(N, 3)`.

    Args:
        template, points, target, encode, settings: As `locate` had them.
        course: The target's, which has joined the company.
    """
    unit = finest_spacing(template.scan, target.scan, settings, course.pose)
    every, levels = _with_keypoints(template, points, unit, settings), _levels_for(template.scan, unit, settings)
    finest, pair = levels[-1], Pair(template, target, encode)
    stage = set_stage(pair, course.pose, every, len(points), course.before_mm, finest, levels, unit, settings)
    blocks = company.mixture(course, stage.blocks_of_target(course.found), stage.blocks_of_template())
    settled = stage.settle(blocks, stage.displacements_mm(course.found), finest.search_radii[-1])
    places = apply_affine(course.pose, every + stage.displacements_mm(settled.displacements))
    return places[: len(points)]


def _levels_for(template: Scan, unit: float, settings: GuidedSettings) -> list[SettleLevel]:
    """Those in which the template has voxels enough."""
    shortest = float(template.extent.min()) / unit
    return [level for level in settings.settle if shortest >= level.fewest * level.spacing]


def _with_keypoints(template: Pyramid, points: torch.Tensor, unit: float, settings: GuidedSettings) -> torch.Tensor:
    """The points, and keypoints of the template that lie near them, in its millimetres."""
    on = Lattice.around(template.scan, 2 * unit, points, settings.near * unit)
    found = on.to_mm(evenly(template.own(on, strong_keypoints), MOST_KEYPOINTS))
    if len(found):
        found = found[torch.cdist(found, points).amin(1) < settings.near * unit]
    return torch.cat([points, evenly(found, settings.keypoints)])
