"""Every shift tried at once: where in a large volume lies a small one, when both lie alike?"""

from __future__ import annotations

import torch

from deepfeatures.matching.frame import Encode, Lattice, Pyramid
from deepfeatures.matching.grids import apply_affine, box_corners, translation
from deepfeatures.matching.rotations import structured

LEAST_SHARE = 0.25  # of the template's structure that the target must show
LARGEST = 160  # voxels of the target along an axis; larger ones are seen more coarsely


def best_shift(template: Pyramid, target: Pyramid, pose: torch.Tensor, encode: Encode, spacing: float) -> torch.Tensor:
    """A pose moved to where the features of both volumes fit best.

    What fits is told as by `pose.likeness`: the correlation of the features where the template has structure, times the
    root of the share of it that the target covers.

    Args:
        pose: Template millimetres to target millimetres, `(4, 4)`.
        encode: Features of a view.
        spacing: Of the level on which they are compared, mm; coarser for a large target.

    Returns:
        `(4, 4)`.
    """
    spacing = max(spacing, float(target.scan.extent.max()) / LARGEST)
    on = Lattice.around(template.scan, spacing)
    image, features = template.encoded(on, encode)
    weights = structured(image).float()
    seen_on = _around_target(on, target, pose)
    scene, covered = target.view(seen_on, pose)
    covered = covered.float()
    seen = encode(scene)
    known = (features - _mean(features, weights)) * weights
    seen = (seen - _mean(seen, covered)) * covered
    shape = [a + b - 1 for a, b in zip(on.shape, seen_on.shape, strict=True)]

    def spectrum(of: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfftn(of, s=shape, dim=(-3, -2, -1))

    def over_all_shifts(spectra: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(spectra, s=shape, dim=(-3, -2, -1))

    together = sum(spectrum(a).conj() * spectrum(b) for a, b in zip(known, seen, strict=True))
    mask, seen_mask = spectrum(weights).conj(), spectrum(covered)
    share = over_all_shifts(mask * seen_mask) / weights.sum().clamp(min=1)
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


def _around_target(on: Lattice, target: Pyramid, pose: torch.Tensor) -> Lattice:
    """The lattice of the template's directions that holds the whole target."""
    first = -target.scan.spacing / 2
    there = apply_affine(torch.linalg.inv(pose), box_corners(first, first + target.scan.extent))
    low, high = there.amin(0), there.amax(0)
    x, y, z = ((high - low) / on.spacing_mm).ceil().long().clamp(min=1).tolist()
    return Lattice(on.spacing_mm, low + on.spacing_mm / 2, (z, y, x))


def _mean(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return ((features * weights).flatten(1).sum(1) / weights.sum().clamp(min=1))[:, None, None, None]
