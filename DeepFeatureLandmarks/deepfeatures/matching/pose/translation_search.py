"""Every shift tried at once: where in a large volume lies a small one, when both lie alike?"""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.pyramid import Lattice
from deepfeatures.matching.geometry.sampling import translation
from deepfeatures.matching.pose.rotations import structured
from deepfeatures.matching.pose.similarity import Pair, box_around

LEAST_SHARE = 0.25  # of what the target can show of the template's structure
LARGEST = 160  # voxels of the target along an axis; larger ones are seen more coarsely


def best_shift(pair: Pair, pose: torch.Tensor, spacing: float) -> torch.Tensor:
    """A pose moved to where the features of both volumes fit best.

    What fits is told as by `Pair.likeness`.

    Args:
        pose: Template millimetres to target millimetres, `(4, 4)`.
        spacing: Of the level on which they are compared, mm; coarser for a large target.

    Returns:
        `(4, 4)`.
    """
    template, target = pair.template, pair.target
    spacing = max(spacing, float(target.scan.extent.max()) / LARGEST)
    on = Lattice.around(template.scan, spacing)
    features, weights = template.own(on, pair.encode), template.own(on, structured).float()
    seen_on = box_around(on, target, pose)
    scene, covered = target.view(seen_on, pose)
    covered = covered.float()
    seen = pair.encode(scene)
    known = (features - _mean(features, weights)) * weights
    seen = (seen - _mean(seen, covered)) * covered
    shape = [a + b - 1 for a, b in zip(on.shape, seen_on.shape, strict=True)]

    def spectrum(of: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfftn(of, s=shape, dim=(-3, -2, -1))

    def over_all_shifts(spectra: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(spectra, s=shape, dim=(-3, -2, -1))

    together = sum(spectrum(a).conj() * spectrum(b) for a, b in zip(known, seen, strict=True))
    mask, seen_mask = spectrum(weights).conj(), spectrum(covered)
    share = over_all_shifts(mask * seen_mask) / weights.sum().clamp(min=1) / pair.attainable
    powers = (
        over_all_shifts(spectrum(known.square().sum(0)).conj() * seen_mask),
        over_all_shifts(mask * spectrum(seen.square().sum(0))),
    )
    fits = over_all_shifts(together) / (powers[0].clamp(min=1e-6) * powers[1].clamp(min=1e-6)).sqrt()
    fits = torch.where(share > LEAST_SHARE, fits * share.clamp(min=0).sqrt(), -1.0)
    index = torch.tensor(torch.unravel_index(fits.argmax(), fits.shape), device=pose.device)
    sizes = torch.tensor(seen_on.shape, device=pose.device)
    shift = torch.where(index < sizes, index, index - torch.tensor(shape, device=pose.device)).flip(0)
    return pose @ translation(seen_on.origin + shift * spacing - on.origin)


def _mean(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return ((features * weights).flatten(1).sum(1) / weights.sum().clamp(min=1))[:, None, None, None]
