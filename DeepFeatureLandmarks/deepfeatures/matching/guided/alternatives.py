"""Alternatives: other ways in which a template fits a target, where its anatomy repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepfeatures.matching.guided.acceptance import LEAST_AMBIGUOUS, OtherPlaces
from deepfeatures.matching.guided.hypotheses import Hypothesis
from deepfeatures.matching.guided.registration import PointRegistration
from deepfeatures.matching.pose.estimation import Pose

DIRECTIONS = (("left", "right"), ("back", "front"), ("head", "feet"))  # along x, y, z of LPS, and against them


@dataclass(frozen=True, eq=False)
class Fit:
    """One way in which the template fits the target.

    Args:
        pose: From which the landmarks were registered.
        found: What is known of them.
        places: Where they lie, LPS mm, `(N, 3)`.
        probability: That this is the right way.
    """

    pose: Pose
    found: PointRegistration
    places: np.ndarray
    probability: float = 1.0


def fits(start: Fit, hypotheses: Sequence[Hypothesis], register: Callable[[Pose], Fit]) -> tuple[Fit, ...]:
    """Those ways that are likely enough to be told, the most likely first.

    Args:
        start: Registered from where the hypotheses start.
        hypotheses: The most likely first.
        register: Finds the landmarks from a pose.
    """
    likely = [one for one in hypotheses if one.probability >= LEAST_AMBIGUOUS]
    total = sum(one.probability for one in likely)
    return tuple(
        replace(start if one.steps == 0 else register(one.pose), probability=one.probability / total) for one in likely
    )


def other_places(ways: Sequence[Fit], index: int) -> list[OtherPlaces]:
    """Where the landmarks lie in all ways but one."""
    return [OtherPlaces(way.probability, way.found.positions) for way in ways if way is not ways[index]]


def difference_text(positions: np.ndarray, others: np.ndarray) -> str:
    """How places differ from other places, both LPS mm `(N, 3)`: `"33 mm towards the head"`."""
    shift = np.median(others - positions, axis=0)
    axis = int(np.abs(shift).argmax())
    return f"{np.linalg.norm(shift):.0f} mm towards the {DIRECTIONS[axis][int(shift[axis] < 0)]}"
