"""Fits the error models to people whose landmarks are known.

Both models are linear in logarithms, see `error_model` and `multi_template_model`. Each set of samples has a weight of
its own, however large it is: a set is, for example, one kind of anatomy. Radii and probabilities are cross-conformal:
they come from the residuals of people whom the model that is judged did not know. Half of them are of models that knew
nothing of the whole set: they tell what happens to anatomy that nobody calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.matching.uncertainty import covariates
from deepfeatures.matching.uncertainty.calibrated_range import CalibratedRange
from deepfeatures.matching.uncertainty.conformal import Residuals, conformal_distribution, conformal_quantiles
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.matching.uncertainty.multi_template_model import SHARES, MultiTemplateModel, relative
from deepfeatures.matching.uncertainty.predictive_distribution import Split
from deepfeatures.matching.uncertainty.samples import (
    FOLDS,
    MatchSamples,
    joined,
    people_of,
    person_weights,
    row_weights,
    without_people,
    without_sets,
)

OFFSET = 0.3  # voxels, added to errors before their logarithm is taken
RIDGE = 0.1  # penalty on squared slopes of standardised features
SPREAD_RIDGE = 0.3  # the same for the slopes of the residuals' size, which are harder to see
RELATIVE_OFFSET = 0.15  # of the expected error, the same for several templates
UNKNOWN_ANATOMY = 0.5  # share of the residuals in which the whole set was left out, not the people alone
RANGE = (0.005, 0.995)  # shares of the evidence between which the calibrated range lies
LEAST_DEVIATION = 0.25  # of a covariate that hardly differs; the logarithm of its unit
# Thresholds of the covariates that part groups with quantiles of their own: two contrasts from one, whose intensities
# correlate by half or more; and levels that show less than the template's own voxels.
SPLITS = {"pair_contrast": math.log(0.5), "pair_coarseness": math.log(1.3)}

Fold = TypeVar("Fold")
Model = TypeVar("Model")


@dataclass(frozen=True)
class ConsensusSample:
    """One landmark that several templates have placed where the truth is known; lengths in mm.

    Args:
        expected_mm: The median of the errors that the templates expect.
        spread_mm: Of the templates' places, see `MultiTemplateModel.error_mm`.
        number: Of templates that found it.
        error_mm: Distance of their consensus from the truth.
        radii_mm: The medians of the radii that the templates state, at `multi_template_model.SHARES`.
        person: Of the target.
    """

    expected_mm: float
    spread_mm: float
    number: int
    error_mm: float
    radii_mm: tuple[float, ...] = ()
    person: str = ""


def fit_error_model(sets: Sequence[MatchSamples]) -> ErrorModel:
    """Ridge regression of the logarithm of the error, and of the residuals' size; conformal quantiles of residuals.

    Raises:
        InputError: There are fewer people than folds.
    """
    sets = [one for one in sets if len(one)]
    if len(people_of(sets)) < FOLDS:
        raise InputError(f"A calibration needs landmarks of {FOLDS} people or more; add annotated scans.")
    residuals = left_out_residuals(sets, fit_regression)
    return replace(fit_regression(sets), distribution=conformal_distribution(residuals, splits()))


def splits() -> tuple[Split, ...]:
    """Those of `SPLITS` whose covariates there are."""
    names = covariates.NAMES
    return tuple(Split(names.index(name), threshold) for name, threshold in SPLITS.items() if name in names)


def fit_regression(sets: Sequence[MatchSamples]) -> ErrorModel:
    """The same without the residuals' distribution, which is taken as normal."""
    weights, whole = row_weights(sets), joined(sets)
    span = calibrated_range(whole.evidence, weights)
    features = np.clip(whole.evidence, span.low, span.high)
    logarithms = np.log(whole.errors + OFFSET)
    intercept, slopes, means = ridge(features, logarithms, weights, RIDGE)
    residuals = logarithms - intercept - (features - means) @ slopes
    deviation = math.sqrt(weights @ residuals**2)
    sizes = np.log(np.abs(residuals) + 0.05 * deviation)
    _, spread_slopes, _ = ridge(features, sizes, weights, SPREAD_RIDGE)
    model = ErrorModel(
        float(intercept), _floats(slopes), _floats(means), OFFSET, deviation, _floats(spread_slopes), span
    )
    standardised = model.residuals(whole.rows, whole.rows.new_tensor(whole.errors)).numpy()
    return replace(model, deviation=float(deviation * math.sqrt(weights @ standardised**2)))


def ridge(
    features: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    least_scales: np.ndarray | float = 1e-6,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Intercept at the means, slopes and means of a weighted ridge regression on standardised features.

    Args:
        features: `(N, F)`.
        values: To be predicted, `(N,)`.
        weights: Of the rows; they sum up to one.
        penalty: On squared slopes.
        least_scales: By which features are divided whose standard deviation is smaller, so that those that hardly
            differ here get hardly any slope.
    """
    means = weights @ features
    scales = np.maximum(np.sqrt(weights @ (features - means) ** 2), least_scales)
    design, intercept = (features - means) / scales, weights @ values
    weighted = (design * weights[:, None]).T
    slopes = np.linalg.solve(weighted @ design + penalty * np.eye(len(means)), weighted @ (values - intercept))
    return intercept, slopes / scales, means


def left_out_residuals(sets: Sequence[MatchSamples], fit: Callable[[list[MatchSamples]], ErrorModel]) -> Residuals:
    """Of each match by a model that knew neither of its people, and by one that knew nothing of its set."""
    by_people = [residuals_of(fit(kept), sets, judged) for kept, judged in without_people(sets)]
    by_sets = [residuals_of(fit(kept), sets, judged) for kept, judged in without_sets(sets)]
    shares = [1 - UNKNOWN_ANATOMY] * len(by_people) + [UNKNOWN_ANATOMY] * len(by_sets)
    parts = zip([*by_people, *by_sets], shares, strict=True)
    return sum_of(replace(one, weights=one.weights * share) for one, share in parts)


def sum_of(parts: Iterable[Residuals]) -> Residuals:
    """The rows of all; there must be one part or more."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def residuals_of(model: ErrorModel, sets: Sequence[MatchSamples], judged: Sequence[np.ndarray]) -> Residuals:
    """Of the rows that are judged, in which every person of a set has the same weight."""
    parts = []
    for one, mask in zip(sets, judged, strict=True):
        weights, chosen = one.weight * person_weights(one)[mask], one.take(mask)
        rows = chosen.rows
        values = model.residuals(rows, rows.new_tensor(chosen.errors)).numpy()
        parts.append(
            Residuals(values, weights, chosen.targets.astype(str), chosen.evidence, model.distances(rows).numpy())
        )
    return sum_of(parts)


def calibrated_range(evidence: np.ndarray, weights: np.ndarray) -> CalibratedRange:
    """Of evidence `(N, F)` of these weights, which sum up to one, `(N,)`."""
    low, high = np.array([_weighted_quantiles(column, weights, RANGE) for column in evidence.T]).T
    inside = np.clip(evidence, low, high)
    deviations = np.sqrt(weights @ (inside - weights @ inside) ** 2).clip(min=LEAST_DEVIATION)
    return CalibratedRange(_floats(low), _floats(high), _floats(deviations))


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    order = np.argsort(values)
    places = np.searchsorted(np.cumsum(weights[order]), np.array(shares) - 1e-9)
    return values[order][places.clip(max=len(values) - 1)]


def _floats(row: np.ndarray) -> tuple[float, ...]:
    return tuple(row.tolist())


def fit_multi_template_model(groups: Sequence[Sequence[ConsensusSample]]) -> MultiTemplateModel:
    """Least squares of the logarithm of the relative error; each group that is not empty has the same weight.

    Radii are as many times those of the templates as people who were placed needed.
    """
    groups = [group for group in groups if group]
    samples = [sample for group in groups for sample in group]
    weights = np.concatenate([np.full(len(group), 1 / len(group) / len(groups)) for group in groups])
    roots = np.sqrt(weights)
    design = np.array(
        [(1.0, *relative(one.expected_mm, one.spread_mm, one.number, RELATIVE_OFFSET)) for one in samples]
    )
    logarithms = np.log([one.error_mm / one.expected_mm + RELATIVE_OFFSET for one in samples])
    slopes = np.linalg.lstsq(design * roots[:, None], logarithms * roots, rcond=None)[0]
    deviation = float(np.sqrt(weights @ (logarithms - design @ slopes) ** 2))
    intercept, of_spread, of_number = slopes.tolist()
    model = MultiTemplateModel(intercept, of_spread, of_number, RELATIVE_OFFSET, deviation)
    if not all(one.radii_mm for one in samples):
        return model
    people = np.array([one.person for one in samples])
    stated = np.array([model.radii_mm(one.radii_mm, one.expected_mm, one.spread_mm, one.number) for one in samples])
    ratios = np.array([[one.error_mm] for one in samples]) / stated
    factors = [
        conformal_quantiles(column, weights, people, (share,))[0]
        for column, share in zip(ratios.T, SHARES, strict=True)
    ]
    return replace(model, radius_factors=tuple(map(float, factors)))


def fit_without_each(folds: Sequence[Fold], fit: Callable[[list[Fold]], Model]) -> list[Model]:
    """For each fold the model that is fitted to all other folds: folds are of different people."""
    return [fit([other for number, other in enumerate(folds) if number != left_out]) for left_out in range(len(folds))]
