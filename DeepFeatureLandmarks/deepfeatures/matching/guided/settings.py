"""Settings of the way from coarse to fine, see `guided`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deepfeatures.matching.pose.refinement import SMALLEST_LEVEL
from deepfeatures.matching.pose.settings import PoseSettings


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
