"""One level of settling: both volumes on a lattice, the target bent to the template by what the level before found."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.block_matching import ball, blocks_at, distances_of_blocks, emphasis
from deepfeatures.matching.geometry.displacement_field import Bend
from deepfeatures.matching.geometry.pyramid import Lattice
from deepfeatures.matching.guided.regularization import Relaxed, relax
from deepfeatures.matching.guided.settings import GuidedSettings, SettleLevel
from deepfeatures.matching.pose.similarity import Pair

DARK = 0.1  # of the range of intensities: air, or bone in MRI, which two contrasts share


@dataclass(frozen=True, eq=False)
class Stage:
    """Lengths are in voxels of the level unless they say mm.

    Args:
        spacing_mm: Of the level.
        image: Intensities of the template, `(D, H, W)`.
        features, seen: Of the template, and of the target seen through pose and bend, `(C, D, H, W)`.
        covered: 1 where the target's features are of its voxels, 0 beyond, `(D, H, W)`.
        bend: By which the target is bent.
        here: Landmarks, then keypoints, in the template, `(N, 3)`.
        landmarks: How many of them are landmarks.
        patch, weights: Offsets on which blocks are compared, and how much each counts, `(K, 3)` and `(K,)`.
        tensions, reach, landmarks_reach: See `relax`.
    """

    spacing_mm: float
    image: torch.Tensor
    features: torch.Tensor
    seen: torch.Tensor
    covered: torch.Tensor
    bend: Bend
    here: torch.Tensor
    landmarks: int
    patch: torch.Tensor
    weights: torch.Tensor
    tensions: tuple[float, ...]
    reach: float
    landmarks_reach: float

    def settle(self, blocks: torch.Tensor, displacements_mm: torch.Tensor, search_radius: int) -> Relaxed:
        """Where blocks `(N, K, C)` settle around where points have come to lie, `(N, 3)` mm in the template's frame."""
        moved = displacements_mm / self.spacing_mm - self.bend.at(self.here)  # as it is left to find
        distances = distances_of_blocks(
            blocks, self.seen, self.here + moved, search_radius, self.patch, self.weights, self.covered
        )
        return relax(
            distances,
            self.here,
            moved,
            tensions=self.tensions,
            reach=self.reach,
            landmarks=self.landmarks,
            landmarks_reach=self.landmarks_reach,
        )

    def displacements_mm(self, found: torch.Tensor) -> torch.Tensor:
        """In the template's frame, of those found in the bent target, `(N, 3)`."""
        return (found + self.bend.at(self.here + found)) * self.spacing_mm

    def blocks_of_template(self) -> torch.Tensor:
        """Features around the points, `(N, K, C)`."""
        return blocks_at(self.features, self.here, self.patch)

    def blocks_of_target(self, found: torch.Tensor) -> torch.Tensor:
        """Features around where the points lie in the bent target, displaced by `(N, 3)`: shape `(N, K, C)`."""
        return blocks_at(self.seen, self.here + found, self.patch)


def set_stage(
    pair: Pair,
    pose: torch.Tensor,
    every: torch.Tensor,
    landmarks: int,
    displacements: torch.Tensor,
    level: SettleLevel,
    levels: list[SettleLevel],
    unit: float,
    settings: GuidedSettings,
) -> Stage:
    """One of the levels, for points that have been displaced so far, in mm of the template's frame, `(N, 3)`."""
    template, target, spacing = pair.template, pair.target, level.spacing * unit
    bent = level != levels[0] and settings.bend
    reached = sum(level.search_radii) * spacing
    if not bent:  # else what was found lies in the bend
        reached += float(displacements.abs().max())
    on = Lattice.around(template.scan, spacing, every, reached + (level.patch_radius + 3) * spacing, reached)
    image, features = template.own(on), template.own(on, pair.encode)
    here, among_all = on.to_voxels(every), settings.reach * unit / spacing
    bend = Bend.none(on.shape, every.device)
    if bent:
        bend = Bend.through(here, displacements / spacing, among_all, on.shape)
    scene, covered = target.view(on, pose, bend)
    radius, step = level.patch_radius, settings.patch_step
    if level == levels[-1] and correlation(image, scene) < settings.same_contrast:
        radius, step = round(radius * settings.widening), settings.wide_step
    patch = ball(radius, step, every.device)
    return Stage(
        spacing_mm=spacing,
        image=image,
        features=features,
        seen=pair.encode(scene),
        covered=covered,
        bend=bend,
        here=here,
        landmarks=landmarks,
        patch=patch,
        weights=emphasis(patch),
        tensions=level.tensions,
        reach=among_all,
        landmarks_reach=settings.landmarks_reach * unit / spacing,
    )


def correlation(image: torch.Tensor, scene: torch.Tensor) -> float:
    """Of the intensities of two volumes `(D, H, W)` where neither is dark: near 1 in one contrast, less in two."""
    there = (image > image.min() + DARK * (image.max() - image.min())) & (
        scene > scene.min() + DARK * (scene.max() - scene.min())
    )
    if there.sum() < 2:
        return 1.0
    both = torch.stack([image[there], scene[there]])
    return float(torch.nan_to_num(torch.corrcoef(both)[0, 1], nan=1.0))
