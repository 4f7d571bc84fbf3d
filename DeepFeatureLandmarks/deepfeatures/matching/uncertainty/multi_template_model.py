"""The expected error of what several templates agree on: what each of them expects, and how far apart they are.

A match sees how alike two places are, not how differently people mark them. Templates that were marked by different
people, or in people of different anatomy, show that by where they put a landmark in one target. The logarithm of the
error, relative to what the templates expect, is taken as normal around a linear function of their relative spread and
of their number, so that no unit of length counts (`calibration`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE, rounded

KEY = "several templates"
MOST = 5  # templates that were calibrated; more count as so many
SMALLEST_MM = 1e-3  # expected error; keeps the ratios finite
SHARES = (0.5, 0.9)  # of the true places that lie within the radii


@dataclass(frozen=True)
class MultiTemplateModel:
    """A calibrated prediction.

    Args:
        intercept: Of the logarithm of relative error plus `offset`.
        of_spread: Its slope by the logarithm of relative spread plus `offset`.
        of_number: Its slope by the logarithm of the number of templates.
        offset: Share of the expected error; keeps the logarithms of small errors and spreads finite.
        deviation: Standard deviation of the logarithm around the prediction.
        radius_factors: By which the radii at `SHARES` are larger than those of the templates once these have changed
            as the expected error does.
    """

    intercept: float
    of_spread: float
    of_number: float
    offset: float
    deviation: float
    radius_factors: tuple[float, ...] = (1.0, 1.0)

    def error_mm(self, expected_mm: float, spread_mm: float, number: int) -> float:
        """Expected error of the consensus in mm.

        Args:
            expected_mm: By the templates alone, their median.
            spread_mm: Root mean square distance of their places from the consensus, of `number - 1` degrees of freedom.
            number: Of templates that found the landmark, at least 2.
        """
        mean = math.exp(self._logarithm(expected_mm, spread_mm, number) + self.deviation**2 / 2) - self.offset
        return max(mean, 0.0) * max(expected_mm, SMALLEST_MM)

    def radii_mm(
        self, radii_mm: Sequence[float], expected_mm: float, spread_mm: float, number: int
    ) -> tuple[float, float]:
        """Radii of the consensus at `SHARES` from those of the templates, their medians; the rest as of `error_mm`."""
        change = self.error_mm(expected_mm, spread_mm, number) / max(expected_mm, SMALLEST_MM)
        half, most = (change * factor * radius for factor, radius in zip(self.radius_factors, radii_mm, strict=True))
        return half, max(half, most)

    def probability(self, expected_mm: float, spread_mm: float, number: int, within_mm: float = CLOSE_MM) -> float:
        """Probability of the consensus to be within this distance; arguments as of `error_mm`."""
        wanted = math.log(within_mm / max(expected_mm, SMALLEST_MM) + self.offset)
        return NormalDist(self._logarithm(expected_mm, spread_mm, number), self.deviation).cdf(wanted)

    def _logarithm(self, expected_mm: float, spread_mm: float, number: int) -> float:
        spread, count = relative(expected_mm, spread_mm, number, self.offset)
        return self.intercept + self.of_spread * spread + self.of_number * count


def relative(expected_mm: float, spread_mm: float, number: int, offset: float) -> tuple[float, float]:
    """What the prediction is linear in: logarithms of the relative spread, and of the number of templates."""
    return math.log(spread_mm / max(expected_mm, SMALLEST_MM) + offset), math.log(min(number, MOST))


@cache
def load_multi_template_model() -> MultiTemplateModel:
    """By the default features; for others, too, whose errors are calibrated, since it is relative to these."""
    return from_values(json.loads(FILE.read_text(encoding="utf-8"))[KEY])


def from_values(values: dict[str, Any]) -> MultiTemplateModel:
    """The model whose coefficients `to_values` has given."""
    return MultiTemplateModel(**{**values, "radius_factors": tuple(values["radius_factors"])})


def to_values(model: MultiTemplateModel) -> dict[str, Any]:
    """The coefficients as JSON holds them, rounded."""
    return rounded(asdict(model))
