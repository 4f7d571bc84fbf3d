"""How the pose is found: levels, limits and counts."""

from __future__ import annotations

from dataclasses import dataclass


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
class PoseSettings:
    """How the pose is found.

    Args:
        coarse: Rounds after which it is known whether the start was right; with too few voxels for their search they
            are done at the next finer spacing.
        fine: Rounds after that.
        patch_step: Every so many voxels of a larger block are compared, along each axis.
        prior: Weight of "the pose changes little" against all matches of a round.
        alike: A start may be right where its pose is similar enough, at the spacing of the last coarse round. Enough
            is this share of the way from the similarity of the pose upside down to full similarity.
        slight_advantage: The world takes the place of the centres as a start, and a translation that of either, where
            the similarity is higher by more than this.
        advantage: The same of a rotated pose, which needs more: small crops allow many that are nearly as like, and
            scans are rarely turned by accident. With less it is left open.
        proportions: No direction is stretched by more than this factor more or less than all are on average; what
            looks alike only when it is flattened is something else.
        sizes: Both are made one size, too, where their structures differ in size by a factor between these. What is
            found so must be as similar as a right start, since smaller volumes fit more easily.
        tilt_deg: A right pose is more like the template than the same pose tilted so far about any axis.
        step_deg: Between neighbours of all rotations.
        search_size: Voxels along an axis, on average, of the template on the level on which all rotations are tried.
        search_largest: Voxels from corner to corner of the target on that level, at most.
        correlated: So many rotations, those whose structure fits best, are compared by features.
        refined: So many of them, the most alike, are refined by keypoints.
        finished: So many of those, the most alike, are refined again at the spacing of the last coarse round.
        search: One of the rounds of a refinement, at whatever spacing.
        search_rounds: So many of them.
        search_prior: As `prior`, for a start that may be half a step of rotation off.
    """

    coarse: tuple[PoseLevel, ...] = (PoseLevel(4, 5, 3, 400, "translation"), PoseLevel(4, 4, 3, 500, "affine"))
    fine: tuple[PoseLevel, ...] = (PoseLevel(2, 4, 4, 500, "affine"),)
    patch_step: int = 2
    prior: float = 0.3
    alike: float = 0.35
    slight_advantage: float = 0.05
    advantage: float = 0.2
    proportions: float = 1.25
    sizes: tuple[float, float] = (1.15, 3.0)
    tilt_deg: float = 12.0
    step_deg: float = 30.0
    search_size: int = 16
    search_largest: int = 72
    correlated: int = 48
    refined: int = 12
    finished: int = 3
    search: PoseLevel = PoseLevel(0, 3, 2, 120, "affine")
    search_rounds: int = 3
    search_prior: float = 0.1
