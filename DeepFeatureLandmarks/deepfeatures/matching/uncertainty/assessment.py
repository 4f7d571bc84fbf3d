"""How well a model of errors predicts, on people or sets of samples that took no part in its fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from deepfeatures.matching.uncertainty.calibration import ConsensusSample
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, TOLERANCE, ErrorModel
from deepfeatures.matching.uncertainty.multi_template_model import SHARES, MultiTemplateModel
from deepfeatures.matching.uncertainty.samples import MatchSamples

RELIABILITY_GROUPS = 5  # of rising probability, in which stated and true shares are compared
SET_ASIDE = 0.2  # share of landmarks that a reviewer looks at first
SURE = 0.8  # probability that people rely on
WRONG_MM = 10.0
WRONG = 0.05  # of the template's size: an error that is wrong by any measure


@dataclass(frozen=True, eq=False)
class Predictions:
    """True errors, and what a model says of them; an entry a landmark.

    Args:
        errors_mm: Distances from the truth.
        expected_mm: Expected errors.
        probabilities: To be within `CLOSE_MM`.
        within_tolerance: Probabilities to be within `TOLERANCE` of the template's size.
        sizes_mm: Of the template.
        radii_50_mm, radii_90_mm: Stated.
    """

    errors_mm: np.ndarray
    expected_mm: np.ndarray
    probabilities: np.ndarray
    within_tolerance: np.ndarray
    sizes_mm: np.ndarray
    radii_50_mm: np.ndarray
    radii_90_mm: np.ndarray


@dataclass(frozen=True)
class Assessment:
    """How well a model predicts.

    Args:
        rank_correlation: Of expected and true error, after Spearman.
        reduction: Share by which the mean error falls without the fifth of largest expected error.
        largest_reduction: The same without the fifth of largest true error: no model can do better.
        reliability: In groups of rising probability, the mean probability stated and the share that is within
            `CLOSE_MM`.
        coverage_50, coverage_90: Shares of true places within the radii that are stated.
        radius_ratio: Median radius of 90 %, of the best constant radius with the same coverage.
        sure_and_wrong: Share that is more than `WRONG_MM` off though `SURE` to be within `CLOSE_MM`.
        sure_and_wrong_by_size: Share that is more than `WRONG` of the template's size off though `SURE` to be within
            `TOLERANCE` of it.
    """

    rank_correlation: float
    reduction: float
    largest_reduction: float
    reliability: tuple[tuple[float, float], ...]
    coverage_50: float
    coverage_90: float
    radius_ratio: float
    sure_and_wrong: float
    sure_and_wrong_by_size: float


def predict_matches(model: ErrorModel, samples: MatchSamples) -> Predictions:
    """What a model says of matches."""
    rows, spacing = samples.rows, samples.spacings_mm
    close, tolerance = (rows.new_tensor(mm / spacing) for mm in (CLOSE_MM, TOLERANCE * samples.sizes_mm))
    radii = [model.radii_mm(rows, 1.0, share).numpy() * spacing for share in SHARES]
    return Predictions(
        samples.errors_mm,
        model.errors_mm(rows, 1.0).numpy() * spacing,
        model.probabilities(rows, 1.0, close).numpy(),
        model.probabilities(rows, 1.0, tolerance).numpy(),
        samples.sizes_mm,
        *radii,
    )


def predict_consensus(model: MultiTemplateModel, samples: Sequence[ConsensusSample]) -> Predictions:
    """What a model says of what several templates agree on; the templates' sizes are not known."""
    known = [(one.expected_mm, one.spread_mm, one.number) for one in samples]
    unknown = np.full(len(samples), np.nan)
    radii = [model.radii_mm(one.radii_mm, *facts) for one, facts in zip(samples, known, strict=True)]
    return Predictions(
        np.array([one.error_mm for one in samples]),
        np.array([model.error_mm(*facts) for facts in known]),
        np.array([model.probability(*facts) for facts in known]),
        unknown,
        unknown,
        *np.array(radii).T,
    )


def predict_left_out(
    sets: Sequence[MatchSamples],
    fit: Callable[[list[MatchSamples]], ErrorModel],
    folds: Callable[[Sequence[MatchSamples]], Iterable[tuple[list[MatchSamples], list[np.ndarray]]]],
) -> dict[str, Predictions]:
    """Of each set, by its name, by models that did not know what they judge.

    Args:
        sets: Of different names.
        fit: Such as `fit_error_model`.
        folds: `without_people`, or `without_sets`.
    """
    parts: dict[str, list[Predictions]] = {one.name: [] for one in sets}
    for kept, judged in folds(sets):
        model = fit(kept)
        for one, mask in zip(sets, judged, strict=True):
            if mask.any():
                parts[one.name].append(predict_matches(model, one.take(mask)))
    return {name: joined_predictions(found) for name, found in parts.items() if found}


def joined_predictions(parts: Sequence[Predictions]) -> Predictions:
    """The entries of all, one after the other."""
    columns = (column.name for column in fields(Predictions))
    return Predictions(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


def assess(predictions: Predictions) -> Assessment:
    """Compare predictions with the truth; there must be landmarks of different error."""
    errors, expected, size = predictions.errors_mm, predictions.expected_mm, predictions.sizes_mm
    groups = np.array_split(np.argsort(predictions.probabilities), RELIABILITY_GROUPS)
    coverage = float((errors <= predictions.radii_90_mm).mean())
    return Assessment(
        rank_correlation(expected, errors),
        _reduction(errors, expected),
        _reduction(errors, errors),
        tuple((predictions.probabilities[one].mean(), (errors[one] <= CLOSE_MM).mean()) for one in groups),
        float((errors <= predictions.radii_50_mm).mean()),
        coverage,
        float(np.median(predictions.radii_90_mm) / np.quantile(errors, coverage)),
        float(((errors > WRONG_MM) & (predictions.probabilities >= SURE)).mean()),
        float(((errors > WRONG * size) & (predictions.within_tolerance >= SURE)).mean()),
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two columns; equal entries share the mean of their ranks."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(column: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(column, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _reduction(errors: np.ndarray, order: np.ndarray) -> float:
    """Share by which the mean error falls without the entries that are largest in another column."""
    kept = order <= np.quantile(order, 1 - SET_ASIDE)
    return float(1 - errors[kept].mean() / errors.mean())
