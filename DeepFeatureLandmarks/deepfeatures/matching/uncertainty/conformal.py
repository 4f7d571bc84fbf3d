"""Conformal quantiles: bounds that a new person's residuals keep in at least the share of cases that is stated.

A person's landmarks are alike, so the unit that counts is the person (hierarchical conformal prediction: Lee, Barber
and Willett 2023). To the residuals of the people known, those of one more are added, as large as can be. For K people
of equal weight, the bound at share q is the quantile at `(K + 1) q / K`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch

from deepfeatures.matching.uncertainty.predictive_distribution import (
    LEVELS,
    POSITIONS,
    PredictiveDistribution,
    Split,
    group_numbers,
)

FEWEST_PEOPLE, FEWEST_POINTS = 5, 60  # of a group; with fewer it has the quantiles of a larger one
LEAST_STEP = 1e-3  # between quantiles, so that each residual has one probability


@dataclass(frozen=True, eq=False)
class Residuals:
    """Standardised residuals of matches that took no part in the fit; a row a match.

    Args:
        values, weights: Shape `(N,)`.
        people: Names, shape `(N,)`.
        evidence: Shape `(N, F)`.
        distances: From the calibrated range, shape `(N,)`.
    """

    values: np.ndarray
    weights: np.ndarray
    people: np.ndarray
    evidence: np.ndarray
    distances: np.ndarray

    def take(self, chosen: np.ndarray) -> Residuals:
        """The rows that are chosen, by a mask `(N,)`."""
        return Residuals(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def __add__(self, other: Residuals) -> Residuals:
        columns = [column.name for column in fields(self)]
        return Residuals(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in columns))


def conformal_quantiles(
    values: np.ndarray, weights: np.ndarray, people: np.ndarray, shares: tuple[float, ...]
) -> np.ndarray:
    """Bounds for these shares, rising; where so few people cannot tell, the largest value."""
    order = np.argsort(values, kind="stable")
    of_people = np.bincount(np.unique(people, return_inverse=True)[1], weights)
    total, one_more = of_people.sum(), (of_people**2).sum() / of_people.sum()
    needed = np.array(shares) * (total + one_more)
    places = np.searchsorted(np.cumsum(weights[order]), needed - 1e-9 * total)
    return values[order][places.clip(max=len(values) - 1)]


def conformal_distribution(residuals: Residuals, splits: tuple[Split, ...]) -> PredictiveDistribution:
    """Quantiles of each group; a group of few people has those of the groups that one split fewer gives.

    Farther outside the calibrated range no quantile is smaller than nearer to it.
    """
    numbers = group_numbers(torch.from_numpy(residuals.evidence), torch.from_numpy(residuals.distances), splits).numpy()
    rows: list[np.ndarray] = []
    for half in range(2 ** len(splits)):
        for position in range(POSITIONS):
            group = next((x for x in _chain(numbers, position, half, len(splits)) if _is_enough(residuals, x)), None)
            if group is None and position == 0:
                group = np.full(len(numbers), True)
            nearer = rows[-1] if position else np.full(len(LEVELS), -np.inf)
            own = nearer if group is None else _of_group(residuals.take(group))
            rows.append(np.maximum(own, nearer))
    return PredictiveDistribution(splits, rising(rows))


def rising(rows: list[np.ndarray]) -> tuple[tuple[float, ...], ...]:
    """The same quantiles, each larger than the one before."""
    steps = LEAST_STEP * np.arange(len(LEVELS))
    return tuple(tuple((row + steps).tolist()) for row in rows)


def _chain(numbers: np.ndarray, position: int, half: int, splits: int) -> Iterator[np.ndarray]:
    """Masks of the group and of those that contain it, the smallest first, all of the same position."""
    for kept in range(splits, -1, -1):
        same = (numbers // POSITIONS) % 2**kept == half % 2**kept
        yield same & (numbers % POSITIONS == position)


def _is_enough(residuals: Residuals, group: np.ndarray) -> bool:
    return group.sum() >= FEWEST_POINTS and len(np.unique(residuals.people[group])) >= FEWEST_PEOPLE


def _of_group(group: Residuals) -> np.ndarray:
    return conformal_quantiles(group.values, group.weights, group.people, LEVELS)
