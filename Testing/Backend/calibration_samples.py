"""Made samples of matches whose errors follow a known law, for the tests of calibration."""

from __future__ import annotations

import numpy as np

from deepfeatures.matching.uncertainty.calibration import OFFSET
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.samples import MatchSamples

SLOPES = np.linspace(-0.3, 0.4, len(NAMES))


def made_matches(
    count: int,
    seed: int,
    *,
    noise: float = 0.5,
    centre: float = 0.0,
    shift: float = 0.0,
    people: int = 20,
    heavy: bool = False,
    name: str = "",
    person: str = "",
) -> MatchSamples:
    """Landmarks whose errors follow `SLOPES`.

    Args:
        count, seed: Of the landmarks.
        noise: Its deviation.
        centre: Of the evidence.
        shift: Of the logarithm of the error.
        people: Who are templates and targets in turn.
        heavy: Whether the noise has the heavy tails of Student's t with three degrees of freedom.
        name: Of the set.
        person: Precedes the numbers of the people.
    """
    generator = np.random.default_rng(seed)
    evidence = generator.normal(centre, 1, (count, len(NAMES)))
    drawn = generator.standard_t(3, count) if heavy else generator.normal(0, 1, count)
    errors = np.exp(0.6 + shift + evidence @ SLOPES + noise * drawn) - OFFSET
    who = np.array([f"{person}{number:03d}" for number in range(people)])
    ones = np.ones(count)
    templates, targets = generator.integers(0, people, (2, count))
    return MatchSamples(evidence, errors.clip(0), ones, 100 * ones, who[templates], who[targets], name)
