"""One level of the guided search: template and resampled target on one grid, and block matching between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.block_matching import ball, blocks_at, distances_of_blocks, emphasis
from deepfeatures.matching.geometry.displacement_field import DisplacementField
from deepfeatures.matching.geometry.pyramid import SamplingGrid
from deepfeatures.matching.guided.regularization import RegularizedMatch, regularize
from deepfeatures.matching.guided.settings import GuidedSettings, LevelSettings
from deepfeatures.matching.pose.image_similarity import ImagePair

DARK = 0.1  # of the range of intensities: air, or bone in MRI, which two contrasts share


@dataclass(frozen=True, eq=False)
class Points:
    """What is matched. Positions are in template millimetres.

    Args:
        positions: Landmarks, then keypoints, `(N, 3)`.
        landmarks: How many of them are landmarks.
        finest_mm: The finest spacing, the unit of all settings that are lengths.
    """

    positions: torch.Tensor
    landmarks: int
    finest_mm: float


@dataclass(frozen=True, eq=False)
class RegistrationLevel:
    """Lengths are in voxels of the level unless they say mm.

    Args:
        grid: On which all is sampled.
        template: Intensities of the template, `(D, H, W)`.
        template_features: Of the template, `(C, D, H, W)`.
        target_features: Of the target, resampled through pose and displacement field, `(C, D, H, W)`.
        covered: 1 where the target's features are of its voxels, 0 beyond, `(D, H, W)`.
        contrast: Correlation of the intensities of template and resampled target, see `correlation`.
        field: Through which the target was resampled.
        points: Landmarks, then keypoints, in the template, `(N, 3)`.
        landmarks: How many of them are landmarks.
        patch, weights: Offsets on which blocks are compared, and how much each counts, `(K, 3)` and `(K,)`.
        regularization_weights, sigma, landmarks_sigma: See `regularize`.
    """

    grid: SamplingGrid
    template: torch.Tensor
    template_features: torch.Tensor
    target_features: torch.Tensor
    covered: torch.Tensor
    contrast: float
    field: DisplacementField
    points: torch.Tensor
    landmarks: int
    patch: torch.Tensor
    weights: torch.Tensor
    regularization_weights: tuple[float, ...]
    sigma: float
    landmarks_sigma: float

    @property
    def spacing_mm(self) -> float:
        return self.grid.spacing_mm

    def match(self, blocks: torch.Tensor, displacements_mm: torch.Tensor, search_radius: int) -> RegularizedMatch:
        """Match blocks `(N, K, C)` around where points have been displaced to so far, `(N, 3)` template mm."""
        left = displacements_mm / self.spacing_mm - self.field.at(self.points)
        distances = distances_of_blocks(
            blocks,
            self.target_features,
            self.points + left,
            search_radius,
            self.patch,
            self.weights,
            self.covered,
        )
        return regularize(
            distances,
            self.points,
            left,
            weights=self.regularization_weights,
            sigma=self.sigma,
            landmarks=self.landmarks,
            landmarks_sigma=self.landmarks_sigma,
        )

    def displacements_mm(self, found: torch.Tensor) -> torch.Tensor:
        """In template mm, of displacements `(N, 3)` found in the resampled target."""
        return (found + self.field.at(self.points + found)) * self.spacing_mm

    def blocks_of_template(self) -> torch.Tensor:
        """Features around the points, `(N, K, C)`."""
        return blocks_at(self.template_features, self.points, self.patch)

    def blocks_of_target(self, found: torch.Tensor) -> torch.Tensor:
        """Features around the points displaced by `(N, 3)` in the resampled target, `(N, K, C)`."""
        return blocks_at(self.target_features, self.points + found, self.patch)


def build_level(
    pair: ImagePair,
    pose: torch.Tensor,
    points: Points,
    displacements_mm: torch.Tensor,
    level: LevelSettings,
    settings: GuidedSettings,
) -> RegistrationLevel:
    """A level for points that have been displaced so far.

    Args:
        pose: Template millimetres to target millimetres, `(4, 4)`.
        displacements_mm: In template millimetres, before the pose, `(N, 3)`; none before the coarsest level.
        level: Of the settings.
    """
    template, target, spacing = pair.template, pair.target, level.spacing * points.finest_mm
    has_field = settings.uses_field and bool(displacements_mm.any())
    margin_mm = sum(level.search_radii) * spacing
    if not has_field:  # else the field holds what was found
        margin_mm += float(displacements_mm.abs().max())
    patch_mm = (level.patch_radius + 3) * spacing
    grid = SamplingGrid.around(template.image, spacing, points.positions, margin_mm + patch_mm, margin_mm)
    image, features = template.cached(grid), template.cached(grid, pair.encode)
    voxels, sigma = grid.to_voxels(points.positions), settings.sigma * points.finest_mm / spacing
    field = DisplacementField.identity(grid.shape, voxels.device)
    if has_field:
        field = DisplacementField.fit(voxels, displacements_mm / spacing, sigma, grid.shape)
    resampled, covered = target.resample(grid, pose, field)
    radius, step = level.patch_radius, settings.patch_step
    contrast = correlation(image, resampled) if level == settings.levels[-1] else 1.0
    if contrast < settings.same_contrast:
        radius, step = round(radius * settings.widening), settings.wide_step
    patch = ball(radius, step, voxels.device)
    return RegistrationLevel(
        grid=grid,
        template=image,
        template_features=features,
        target_features=pair.encode(resampled),
        covered=covered,
        contrast=contrast,
        field=field,
        points=voxels,
        landmarks=points.landmarks,
        patch=patch,
        weights=emphasis(patch),
        regularization_weights=level.regularization_weights,
        sigma=sigma,
        landmarks_sigma=settings.landmarks_sigma * points.finest_mm / spacing,
    )


def correlation(template: torch.Tensor, target: torch.Tensor) -> float:
    """Of the intensities of two volumes `(D, H, W)` where neither is dark: near 1 in one contrast, less in two."""
    bright = (template > template.min() + DARK * (template.max() - template.min())) & (
        target > target.min() + DARK * (target.max() - target.min())
    )
    if bright.sum() < 2:
        return 1.0
    both = torch.stack([template[bright], target[bright]])
    return float(torch.nan_to_num(torch.corrcoef(both)[0, 1], nan=1.0))
