"""Hypotheses: poses that are one repeat of the anatomy apart, and how likely each of them is the right one.

Around the landmarks all of them look nearly alike. What tells them apart is the rest of the anatomy: ends, neighbours
that occur once, sizes that grow along a column, and how much of one volume finds no place in the other. So each is
settled on the coarsest level, affine and then deformed, with keypoints all over the template, and judged by all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from deepfeatures.matching.geometry.displacement_field import DisplacementField
from deepfeatures.matching.geometry.keypoints import detect_keypoints, subsample
from deepfeatures.matching.geometry.pyramid import SamplingGrid
from deepfeatures.matching.geometry.sampling import apply_affine, translation
from deepfeatures.matching.guided.level import Points, build_level
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose.estimation import Pose
from deepfeatures.matching.pose.image_similarity import ImagePair, max_overlap
from deepfeatures.matching.pose.refinement import refine_pose, usable_spacing
from deepfeatures.matching.pose.repeats import repeat_lags

KEYPOINTS, AFFINE_KEYPOINTS = 300, 120  # all over the template
AFFINE_ROUNDS, DEFORMED_ROUNDS = 2, 2  # of settling; the start is affine already
MOST_STEPS = 2  # repeats away from the start
LEAST_COVERED = 0.3  # of the template's structure; what shows less cannot be judged
# Of the log odds between hypotheses, for each number; see Testing/Benchmarks/hypotheses.py. Where the target shows a
# part of what the template shows, what lies outside is chance, and less is left to tell: then all weights shrink.
WEIGHTS = {"similarity": 40.0, "covered": 45.0}
SHRINKING = 4.0  # power of the share that the target can cover


def repeats(pair: ImagePair, landmarks: torch.Tensor, finest_mm: float, settings: GuidedSettings) -> torch.Tensor:
    """Lags to the next repeats of the anatomy around landmarks `(N, 3)`, both ways, template millimetres `(n, 3)`."""
    near_mm, spacing = settings.near * finest_mm, _spacing(pair, finest_mm, settings)
    found = repeat_lags(pair.template, pair.encode, landmarks, near_mm, spacing)
    if len(found) == 0:
        return found
    nearest = found[found.norm(dim=1).argmin()]
    return torch.stack([nearest, -nearest])


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One pose, settled, and what speaks for it.

    Args:
        pose: Template to target millimetres.
        steps: Repeats away from the start; 0 for the start itself.
        similarity: Correlation of the features of the template and of the deformed target, where the template has
            structure.
        covered: Share of the template's structure that the target covers, of what it can cover.
        coverable: Share of the template's structure that the target can cover at most.
        probability: That it is the right one, among those it was compared with.
    """

    pose: Pose
    steps: int
    similarity: float
    covered: float
    coverable: float
    probability: float = 1.0

    @property
    def log_odds(self) -> float:
        """Up to a number that is the same for all hypotheses of a target."""
        return self.coverable**SHRINKING * sum(weight * getattr(self, name) for name, weight in WEIGHTS.items())


def hypotheses(
    pair: ImagePair, pose: Pose, lags: torch.Tensor, landmarks: torch.Tensor, finest_mm: float, settings: GuidedSettings
) -> tuple[Hypothesis, ...]:
    """A pose and those that are repeats away from it, settled, the most likely first.

    Args:
        pose: Where to begin.
        lags: To the next repeats of the template's anatomy, in template millimetres, `(n, 3)`.
        landmarks: In template millimetres, `(N, 3)`: amid them hypotheses must differ by half a lag.
        finest_mm: The finest spacing.
    """
    apart_mm, middle = float(lags.norm(dim=1).min()) / 2, (landmarks.amin(0) + landmarks.amax(0)) / 2
    pair = replace(
        pair, max_overlap=max_overlap(pair.template, pair.target, pose.matrix, _spacing(pair, finest_mm, settings))
    )
    found = [settled(pair, pose, 0, finest_mm, settings)]

    def is_new(matrix: torch.Tensor) -> bool:
        known = torch.stack([apply_affine(one.pose.matrix, middle) for one in found])
        return bool((known - apply_affine(matrix, middle)).norm(dim=1).min() >= apart_mm)

    for steps in range(1, MOST_STEPS + 1):
        best = max(found, key=lambda one: one.log_odds)
        if best.steps != steps - 1:
            break
        for lag in lags:
            moved = best.pose.matrix @ translation(lag)
            if is_new(moved):
                one = settled(pair, replace(pose, matrix=moved), steps, finest_mm, settings)
                if one.covered >= LEAST_COVERED and is_new(one.pose.matrix):
                    found.append(one)
    return with_probabilities(found)


def with_probabilities(found: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """The hypotheses with their probabilities, the most likely first."""
    shares = torch.softmax(torch.tensor([one.log_odds for one in found]), 0).tolist()
    likely = [replace(one, probability=share) for one, share in zip(found, shares, strict=True)]
    return tuple(sorted(likely, key=lambda one: -one.probability))


def settled(pair: ImagePair, pose: Pose, steps: int, finest_mm: float, settings: GuidedSettings) -> Hypothesis:
    """A pose after it has been refined and deformed on the coarsest level, judged by all of the template."""
    matrix, coarsest, spacing = pose.matrix, settings.levels[0], _spacing(pair, finest_mm, settings)
    affine = replace(settings.pose.coarse[-1], keypoints=AFFINE_KEYPOINTS)
    for _ in range(AFFINE_ROUNDS if steps else 0):
        matrix = refine_pose(pair, matrix, affine, spacing, settings.pose, settings.pose.prior)
    pose = replace(pose, matrix=matrix)
    grid = SamplingGrid.around(pair.template.image, spacing)
    keypoints = grid.to_mm(pair.template.cached(grid, detect_keypoints))
    keypoints = subsample(keypoints[pair.target.image.covers(apply_affine(matrix, keypoints))], KEYPOINTS)
    if len(keypoints) < 4:
        return Hypothesis(pose, steps, 0.0, 0.0, pair.max_overlap)
    points, displacements = Points(keypoints, 0, spacing / coarsest.spacing), torch.zeros_like(keypoints)
    (search_radius,) = coarsest.search_radii
    for _ in range(DEFORMED_ROUNDS):
        level = build_level(pair, matrix, points, displacements, coarsest, settings)
        match = level.match(level.blocks_of_template(), displacements, search_radius)
        displacements = level.displacements_mm(match.displacements)
    sigma = settings.sigma * points.finest_mm / spacing
    field = DisplacementField.fit(grid.to_voxels(keypoints), displacements / spacing, sigma, grid.shape)
    similarity, covered = pair.correlation(grid, matrix, field)
    return Hypothesis(pose, steps, similarity, covered, pair.max_overlap)


def _spacing(pair: ImagePair, finest_mm: float, settings: GuidedSettings) -> float:
    """Of the level on which hypotheses are compared, mm."""
    return usable_spacing(pair.template.image, settings.pose.coarse[-1].spacing, finest_mm)
