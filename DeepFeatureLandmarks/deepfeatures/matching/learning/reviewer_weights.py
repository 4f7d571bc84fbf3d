"""How much each landmark of each taught scan counts: a careless reviewer must not spoil what the others teach."""

from __future__ import annotations

from collections.abc import Sequence

import torch

ACCEPTED = 0.5  # weight of a point that was accepted where the search has put it; one that a person moved has 1
# A point is odd where its offset differs from that of the others by more than so many times their usual difference; a
# scan is odd where its points are so on the whole.
ODD = 3.0
SMALLEST = 1.0  # voxels: usual differences below count alike
ROUNDS = 5


def scan_weights(
    offsets: torch.Tensor, taught: torch.Tensor, corrected: torch.Tensor, people: Sequence[str]
) -> torch.Tensor:
    """Weights `(S, L)`, 0 where nothing is taught.

    Args:
        offsets: True less found places in voxels, `(S, L, 3)`.
        taught: Which landmarks each scan teaches, `(S, L)`.
        corrected: Which of them a person has moved, `(S, L)`.
        people: Whose scans these are; those of one person together count as one.
    """
    base = _base(taught, corrected, people).to(offsets)
    middle = torch.stack([_weighted_median(offsets[..., axis], base) for axis in range(3)], 1)  # not led by one alone
    for _ in range(ROUNDS):
        apart = (offsets - middle).norm(dim=2)
        usual = _weighted_median(apart, base).clamp(min=SMALLEST)
        ratio = apart / usual
        of_scan = _weighted_median(ratio.T, base.T)
        weights = base * _trust(ratio) * _trust(of_scan)[:, None]
        middle = torch.einsum("sl,sld->ld", weights, offsets) / weights.sum(0).clamp(min=1e-9)[:, None]
    return weights


def scan_trust(
    offsets: torch.Tensor, taught: torch.Tensor, corrected: torch.Tensor, people: Sequence[str]
) -> torch.Tensor:
    """Which share of its weight each scan keeps beside the others, `(S,)`; arguments as of `scan_weights`."""
    base = _base(taught, corrected, people).to(offsets)
    return scan_weights(offsets, taught, corrected, people).sum(1) / base.sum(1).clamp(min=1e-9)


def _base(taught: torch.Tensor, corrected: torch.Tensor, people: Sequence[str]) -> torch.Tensor:
    """Weights before scans are compared, `(S, L)`."""
    shares = torch.tensor([1 / people.count(person) for person in people], device=taught.device)
    return taught * torch.where(corrected, 1.0, ACCEPTED) * shares[:, None]


def _trust(ratio: torch.Tensor) -> torch.Tensor:
    """From 1 down to 0, for what is so many times as far off as usual (a Geman-McClure weight beyond `ODD`)."""
    return torch.where(ratio > ODD, (ODD / ratio.clamp(min=ODD)) ** 4, torch.ones_like(ratio))


def _weighted_median(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of the rows `(S, L)`, by weights: `(L,)`."""
    order = values.argsort(0)
    share = weights.gather(0, order).cumsum(0)
    half = (share < share[-1:] / 2).sum(0).clamp(max=len(values) - 1)
    return values.gather(0, order).gather(0, half[None])[0]
