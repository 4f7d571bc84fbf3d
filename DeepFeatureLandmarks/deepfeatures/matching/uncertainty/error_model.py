"""The error model: expected error of a landmark in mm, and its probability to be within 3 mm, from its covariates.

The logarithm of the error is taken as normal around a linear function of the evidence; the coefficients come from
people whose landmarks were known (`calibration`) and lie beside the weights in `pretrained`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from deepfeatures.matching.uncertainty import covariates

FILE = Path(__file__).parents[2] / "pretrained" / "expected_error.json"
CLOSE_MM = 3.0
DECIMALS = 4  # of coefficients in the file


@dataclass(frozen=True)
class ErrorModel:
    """A calibrated prediction, in voxels of the finest level.

    Args:
        intercept: Of the logarithm of error plus `offset`.
        slopes: Of the same, one for each of `covariates.NAMES`.
        means: Of the evidence where it was calibrated.
        offset: Voxels; keeps the logarithm of small errors finite.
        deviation: Standard deviation of the logarithm around the prediction.
    """

    intercept: float
    slopes: tuple[float, ...]
    means: tuple[float, ...]
    offset: float
    deviation: float

    def log_errors(self, evidence: torch.Tensor) -> torch.Tensor:
        """Expected logarithm of error plus offset for evidence `(N, F)`: shape `(N,)`."""
        slopes, means = (torch.tensor(row, device=evidence.device) for row in (self.slopes, self.means))
        return self.intercept + (evidence - means) @ slopes

    def errors_mm(self, evidence: torch.Tensor, spacing_mm: float) -> torch.Tensor:
        """Expected errors in mm, `(N,)`."""
        mean = (self.log_errors(evidence) + self.deviation**2 / 2).exp() - self.offset
        return mean.clamp(min=0) * spacing_mm

    def probabilities(self, evidence: torch.Tensor, spacing_mm: float) -> torch.Tensor:
        """Probabilities to be within `CLOSE_MM`, `(N,)`."""
        wanted = math.log(CLOSE_MM / spacing_mm + self.offset)
        return torch.special.ndtr((wanted - self.log_errors(evidence)) / self.deviation)


@cache
def load_error_model(network: str, layer: str, patch_size: int) -> ErrorModel | None:
    """The prediction for a guided search with these features; `None` where nobody has calibrated it."""
    values = json.loads(FILE.read_text(encoding="utf-8")).get(f"{network}/{layer}/{patch_size}")
    if values is None or tuple(values["evidence"]) != covariates.NAMES:
        return None
    return from_values(values)


def from_values(values: dict) -> ErrorModel:
    """The model whose coefficients `to_values` has given."""
    slopes, means = tuple(values["slopes"]), tuple(values["means"])
    return ErrorModel(values["intercept"], slopes, means, values["offset"], values["deviation"])


def to_values(model: ErrorModel) -> dict:
    """The coefficients as JSON holds them, rounded, with the names of the covariates."""
    values = {
        name: [round(value, DECIMALS) for value in one] if isinstance(one, tuple) else round(one, DECIMALS)
        for name, one in asdict(model).items()
    }
    return {"evidence": list(covariates.NAMES), **values}
