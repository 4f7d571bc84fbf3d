"""Point registration: landmarks and keypoints matched together from coarse to fine.

The paper leaves matching "greedy and unconstrained". Here auxiliary keypoints are chosen in the template beside the
landmarks. Their matches give the pose (an affine transform that most of them agree on); the target is then resampled
through it onto the template's grid, so that features need not be invariant to rotation. Landmarks and keypoints are
matched level by level, where their blocks look alike and their neighbours agree. Each level resamples the target
through the displacement field of the level before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from deepfeatures.matching.geometry.displacement_field import ScatteredDisplacements
from deepfeatures.matching.geometry.keypoints import detect_keypoints, subsample
from deepfeatures.matching.geometry.mapping import PointMapping
from deepfeatures.matching.geometry.pyramid import Image, SamplingGrid, scale_factor
from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.matching.groupwise import GroupwiseModel, RegistrationState
from deepfeatures.matching.guided.alignment import AlignedMatch, aligned, aligned_to_group, orientations
from deepfeatures.matching.guided.inverse_consistency import inverse_consistency
from deepfeatures.matching.guided.landmark_frame import (
    displacements_of,
    displacements_to,
    frame_level,
    landmark_frame,
    places_in_frame,
)
from deepfeatures.matching.guided.level import Points, RegistrationLevel, build_level
from deepfeatures.matching.guided.regularization import RegularizedMatch
from deepfeatures.matching.guided.settings import GuidedSettings, LevelSettings
from deepfeatures.matching.learning.landmark_head import LandmarkHead
from deepfeatures.matching.learning.local_jets import LandmarkFrame
from deepfeatures.matching.learning.taught_scan import observed_jets
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.uncertainty.covariates import LevelMatch, covariates
from deepfeatures.threads import use_free_cores

COARSER_STEPS = 4  # from one spacing to twice as much
MOST_KEYPOINTS = 8000  # whose distance to the landmarks is looked at


@dataclass(frozen=True, eq=False)
class Learnt:
    """What people have taught about the landmarks.

    Args:
        head: For these landmarks.
        reach: Voxels to either side that a feature is computed from.
    """

    head: LandmarkHead
    reach: int


@dataclass(frozen=True, eq=False)
class PointRegistration:
    """The landmarks in the target, and what speaks for them.

    Args:
        positions: Target's own millimetres, `(N, 3)`.
        match: Of the finest level; displacements are what was left to find in the resampled target.
        inverse_consistency_error_mm: Distance between the landmark and its place matched back into the template,
            `(N,)`.
        consistent_share: Share of all points that are matched back to where they came from, see `inverse_consistency`.
        evidence: See `covariates.covariates`, `(N, F)`.
        spacing_mm: Of the finest level as it lies in the target, the unit of the evidence.
        mapping: Template points to target points.
        state: From which the finest level can be repeated.
        blocks: What the target shows around landmarks and keypoints, `(N, K, C)`.
        orientations: How the landmarks' surroundings are turned from template to target millimetres, `(N, 3, 3)`.
    """

    positions: torch.Tensor
    match: RegularizedMatch
    inverse_consistency_error_mm: torch.Tensor
    consistent_share: float | None
    evidence: torch.Tensor
    spacing_mm: float
    mapping: PointMapping
    state: RegistrationState
    blocks: torch.Tensor
    orientations: torch.Tensor


@dataclass(frozen=True, eq=False)
class RefinedLandmarks:
    """The landmarks in the target by what a group shows; fields as of `PointRegistration`."""

    positions: torch.Tensor
    orientations: torch.Tensor
    mapping: PointMapping


def finest_spacing(template: Image, target: Image, settings: GuidedSettings, pose: torch.Tensor | None = None) -> float:
    """Millimetres of the template: the coarser of the two volumes decides, since it shows no more.

    Once the pose `(4, 4)` is known, a target that is larger than the template shows more of it. Coarser targets are
    resampled in steps, so that those of one scanner share the template's features, and its keypoints.
    """
    template_mm, target_mm = (float(image.spacing.prod()) ** (1 / 3) for image in (template, target))
    if pose is not None:
        target_mm /= max(scale_factor(pose), 1.0)
    template_mm = max(template_mm, float(template.extent.prod()) ** (1 / 3) / settings.largest)
    steps = round(COARSER_STEPS * math.log2(max(target_mm / template_mm, 1.0)))
    return template_mm * 2 ** (steps / COARSER_STEPS)


def register_points(
    pair: ImagePair,
    landmarks: torch.Tensor,
    pose: torch.Tensor,
    settings: GuidedSettings,
    progress: Callable[[float], None] = lambda _: None,
    interim: Callable[[torch.Tensor], None] = lambda _: None,
    learnt: Learnt | None = None,
) -> PointRegistration:
    """Find landmarks `(N, 3)`, in template millimetres, in the target.

    Args:
        pair: Template and target.
        pose: Template to target millimetres, `(4, 4)`.
        progress: Called with the fraction done.
        interim: Called after each level with the landmarks so far, `(N, 3)`, in target millimetres.
        learnt: Moves the landmarks at last.
    """
    points = _with_keypoints(pair, landmarks, pose, settings)
    displacements = torch.zeros_like(points.positions)  # mm, before the pose
    levels = _usable_levels(pair.template.image, points.finest_mm, settings)
    for number, settings_of_level in enumerate(levels, 1):
        use_free_cores()
        before = displacements
        level = build_level(pair, pose, points, before, settings_of_level, settings)
        blocks = level.blocks_of_template()
        for search_radius in settings_of_level.search_radii:
            match = level.match(blocks, displacements, search_radius)
            displacements = level.displacements_mm(match.displacements)
        progress(0.9 * number / len(levels))
        if number < len(levels):
            interim(apply_affine(pose, (points.positions + displacements)[: len(landmarks)]))
    settled = aligned(pair, level, match, settings)
    displacements = level.displacements_mm(settled.match.displacements)
    interim(apply_affine(pose, (points.positions + displacements)[: len(landmarks)]))
    state = RegistrationState(
        pose,
        before,
        settled.match.displacements,
        pair.target.image.covers(apply_affine(pose, points.positions + displacements)),
        (level.spacing_mm, tuple(blocks.shape)),
    )
    found = _registered(pair, level, blocks, settled, points, state, max(levels[-1].search_radii), settings)
    if learnt is not None:
        found = _taught(found, pair, level, points, displacements, learnt, settings)
    progress(1.0)
    return found


def frame_of(
    pair: ImagePair,
    landmarks: torch.Tensor,
    registration: PointRegistration,
    positions: torch.Tensor,
    reach: int,
    settings: GuidedSettings,
) -> tuple[LandmarkFrame, torch.Tensor, torch.Tensor]:
    """What a registered target teaches about landmarks that truly lie at `positions`, target mm `(N, 3)`.

    Args:
        pair, landmarks, settings: As `register_points` had them.
        registration: What it returned, with nothing learnt.
        positions: NaN rows where nobody knows.
        reach: Voxels to either side that a feature is computed from.

    Returns:
        The frame, the true places in it `(N, 3)`, and steps in it to target mm, `(3, 3)`.
    """
    state = registration.state
    points = _with_keypoints(pair, landmarks, state.pose, settings)
    finest = _usable_levels(pair.template.image, points.finest_mm, settings)[-1]
    level = build_level(pair, state.pose, points, state.before_mm, finest, settings)
    displacements = level.displacements_mm(state.found)
    level = frame_level(pair, state.pose, points, state.before_mm, level, _template_mm(pair, settings), settings)
    true = places_in_frame(level, displacements_to(state.pose, landmarks, positions))
    frame = landmark_frame(level, displacements[: len(landmarks)], reach)
    return frame, true, state.pose[:3, :3] * level.spacing_mm


def refine_with_group(
    pair: ImagePair,
    landmarks: torch.Tensor,
    state: RegistrationState,
    group: GroupwiseModel,
    settings: GuidedSettings,
) -> RefinedLandmarks:
    """Where the landmarks lie by what the group shows, too.

    Args:
        pair, landmarks, settings: As `register_points` had them.
        state: The target's, which has been added to the group.
    """
    points = _with_keypoints(pair, landmarks, state.pose, settings)
    finest = _usable_levels(pair.template.image, points.finest_mm, settings)[-1]
    level = build_level(pair, state.pose, points, state.before_mm, finest, settings)
    blocks = group.blend(state, level.blocks_of_target(state.found), level.blocks_of_template())
    match = level.match(blocks, level.displacements_mm(state.found), finest.search_radii[-1])
    settled = aligned_to_group(pair, level, match, blocks, settings)
    displacements = level.displacements_mm(settled.match.displacements)
    return RefinedLandmarks(
        apply_affine(state.pose, points.positions + displacements)[: len(landmarks)],
        orientations(level, settled, state.pose),
        _mapping(pair, state.pose, points, displacements, settings),
    )


def _registered(
    pair: ImagePair,
    level: RegistrationLevel,
    blocks: torch.Tensor,
    settled: AlignedMatch,
    points: Points,
    state: RegistrationState,
    search_radius: int,
    settings: GuidedSettings,
) -> PointRegistration:
    """What is known of the landmarks once the finest level has been matched."""
    count, match = points.landmarks, settled.match
    displacements = level.displacements_mm(match.displacements)
    matched = level.points + match.displacements
    errors, share = inverse_consistency(
        level.template_features,
        level.target_features,
        level.points,
        matched,
        state.shown,
        count,
        search_radius,
        level.patch,
    )
    of_landmarks = RegularizedMatch(*(getattr(match, one.name)[:count] for one in fields(match)))
    evidence = covariates(
        LevelMatch(
            template=level.template,
            template_features=level.template_features,
            target_features=level.target_features,
            covered=level.covered,
            points=level.points[:count],
            matched=matched[:count],
            blocks=blocks[:count],
            patch=level.patch,
            weights=level.weights,
            distances=of_landmarks.distances,
            posterior_std=of_landmarks.posterior_std,
            neighbour_residual=of_landmarks.neighbour_residual,
            inverse_consistency=errors,
            displacements=ScatteredDisplacements.fit(level.points, displacements / level.spacing_mm, level.sigma),
            pose=state.pose,
            contrast=level.contrast,
            consistent_share=share,
            coarseness=level.spacing_mm / float(pair.template.image.spacing.prod()) ** (1 / 3),
        )
    )
    return PointRegistration(
        apply_affine(state.pose, (points.positions + displacements)[:count]),
        of_landmarks,
        errors * level.spacing_mm,
        share,
        evidence,
        level.spacing_mm * scale_factor(state.pose),
        _mapping(pair, state.pose, points, displacements, settings),
        state,
        level.blocks_of_target(match.displacements),
        orientations(level, settled, state.pose),
    )


def _taught(
    found: PointRegistration,
    pair: ImagePair,
    level: RegistrationLevel,
    points: Points,
    displacements_mm: torch.Tensor,
    learnt: Learnt,
    settings: GuidedSettings,
) -> PointRegistration:
    """The same with the landmarks where people would put them, and the mapping through these."""
    pose, count = found.state.pose, points.landmarks
    level = frame_level(pair, pose, points, found.state.before_mm, level, _template_mm(pair, settings), settings)
    frame = landmark_frame(level, displacements_mm[:count], learnt.reach)
    places = learnt.head.corrected(observed_jets(frame), frame.found)
    moved = displacements_mm.clone()
    moved[:count] = displacements_of(level, places)
    return replace(
        found,
        positions=apply_affine(pose, points.positions[:count] + moved[:count]),
        mapping=_mapping(pair, pose, points, moved, settings),
    )


def _template_mm(pair: ImagePair, settings: GuidedSettings) -> float:
    """The finest spacing of the template, whatever the target's."""
    return finest_spacing(pair.template.image, pair.template.image, settings)


def _mapping(
    pair: ImagePair, pose: torch.Tensor, points: Points, displacements_mm: torch.Tensor, settings: GuidedSettings
) -> PointMapping:
    sigma_mm = settings.sigma * points.finest_mm
    scattered = ScatteredDisplacements.fit(points.positions, displacements_mm, sigma_mm, points.finest_mm)
    return PointMapping.between(pair.template.image, pair.target.image, pose, scattered)


def _usable_levels(template: Image, finest_mm: float, settings: GuidedSettings) -> list[LevelSettings]:
    """Those in which the template has voxels enough."""
    shortest = float(template.extent.min()) / finest_mm
    return [level for level in settings.levels if shortest >= level.fewest * level.spacing]


def _with_keypoints(pair: ImagePair, landmarks: torch.Tensor, pose: torch.Tensor, settings: GuidedSettings) -> Points:
    """The landmarks, and keypoints of the template that lie near them."""
    template = pair.template
    finest_mm = finest_spacing(template.image, pair.target.image, settings, pose)
    near_mm = settings.near * finest_mm
    grid = SamplingGrid.around(template.image, 2 * finest_mm, landmarks, near_mm)
    found = grid.to_mm(subsample(template.cached(grid, detect_keypoints), MOST_KEYPOINTS))
    if len(found):
        found = found[torch.cdist(found, landmarks).amin(1) < near_mm]
    positions = torch.cat([landmarks, subsample(found, settings.keypoints)])
    return Points(positions, len(landmarks), finest_mm)
