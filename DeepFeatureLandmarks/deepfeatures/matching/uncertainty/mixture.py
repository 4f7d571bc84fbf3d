"""Doubt about the whole and doubt about a point together: where a landmark may be if the pose may be another one.

With the probability of the pose, a landmark lies around the found place, as the error model says. With the probability
of an alternative, it lies as closely around the place of that alternative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.uncertainty.error_model import ErrorModel

BISECTIONS = 30


@dataclass(frozen=True, eq=False)
class Mixture:
    """Where landmarks may be.

    Args:
        model: Of the errors around each place.
        evidence: Of the found places, `(N, F)`.
        spacing_mm: The unit of the model.
        probabilities: Of the alternatives, `(A,)`; what is left of 1 is that of the found places.
        distances_mm: Between the found places and those of the alternatives, `(N, A)`.
    """

    model: ErrorModel
    evidence: torch.Tensor
    spacing_mm: float
    probabilities: torch.Tensor
    distances_mm: torch.Tensor

    @property
    def _own(self) -> torch.Tensor:
        return 1 - self.probabilities.sum()

    def within(self, radii_mm: torch.Tensor) -> torch.Tensor:
        """Probability that the true places lie within radii `(N,)` of the found ones, `(N,)`."""
        total = self._own * self._around(radii_mm)
        for probability, distances in zip(self.probabilities, self.distances_mm.T, strict=True):
            total = total + probability * self._around(radii_mm - distances)
        return total

    def radii_mm(self, share: float) -> torch.Tensor:
        """Radii around the found places within which a share of the true places lies, `(N,)`."""
        local = self.model.radii_mm(self.evidence, self.spacing_mm, share)
        if len(self.probabilities) == 0:
            return local
        low, high = torch.zeros_like(local), local + self.distances_mm.amax(1)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            enough = self.within(middle) >= share
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return high

    def errors_mm(self) -> torch.Tensor:
        """Expected distances of the true places from the found ones, `(N,)`."""
        return self.model.errors_mm(self.evidence, self.spacing_mm) + self.distances_mm @ self.probabilities

    def _around(self, radii_mm: torch.Tensor) -> torch.Tensor:
        within = self.model.probabilities(self.evidence, self.spacing_mm, radii_mm.clamp(min=0))
        return torch.where(radii_mm > 0, within, 0.0)
