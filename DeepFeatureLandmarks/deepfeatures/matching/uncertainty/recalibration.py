"""An error model for one's own scans: the calibrated one, moved as far as the landmarks of a few people allow.

With few people most of the shipped model stays: its residuals count as so many people beside one's own. The slopes
change only with many. As in `calibration`, residuals are of models that did not know the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from deepfeatures.matching.uncertainty.calibrated_range import CalibratedRange
from deepfeatures.matching.uncertainty.calibration import calibrated_range, left_out_residuals, ridge
from deepfeatures.matching.uncertainty.conformal import Residuals, conformal_quantiles, rising
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.matching.uncertainty.predictive_distribution import (
    LEVELS,
    POSITIONS,
    PredictiveDistribution,
    group_numbers,
)
from deepfeatures.matching.uncertainty.samples import MatchSamples, joined, people_of, person_weights

FEWEST_PEOPLE = 3
ENOUGH_FOR_SLOPES = 10  # people
SHIPPED_PEOPLE = 5.0  # that the shipped model stands for
SHIPPED_VALUES = 50  # residuals of the shipped model in each group
RIDGE = 1.0  # penalty on changes of the slopes of standardised features


def recalibrated(model: ErrorModel, samples: MatchSamples) -> ErrorModel:
    """The model for anatomy and scans such as these; of fewer than three people only its intercept changes."""
    moved = _moved(model, [samples])
    if len(people_of([samples])) < FEWEST_PEOPLE:
        return moved
    residuals = left_out_residuals([samples], lambda kept: _moved(model, kept))
    return replace(moved, distribution=_mixed(model.distribution, residuals, len(np.unique(samples.targets))))


def _moved(model: ErrorModel, sets: Sequence[MatchSamples]) -> ErrorModel:
    """The model with the range, intercept and, of many people, slopes of these samples, as far as they are sure."""
    samples = joined(sets)
    weights, people = person_weights(samples), len(people_of([samples]))
    model = replace(model, range=_wider(model.range, samples, weights))
    trust = people / (people + SHIPPED_PEOPLE)
    left = np.log(samples.errors + model.offset) - model.log_errors(samples.rows).numpy()
    intercept, slopes = model.intercept + trust * float(weights @ left), np.array(model.slopes)
    if people >= ENOUGH_FOR_SLOPES:
        features, least = samples.evidence, np.full(samples.evidence.shape[1], 1e-6)
        if model.range is not None:  # what hardly differs among these scans may differ much in the next
            features, least = model.range.clamped(samples.rows).numpy(), np.array(model.range.deviations)
        _, change, means = ridge(features, left, weights, RIDGE / trust, least)
        slopes, intercept = slopes + change, intercept + float(change @ (np.array(model.means) - means))
    return replace(model, intercept=intercept, slopes=tuple(slopes.tolist()))


def _wider(span: CalibratedRange | None, samples: MatchSamples, weights: np.ndarray) -> CalibratedRange | None:
    """The range with that of the samples: what they calibrate is no longer outside."""
    if span is None:
        return None
    own = calibrated_range(samples.evidence, weights)
    low, high = map(min, span.low, own.low), map(max, span.high, own.high)
    return CalibratedRange(tuple(low), tuple(high), span.deviations)


def _mixed(shipped: PredictiveDistribution, residuals: Residuals, people: int) -> PredictiveDistribution:
    """Quantiles of the residuals together with those that the shipped distribution stands for."""
    numbers = group_numbers(torch.from_numpy(residuals.evidence), torch.from_numpy(residuals.distances), shipped.splits)
    shares = (torch.arange(SHIPPED_VALUES, dtype=torch.float64) + 0.5) / SHIPPED_VALUES
    shipped_weights = np.full(SHIPPED_VALUES, SHIPPED_PEOPLE / SHIPPED_VALUES)
    nobody = np.array([f"shipped {number}" for number in range(SHIPPED_VALUES)])
    rows: list[np.ndarray] = []
    for group in range(len(shipped.quantiles)):
        own = residuals.take(numbers.numpy() == group)
        values = shipped.quantile(shares, torch.tensor([group]))[0].numpy()
        row = conformal_quantiles(
            np.concatenate([own.values, values]),
            np.concatenate([own.weights * people, shipped_weights]),
            np.concatenate([own.people, nobody]),
            LEVELS,
        )
        rows.append(np.maximum(row, rows[-1]) if group % POSITIONS else row)
    return PredictiveDistribution(shipped.splits, rising(rows))
