"""Settings of the guided search, see `registration`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deepfeatures.matching.pose.refinement import SMALLEST_LEVEL
from deepfeatures.matching.pose.settings import PoseSettings


@dataclass(frozen=True)
class LevelSettings:
    """One level: landmarks and keypoints matched together at one spacing.

    Args:
        spacing: Of the level, in units of the finest spacing.
        search_radii: Voxels around where the points lie so far, one each round.
        patch_radius: Voxels.
        regularization_weights: `weights` of `regularize`.
        fewest: Voxels along the template's shortest axis below which the level shows too little and is left out.
    """

    spacing: float
    search_radii: tuple[int, ...]
    patch_radius: int
    regularization_weights: tuple[float, ...]
    fewest: int = 1


@dataclass(frozen=True)
class GuidedSettings:
    """Everything about the guided search. Lengths are in units of the finest spacing unless they say voxels.

    Args:
        pose: How the pose is found.
        levels: From coarse to fine.
        patch_step: Every so many voxels of a block are compared, along each axis.
        same_contrast: Correlation of intensities under the pose from which both volumes count as of one contrast.
        widening: Factor of the blocks' radius at the finest level where the contrasts differ: what looks alike in both
            is sparser there, and shared noise is none.
        wide_step: Step in such blocks.
        keypoints: Auxiliary keypoints matched beside the landmarks.
        near: Keypoints lie within this distance of a landmark.
        sigma: Standard deviation of the Gaussian that makes points neighbours, and of the displacement field.
        landmarks_sigma: The same among the landmarks alone; 0 where they count as all other points do.
        uses_field: Whether a level resamples the target through the displacement field of the level before, or
            through the pose alone.
        sharp: Squared voxels of spread of a match at which half of its alignment between voxels counts where nothing is
            alike, see `alignment`; infinite for none.
        sharp_in_group: The same where a group's blocks are matched: they are means, which a parabola fits better.
        largest: The finest spacing is coarsened until the template has at most the voxels of a cube of this edge.
    """

    pose: PoseSettings = field(default_factory=PoseSettings)
    levels: tuple[LevelSettings, ...] = (
        LevelSettings(4, (4,), 4, (0.004, 0.014, 0.014), fewest=SMALLEST_LEVEL),
        LevelSettings(2, (4,), 5, (0.002, 0.007, 0.007)),
        LevelSettings(1, (3, 2), 6, (0.0005, 0.0014, 0.0014)),
    )
    patch_step: int = 2
    same_contrast: float = 0.2
    widening: float = 1.6
    wide_step: int = 3
    keypoints: int = 400
    near: float = 25.0
    sigma: float = 10.0
    landmarks_sigma: float = 16.0
    uses_field: bool = True
    sharp: float = 20.0
    sharp_in_group: float = 100.0
    largest: int = 256


def with_patch(settings: GuidedSettings, patch_size: int) -> GuidedSettings:
    """The settings with the blocks of the finest level `patch_size` voxels across."""
    finest = replace(settings.levels[-1], patch_radius=patch_size // 2)
    return replace(settings, levels=(*settings.levels[:-1], finest))
