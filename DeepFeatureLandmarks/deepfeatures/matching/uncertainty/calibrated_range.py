"""The range of evidence that calibration has seen, and how far outside of it a match lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CalibratedRange:
    """Lower and upper bounds of each covariate, and its standard deviation within them.

    A linear prediction says nothing of evidence that it has not seen. Outside the range it therefore stays as it is at
    the edge, and `distances` tells how far outside the match lies.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    deviations: tuple[float, ...]

    def clamped(self, evidence: torch.Tensor) -> torch.Tensor:
        """The nearest evidence within the range, `(N, F)`."""
        low, high, _ = self._rows(evidence)
        return torch.maximum(torch.minimum(evidence, high), low)

    def distances(self, evidence: torch.Tensor) -> torch.Tensor:
        """Distance from the range in standard deviations, of the covariate that lies farthest outside, `(N,)`."""
        return ((evidence - self.clamped(evidence)).abs() / self._rows(evidence)[2]).amax(1)

    def _rows(self, evidence: torch.Tensor) -> tuple[torch.Tensor, ...]:
        columns = self.low, self.high, self.deviations
        return tuple(torch.tensor(row, dtype=evidence.dtype, device=evidence.device) for row in columns)
