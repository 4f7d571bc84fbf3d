"""Fits the two error models to people whose landmarks are known, and tells how well they predict.

Both models are linear in logarithms, see `error_model` and `multi_template_model`. Each group of samples has the same
weight in all, however large it is: one group is, for example, one kind of anatomy. A model is checked on people who
took no part in its fit, see `fit_without_each`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, ErrorModel
from deepfeatures.matching.uncertainty.multi_template_model import MultiTemplateModel, relative

OFFSET = 0.3  # voxels, added to errors before their logarithm is taken
RIDGE = 0.1  # penalty on squared slopes of standardised features
RELATIVE_OFFSET = 0.15  # of the expected error, the same for several templates
RELIABILITY_GROUPS = 5  # of rising probability, in which stated and true shares are compared
SET_ASIDE = 0.2  # share of landmarks that a reviewer looks at first

Fold = TypeVar("Fold")
Model = TypeVar("Model")


@dataclass(frozen=True, eq=False)
class MatchSamples:
    """Landmarks that one template each has placed where the truth is known; lengths in voxels of the finest level.

    Args:
        evidence: As `covariates.covariates` gives them, shape `(N, len(covariates.NAMES))`.
        errors: Distances from the truth, shape `(N,)`.
    """

    evidence: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class ConsensusSample:
    """One landmark that several templates have placed where the truth is known; lengths in mm.

    Args:
        expected_mm: The median of the errors that the templates expect.
        spread_mm: Of the templates' places, see `MultiTemplateModel.error_mm`.
        number: Of templates that found it.
        error_mm: Distance of their consensus from the truth.
    """

    expected_mm: float
    spread_mm: float
    number: int
    error_mm: float


@dataclass(frozen=True, eq=False)
class Predictions:
    """True errors, and what a model says of them; an entry a landmark.

    Args:
        errors_mm: Distances from the truth.
        expected_mm: Expected errors.
        probabilities: To be within `CLOSE_MM`.
    """

    errors_mm: np.ndarray
    expected_mm: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Assessment:
    """How well a model predicts.

    Args:
        rank_correlation: Of expected and true error, after Spearman.
        reduction: Share by which the mean error falls without the fifth of largest expected error.
        largest_reduction: The same without the fifth of largest true error: no model can do better.
        reliability: In groups of rising probability, the mean probability stated and the share that is within
            `CLOSE_MM`.
    """

    rank_correlation: float
    reduction: float
    largest_reduction: float
    reliability: tuple[tuple[float, float], ...]


def fit_error_model(groups: Sequence[MatchSamples]) -> ErrorModel:
    """Ridge regression of the logarithm of the error; each group has the same weight."""
    features = np.concatenate([group.evidence for group in groups])
    logarithms = np.log(np.concatenate([group.errors for group in groups]) + OFFSET)
    weights = _equal_weights([len(group.errors) for group in groups])
    means = weights @ features
    scales = np.sqrt(weights @ (features - means) ** 2)
    design = (features - means) / scales
    intercept = weights @ logarithms
    weighted = (design * weights[:, None]).T
    slopes = np.linalg.solve(weighted @ design + RIDGE * np.eye(features.shape[1]), weighted @ (logarithms - intercept))
    deviation = math.sqrt(weights @ (logarithms - intercept - design @ slopes) ** 2)
    return ErrorModel(
        float(intercept), tuple((slopes / scales).tolist()), tuple(means.tolist()), OFFSET, float(deviation)
    )


def fit_multi_template_model(groups: Sequence[Sequence[ConsensusSample]]) -> MultiTemplateModel:
    """Least squares of the logarithm of the relative error; each group that is not empty has the same weight."""
    groups = [group for group in groups if group]
    samples = [sample for group in groups for sample in group]
    roots = np.sqrt(_equal_weights([len(group) for group in groups]))
    design = np.array(
        [(1.0, *relative(one.expected_mm, one.spread_mm, one.number, RELATIVE_OFFSET)) for one in samples]
    )
    logarithms = np.log([one.error_mm / one.expected_mm + RELATIVE_OFFSET for one in samples])
    slopes = np.linalg.lstsq(design * roots[:, None], logarithms * roots, rcond=None)[0]
    deviation = float(np.sqrt(roots**2 @ (logarithms - design @ slopes) ** 2))
    intercept, of_spread, of_number = slopes.tolist()
    return MultiTemplateModel(intercept, of_spread, of_number, RELATIVE_OFFSET, deviation)


def _equal_weights(sizes: Sequence[int]) -> np.ndarray:
    """Weights of the entries of groups of these sizes, one after the other; they sum up to one."""
    weights = np.concatenate([np.full(size, 1 / size) for size in sizes])
    return weights / weights.sum()


def fit_without_each(folds: Sequence[Fold], fit: Callable[[list[Fold]], Model]) -> list[Model]:
    """For each fold the model that is fitted to all other folds: folds are of different people."""
    return [fit([other for number, other in enumerate(folds) if number != left_out]) for left_out in range(len(folds))]


def predict_matches(model: ErrorModel, samples: MatchSamples, spacing_mm: float) -> Predictions:
    """What a model says of matches; `spacing_mm` is that of the finest level."""
    features = torch.from_numpy(samples.evidence).float()
    expected, probabilities = model.errors_mm(features, spacing_mm), model.probabilities(features, spacing_mm)
    return Predictions(samples.errors * spacing_mm, expected.numpy(), probabilities.numpy())


def predict_consensus(model: MultiTemplateModel, samples: Sequence[ConsensusSample]) -> Predictions:
    """What a model says of what several templates agree on."""
    known = [(one.expected_mm, one.spread_mm, one.number) for one in samples]
    return Predictions(
        np.array([one.error_mm for one in samples]),
        np.array([model.error_mm(*one) for one in known]),
        np.array([model.probability(*one) for one in known]),
    )


def joined_predictions(parts: Sequence[Predictions]) -> Predictions:
    """The entries of all, one after the other."""
    columns = ("errors_mm", "expected_mm", "probabilities")
    return Predictions(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


def assess(predictions: Predictions) -> Assessment:
    """Compare predictions with the truth; there must be landmarks of different error."""
    errors, expected = predictions.errors_mm, predictions.expected_mm
    groups = np.array_split(np.argsort(predictions.probabilities), RELIABILITY_GROUPS)
    return Assessment(
        rank_correlation(expected, errors),
        _reduction(errors, expected),
        _reduction(errors, errors),
        tuple((predictions.probabilities[one].mean(), (errors[one] <= CLOSE_MM).mean()) for one in groups),
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
