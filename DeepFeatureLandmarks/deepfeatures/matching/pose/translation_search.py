"""Translation search: every translation tried at once, for where in a large volume a small one lies."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.pyramid import SamplingGrid
from deepfeatures.matching.geometry.sampling import translation
from deepfeatures.matching.pose.image_similarity import ImagePair, bounding_grid
from deepfeatures.matching.pose.rotations import structured

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
    covered = covered.float()
    of_target = pair.encode(resampled)
    of_template = (features - _mean(features, weights)) * weights
    of_target = (of_target - _mean(of_target, covered)) * covered
    shape = [a + b - 1 for a, b in zip(grid.shape, target_grid.shape, strict=True)]

    def spectrum(of: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfftn(of, s=shape, dim=(-3, -2, -1))

    def over_all_shifts(spectra: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(spectra, s=shape, dim=(-3, -2, -1))

    together = sum(spectrum(a).conj() * spectrum(b) for a, b in zip(of_template, of_target, strict=True))
    template_mask, target_mask = spectrum(weights).conj(), spectrum(covered)
    share = over_all_shifts(template_mask * target_mask) / weights.sum().clamp(min=1) / pair.max_overlap
    powers = (
        over_all_shifts(spectrum(of_template.square().sum(0)).conj() * target_mask),
        over_all_shifts(template_mask * spectrum(of_target.square().sum(0))),
    )
    fits = over_all_shifts(together) / (powers[0].clamp(min=1e-6) * powers[1].clamp(min=1e-6)).sqrt()
    fits = torch.where(share > LEAST_SHARE, fits * share.clamp(min=0).sqrt(), -1.0)
    index = torch.tensor(torch.unravel_index(fits.argmax(), fits.shape), device=pose.device)
    sizes = torch.tensor(target_grid.shape, device=pose.device)
    shift = torch.where(index < sizes, index, index - torch.tensor(shape, device=pose.device)).flip(0)
    return pose @ translation(target_grid.origin + shift * spacing - grid.origin)


def _mean(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return ((features * weights).flatten(1).sum(1) / weights.sum().clamp(min=1))[:, None, None, None]
