"""The error model: how far off a landmark may be, from the evidence of its match.

The logarithm of the error is a linear function of the evidence, plus a residual. The evidence tells the size of the
residual, too. The residual's distribution is that of people who took no part in the fit, see `predictive_distribution`.
Expected error, probabilities and radii all come from this one distribution. Evidence outside the range that calibration
has seen makes all of them worse, see `calibrated_range`. The coefficients lie beside the weights in `pretrained`, where
`calibration` has written them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from deepfeatures.matching.uncertainty import covariates
from deepfeatures.matching.uncertainty.calibrated_range import CalibratedRange
from deepfeatures.matching.uncertainty.predictive_distribution import PredictiveDistribution, Split

FILE = Path(__file__).parents[2] / "pretrained" / "expected_error.json"
VERSION = 2  # of an entry; those of version 1 have neither range nor distribution
CLOSE_MM = 3.0
TOLERANCE = 0.02  # of the template's size: near enough, where a person does not say what is
DECIMALS = 4  # of coefficients in the file
# For each standard deviation outside the calibrated range, the logarithm of the error is so much larger, and a residual
# above zero so much wider, of its deviation. Both are choices: what is never seen cannot be fitted.
OUTSIDE_SHIFT, OUTSIDE_WIDENING = 0.15, 0.15
MOST_OUTSIDE = 6.0  # standard deviations; farther outside nothing gets worse
SPREAD_LIMIT = 0.7  # of the logarithm of the residual's size around its mean
LARGEST = 12.0  # logarithm of voxels; keeps all lengths finite
STEPS = 100  # shares over which the mean is taken
WORST = 0.1  # share of the errors that count no more than the radius that leaves them out


@dataclass(frozen=True)
class ErrorModel:
    """A calibrated prediction, in voxels of the finest level. Evidence is `(N, F)`, a row a landmark.

    Args:
        intercept: Of the logarithm of error plus `offset`.
        slopes: Of the same, one for each of `covariates.NAMES`.
        means: Of the evidence where it was calibrated.
        offset: Voxels; keeps the logarithm of small errors finite.
        deviation: Standard deviation of the logarithm around the prediction, on average.
        spread_slopes: Of the logarithm of that deviation, as `slopes`; empty where it is always the same.
        range: Of the evidence where it was calibrated; `None` where nobody knows.
        distribution: Of the residuals, in deviations.
    """

    intercept: float
    slopes: tuple[float, ...]
    means: tuple[float, ...]
    offset: float
    deviation: float
    spread_slopes: tuple[float, ...] = ()
    range: CalibratedRange | None = None
    distribution: PredictiveDistribution = field(default_factory=PredictiveDistribution)

    def log_errors(self, evidence: torch.Tensor) -> torch.Tensor:
        """Expected logarithm of error plus offset, `(N,)`."""
        slopes = evidence.new_tensor(self.slopes)
        return self.intercept + self._centred(evidence) @ slopes + OUTSIDE_SHIFT * self._outside(evidence)

    def errors_mm(self, evidence: torch.Tensor, spacing_mm: float) -> torch.Tensor:
        """Expected errors in mm, `(N,)`: the mean, in which the worst errors count no more than the next."""
        shares = (torch.arange(STEPS, dtype=evidence.dtype, device=evidence.device) + 0.5) / STEPS
        return self._radii_mm(evidence, spacing_mm, shares.clamp(max=1 - WORST)).mean(1)

    def radii_mm(self, evidence: torch.Tensor, spacing_mm: float, share: float) -> torch.Tensor:
        """Radii around the found places within which a share, between 0 and 1, of the true places lies; mm, `(N,)`."""
        return self._radii_mm(evidence, spacing_mm, evidence.new_tensor([share]))[:, 0]

    def probabilities(
        self, evidence: torch.Tensor, spacing_mm: float, within_mm: float | torch.Tensor = CLOSE_MM
    ) -> torch.Tensor:
        """Probabilities to be within this distance of the true place, one for all or `(N,)`: `(N,)`."""
        within = torch.as_tensor(within_mm, dtype=evidence.dtype, device=evidence.device) / spacing_mm
        residuals = self.residuals(evidence, within.expand(len(evidence)))
        return self.distribution.probability(residuals, self.groups(evidence))

    def residuals(self, evidence: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
        """Standardised residuals of errors in voxels, `(N,)` both."""
        apart = (errors + self.offset).log() - self.log_errors(evidence)
        below, above = self._deviations(evidence)
        return torch.where(apart > 0, apart / above, apart / below)

    def groups(self, evidence: torch.Tensor) -> torch.Tensor:
        """The group of each match in the distribution, `(N,)`."""
        return self.distribution.groups(evidence, self.distances(evidence))

    def distances(self, evidence: torch.Tensor) -> torch.Tensor:
        """How far outside the calibrated range each match lies, in standard deviations, `(N,)`."""
        return evidence.new_zeros(len(evidence)) if self.range is None else self.range.distances(evidence)

    def _radii_mm(self, evidence: torch.Tensor, spacing_mm: float, shares: torch.Tensor) -> torch.Tensor:
        residuals = self.distribution.quantile(shares, self.groups(evidence))
        below, above = self._deviations(evidence)
        logarithms = self.log_errors(evidence)[:, None] + residuals * torch.where(
            residuals > 0, above[:, None], below[:, None]
        )
        return (logarithms.clamp(max=LARGEST).exp() - self.offset).clamp(min=0) * spacing_mm

    def _deviations(self, evidence: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of residuals below and above zero, `(N,)` each: outside the range only those above are wider."""
        spread = evidence.new_zeros(len(evidence))
        if self.spread_slopes:
            spread = (self._centred(evidence) @ evidence.new_tensor(self.spread_slopes)).clamp(
                -SPREAD_LIMIT, SPREAD_LIMIT
            )
        below = self.deviation * spread.exp()
        return below, below * (1 + OUTSIDE_WIDENING * self._outside(evidence))

    def _centred(self, evidence: torch.Tensor) -> torch.Tensor:
        within = evidence if self.range is None else self.range.clamped(evidence)
        return within - evidence.new_tensor(self.means)

    def _outside(self, evidence: torch.Tensor) -> torch.Tensor:
        return self.distances(evidence).clamp(max=MOST_OUTSIDE)


def features_key(network: str, layer: str, patch_size: int) -> str:
    """What a calibration is good for: `"mind/ssc_r1_d2/13"`."""
    return f"{network}/{layer}/{patch_size}"


@cache
def load_error_model(features: str) -> ErrorModel | None:
    """The prediction for a guided search with these features; `None` where nobody has calibrated it."""
    values = json.loads(FILE.read_text(encoding="utf-8")).get(features)
    return values and from_values(values)


def from_values(values: dict[str, Any]) -> ErrorModel | None:
    """The model whose coefficients `to_values` has given; `None` where it builds on other covariates.

    Version 1 knew fewer covariates: those that it did not know do not count.
    """
    names = list(values["evidence"])
    if values.get("version", 1) < VERSION:
        return _of_version_1(values, names) if set(names) <= set(covariates.NAMES) else None
    if names != list(covariates.NAMES):
        return None
    given = {key: _tuples(value) for key, value in values.items() if key not in ("evidence", "version")}
    span, distribution = values["range"], values["distribution"]
    given["range"] = span and CalibratedRange(**{key: tuple(row) for key, row in span.items()})
    splits = tuple(Split(**split) for split in distribution["splits"])
    given["distribution"] = PredictiveDistribution(splits, _tuples(distribution["quantiles"]))
    return ErrorModel(**given)


def _of_version_1(values: dict[str, Any], names: list[str]) -> ErrorModel:
    known = {key: dict(zip(names, values[key], strict=True)) for key in ("slopes", "means")}
    slopes, means = (tuple(known[key].get(name, 0.0) for name in covariates.NAMES) for key in ("slopes", "means"))
    return ErrorModel(values["intercept"], slopes, means, values["offset"], values["deviation"])


def to_values(model: ErrorModel) -> dict[str, Any]:
    """The coefficients as JSON holds them, rounded, with the names of the covariates."""
    return {"version": VERSION, "evidence": list(covariates.NAMES), **rounded(asdict(model))}


def rounded(value: Any) -> Any:
    """Coefficients, nested as they may be, as JSON holds them."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
