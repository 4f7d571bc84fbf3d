"""The error model refitted to one's own annotated scans: they are placed in one another, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfeatures.data.geometry import mean_edge_mm
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.evaluation.cases import Case
from deepfeatures.io.image_names import person_of
from deepfeatures.matching.matcher import Matcher
from deepfeatures.matching.result import MatchResult
from deepfeatures.matching.uncertainty.assessment import Predictions, predict_left_out, predict_matches
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.matching.uncertainty.recalibration import FEWEST_PEOPLE, recalibrated
from deepfeatures.matching.uncertainty.samples import MatchSamples, joined, without_people

MOST_PAIRS = 40  # so that it takes minutes
MOST_TEMPLATES = 8  # a template costs more than a target


@dataclass(frozen=True, eq=False)
class Recalibration:
    """A refitted model, and how well it and the former one predict.

    Args:
        model: Refitted to all.
        samples: What it was refitted to.
        before: What the former model says of the samples.
        after: What models say that were refitted without the people of each.
    """

    model: ErrorModel
    samples: MatchSamples
    before: Predictions
    after: Predictions

    def facts(self) -> dict[str, Any]:
        """As JSON takes it: how many of what, and the figures before and after."""
        people = sorted(set(map(str, self.samples.targets)) | set(map(str, self.samples.templates)))
        return {
            "people": people,
            "landmarks": len(self.samples),
            "before": figures(self.before),
            "after": figures(self.after),
        }


def figures(predictions: Predictions) -> dict[str, float]:
    """What people compare, by name."""
    found = {
        "radius_50_holds": (predictions.errors_mm <= predictions.radii_50_mm).mean(),
        "radius_90_holds": (predictions.errors_mm <= predictions.radii_90_mm).mean(),
        "median_radius_90_mm": np.median(predictions.radii_90_mm),
        "mean_expected_error_mm": predictions.expected_mm.mean(),
        "mean_error_mm": predictions.errors_mm.mean(),
        "probability_within_3mm": predictions.probabilities.mean(),
        "share_within_3mm": (predictions.errors_mm <= 3).mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def check_people(cases: Sequence[Case], folder: object) -> None:
    """Raise `InputError` where there are too few people."""
    count = len({person_of(case.name) for case in cases})
    if count < FEWEST_PEOPLE:
        raise InputError(
            f"{folder} has annotated scans of {count} people; a calibration needs three people or more, so that each"
            " can be judged by the others."
        )


def choose_pairs(cases: Sequence[Case]) -> list[tuple[Case, Case]]:
    """Templates and targets of different people, a template's targets in a row; always the same of the same cases.

    Every scan is a target about as often, and at most `MOST_TEMPLATES` are templates.
    """
    templates = _spread(cases, MOST_TEMPLATES)
    targets = _spread(cases, MOST_PAIRS)
    pairs = []
    for number, target in enumerate(targets):
        turned = templates[number % len(templates) :] + templates[: number % len(templates)]
        others = [one for one in turned if person_of(one.name) != person_of(target.name)]
        pairs += [(template, target) for template in others[: MOST_PAIRS // len(targets)]]
    return sorted(pairs, key=lambda pair: (templates.index(pair[0]), targets.index(pair[1])))


def place_pairs(
    pairs: Sequence[tuple[Case, Case]],
    points: Mapping[str, LandmarkSet],
    matcher: Matcher,
    progress: Callable[[float], None] = lambda _: None,
) -> MatchSamples:
    """Landmarks that were found, and how far each is from where people put it.

    Args:
        pairs: Of templates and targets.
        points: Landmarks by the case's name; the same landmarks have the same names.
        matcher: Guided, and calibrated.
        progress: Called with the fraction done, from 0 to 1.

    Raises:
        InputError: A scan cannot be used, or no landmark was found.
    """
    parts: list[MatchSamples] = []
    read: dict[str, Any] = {}
    for number, (template, target) in enumerate(pairs):
        if template.name not in read:
            read = {template.name: template.read()[0]}
        volume = read[template.name]
        result = matcher.match(volume, points[template.name], target.read()[0])
        size = mean_edge_mm(volume.size, volume.spacing)
        parts.append(samples_of(result, points[target.name], size, person_of(template.name), person_of(target.name)))
        progress((number + 1) / len(pairs))
    if not any(map(len, parts)):
        raise InputError("No landmark of these scans was found in another; give scans of one kind of anatomy.")
    return joined(parts)


def samples_of(result: MatchResult, truth: LandmarkSet, size: float, template: str, target: str) -> MatchSamples:
    """The landmarks of one result that were found and whose true place is known."""
    known = {landmark.name: landmark.position for landmark in truth if landmark.is_defined}
    rows = [
        ([evidence[name] for name in NAMES], float(np.linalg.norm(np.subtract(found.position, known[found.name]))))
        for found, evidence in zip(result.landmarks, result.evidence, strict=False)
        if found.is_defined and found.name in known and evidence
    ]
    evidence = np.array([row for row, _ in rows], dtype=float).reshape(len(rows), len(NAMES))
    spacing, ones = result.spacing_mm or 1.0, np.ones(len(rows))
    errors = np.array([error for _, error in rows], dtype=float) / spacing
    people = (np.full(len(rows), name) for name in (template, target))
    return MatchSamples(evidence, errors, spacing * ones, size * ones, *people)


def recalibrate(model: ErrorModel, samples: MatchSamples) -> Recalibration:
    """Refit a model to samples, and judge it on people whom it did not know."""
    after = predict_left_out([samples], lambda kept: recalibrated(model, joined(kept)), without_people)
    return Recalibration(recalibrated(model, samples), samples, predict_matches(model, samples), after[samples.name])


def _spread(cases: Sequence[Case], most: int) -> list[Case]:
    """At most so many, spread over all."""
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int))
    return [cases[index] for index in chosen]
