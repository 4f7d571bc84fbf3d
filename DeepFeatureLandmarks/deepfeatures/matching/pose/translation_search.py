"""Translation search: every translation tried at once, for where in a large volume a small one lies."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.pyramid import SamplingGrid
from deepfeatures.matching.geometry.sampling import translation
from deepfeatures.matching.pose.image_similarity import ImagePair, bounding_grid
from deepfeatures.matching.pose.rotations import structured
from deepfeatures.matching.pose.translation_correlation import correlate_all_translations

LEAST_SHARE = 0.25  # of what the target can show of the template's structure
LARGEST = 160  # voxels of the target along an axis; larger ones are seen more coarsely


def best_translation(pair: ImagePair, pose: torch.Tensor, spacing: float) -> torch.Tensor:
    """A pose moved to where the features of both volumes fit best.

    What fits is told as by `ImagePair.similarity`.

    Args:
        pose: Template millimetres to target millimetres, `(4, 4)`.
        spacing: Of the level on which they are compared, mm; coarser for a large target.

    Returns:
        `(4, 4)`.
    """
    template, target = pair.template, pair.target
    spacing = max(spacing, float(target.image.extent.max()) / LARGEST)
    grid = SamplingGrid.around(template.image, spacing)
    features, weights = template.cached(grid, pair.encode), template.cached(grid, structured).float()
    target_grid = bounding_grid(grid, target, pose)
    resampled, covered = target.resample(target_grid, pose)
    fits, overlap = correlate_all_translations(features, weights, pair.encode(resampled), covered.float())
    share = overlap / weights.sum().clamp(min=1) / pair.max_overlap
    fits = torch.where(share > LEAST_SHARE, fits * share.clamp(min=0).sqrt(), -1.0)
    index = torch.tensor(torch.unravel_index(fits.argmax(), fits.shape), device=pose.device)
    sizes = torch.tensor(target_grid.shape, device=pose.device)
    shift = torch.where(index < sizes, index, index - torch.tensor(fits.shape, device=pose.device)).flip(0)
    return pose @ translation(target_grid.origin + shift * spacing - grid.origin)
