"""Correlation of the features of two volumes for every translation at once, by Fourier transforms."""

from __future__ import annotations

import torch


def correlate_all_translations(
    first: torch.Tensor, first_weights: torch.Tensor, second: torch.Tensor, second_weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How alike two volumes are, wherever the first one is moved within the second.

    Args:
        first, second: Features, `(C, D, H, W)`, the grids of one spacing.
        first_weights, second_weights: 1 for voxels that count and 0 for others, `(D, H, W)`.

    Returns:
        The correlation, and the sum of the weights that lie over one another. The index of either is the translation in
        voxels along z, y, x, negative ones counted from the end.
    """
    of_first, of_second = _centred(first, first_weights), _centred(second, second_weights)
    shape = [a + b - 1 for a, b in zip(first_weights.shape, second_weights.shape, strict=True)]

    def spectrum(of: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfftn(of, s=shape, dim=(-3, -2, -1))

    def over_all_translations(spectra: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(spectra, s=shape, dim=(-3, -2, -1))

    products = (spectrum(a).conj() * spectrum(b) for a, b in zip(of_first, of_second, strict=True))
    together = sum(products, torch.zeros((), device=first.device))
    first_mask, second_mask = spectrum(first_weights).conj(), spectrum(second_weights)
    powers = (
        over_all_translations(spectrum(of_first.square().sum(0)).conj() * second_mask),
        over_all_translations(first_mask * spectrum(of_second.square().sum(0))),
    )
    correlation = over_all_translations(together) / (powers[0].clamp(min=1e-6) * powers[1].clamp(min=1e-6)).sqrt()
    return correlation, over_all_translations(first_mask * second_mask)


def _centred(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Less their weighted mean, 0 where nothing counts."""
    mean = (features * weights).flatten(1).sum(1) / weights.sum().clamp(min=1)
    return (features - mean[:, None, None, None]) * weights
