"""The conformal predictive distribution: quantiles of the residuals of people who took no part in the fit.

Residuals are standardised. Each group of matches has quantiles of its own (Mondrian conformal prediction, Vovk et al.
2003; predictive distributions, Vovk et al. 2019). Between the quantiles the distribution is linear; beyond them its
tails are exponential, so that it is never quite sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch

LEVELS = (0.02, *(number / 20 for number in range(1, 20)), 0.98)
NORMAL = tuple(NormalDist().inv_cdf(level) for level in LEVELS)
# Distances from the calibrated range, in standard deviations, that part what lies within from a little outside, and
# that from far outside. Each covariate leaves its range in 1 of 100 calibrated matches, mostly by less.
OUTSIDE = (0.5, 2.0)
POSITIONS = len(OUTSIDE) + 1  # within, a little outside, far outside
LEAST_SCALE = 0.05  # of a tail


@dataclass(frozen=True)
class Split:
    """A column of the evidence by which matches fall into two groups: below a threshold, and from it on."""

    column: int
    threshold: float


@dataclass(frozen=True)
class PredictiveDistribution:
    """Quantiles of standardised residuals.

    Args:
        splits: Of the groups, beside how far outside the calibrated range a match lies.
        quantiles: A row for each group, at `LEVELS`, rising; the number of a group is given by `groups`.
    """

    splits: tuple[Split, ...] = ()
    quantiles: tuple[tuple[float, ...], ...] = (NORMAL,) * POSITIONS

    def groups(self, evidence: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """The group of each match, from its evidence `(N, F)` and its distance from the range `(N,)`: `(N,)`."""
        return group_numbers(evidence, distances, self.splits)

    def quantile(self, shares: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Residuals below which these shares `(S,)`, between 0 and 1, of the matches lie: `(N, S)`."""
        rows, levels = self._rows(shares), shares.new_tensor(LEVELS)
        lower, upper = _tail_scales(rows)
        left = ((shares[:, None] >= levels).sum(1) - 1).clamp(0, len(LEVELS) - 2)
        between = ((shares - levels[left]) / (levels[left + 1] - levels[left])).clamp(0, 1)
        inner = rows[:, left] + between * (rows[:, left + 1] - rows[:, left])
        below = lower[:, None] * (shares / levels[0]).clamp(max=1).log()
        above = upper[:, None] * ((1 - shares) / (1 - levels[-1])).clamp(max=1).log()
        return (inner + below - above)[groups]

    def probability(self, residuals: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The share of matches below a residual, `(N,)`: the inverse of `quantile`."""
        table, levels = self._rows(residuals), residuals.new_tensor(LEVELS)
        lower, upper = (scale[groups] for scale in _tail_scales(table))
        rows = table[groups]
        left = ((rows <= residuals[:, None]).sum(1) - 1).clamp(0, len(LEVELS) - 2)
        start, end = (rows.gather(1, index[:, None])[:, 0] for index in (left, left + 1))
        inner = levels[left] + (levels[left + 1] - levels[left]) * ((residuals - start) / (end - start)).clamp(0, 1)
        below = torch.exp((residuals - rows[:, 0]).clamp(max=0) / lower)
        above = torch.exp((rows[:, -1] - residuals).clamp(max=0) / upper)
        inside = torch.where(residuals < rows[:, 0], levels[0] * below, inner)
        return torch.where(residuals > rows[:, -1], 1 - (1 - levels[-1]) * above, inside)

    def _rows(self, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.quantiles, dtype=like.dtype, device=like.device)


def group_numbers(evidence: torch.Tensor, distances: torch.Tensor, splits: tuple[Split, ...]) -> torch.Tensor:
    """Numbers of groups `(N,)`: the position in the lowest digit, then a binary digit for each split."""
    numbers = (distances[:, None] > distances.new_tensor(OUTSIDE)).sum(1)
    for place, split in enumerate(splits):
        numbers = numbers + POSITIONS * 2**place * (evidence[:, split.column] >= split.threshold)
    return numbers


def _tail_scales(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the exponential tails, as steep as the outer quantiles are apart: below and above, `(G,)` each."""
    first, last = LEVELS.index(0.1), LEVELS.index(0.9)
    lower = (rows[:, first] - rows[:, 0]) / math.log(0.1 / LEVELS[0])
    upper = (rows[:, -1] - rows[:, last]) / math.log(0.1 / (1 - LEVELS[-1]))
    return lower.clamp(min=LEAST_SCALE), upper.clamp(min=LEAST_SCALE)
