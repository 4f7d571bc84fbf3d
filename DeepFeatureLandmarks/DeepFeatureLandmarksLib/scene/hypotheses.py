"""Other places in which all points of an output may lie: what people read of them, and the points themselves.

They are part of the history of the output, so that they are saved with the scene, and reverted with their run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes, run_history
from DeepFeatureLandmarksLib.scene.run_history import Hypothesis, HypothesisPoint
from deepfeatures.data.ambiguity import percent
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.score_description import describe, with_description
from deepfeatures.service.protocol import AlternativePlacement

FIRST = "as placed first"


@dataclass(frozen=True)
class Ambiguity:
    """The places in which all points of an output may lie.

    Args:
        hypotheses: Two or more; the first is that in which the points were placed.
        shown: Index of the one in which the points are.
    """

    hypotheses: tuple[Hypothesis, ...]
    shown: int

    @property
    def others(self) -> tuple[int, ...]:
        """Indices of those that are not shown."""
        return tuple(number for number in range(len(self.hypotheses)) if number != self.shown)

    def textOf(self, number: int) -> str:
        """Where a hypothesis places the points, one phrase: `"33 mm towards the head"`."""
        return self.hypotheses[number].text or FIRST

    @property
    def sentences(self) -> str:
        """Where the points may lie, and how likely each place is."""
        if self.shown:
            text = f"The other place was taken: {self.textOf(self.shown)}."
        else:
            text = f"The anatomy repeats: all points may lie {' or '.join(map(self.textOf, self.others))}."
        isOnlyOne = len(self.others) == 1 and not self.shown
        chances = [f"{percent(self.hypotheses[self.shown].probability)} as shown"]
        chances += [
            f"{percent(self.hypotheses[number].probability)} {'the other way' if isOnlyOne else self.textOf(number)}"
            for number in self.others
        ]
        return f"{text} Chance {', '.join(chances)}."


def ambiguityOf(output) -> Ambiguity | None:
    """That of an output's points as they are now; `None` where there is no other place."""
    last = next((run for run in reversed(run_history.readRuns(output)) if not run.reverted), None)
    return Ambiguity(last.hypotheses, last.shown) if last is not None and last.hypotheses else None


def hypothesesOf(found: LandmarkSet, alternatives: Sequence[AlternativePlacement], target) -> tuple[Hypothesis, ...]:
    """What a match has found, and its alternatives; nothing where there are none.

    Args:
        found: World LPS, as are the alternatives.
        alternatives: Of the match.
        target: Volume node.
    """
    if not alternatives:
        return ()
    first = AlternativePlacement(found, 1.0 - sum(one.probability for one in alternatives), "")
    return tuple(
        Hypothesis(one.text, one.probability, _points(one.landmarks, target)) for one in (first, *alternatives)
    )


def inShownPlace(
    found: LandmarkSet, alternatives: Sequence[AlternativePlacement], known: Ambiguity, target
) -> LandmarkSet:
    """Of what a match of few points has found and its alternatives, the one nearest to the place that is shown.

    Args:
        found: World LPS, as are the alternatives.
        alternatives: Of the match.
        known: Of all points of the output.
        target: Volume node.
    """
    shown = {one.name: one.position for one in landmarksOf(known.hypotheses[known.shown], target) if one.is_defined}

    def distance_mm(landmarks: LandmarkSet) -> float:
        known = [one for one in landmarks if one.is_defined and one.name in shown]
        return sum(math.dist(one.position, shown[one.name]) for one in known) if known else math.inf

    return min((found, *(one.landmarks for one in alternatives)), key=distance_mm)


def withPoints(known: Ambiguity, found: LandmarkSet, target) -> tuple[Hypothesis, ...]:
    """The hypotheses after some points were placed again; in the one that is shown these are where they were found."""
    shown, again = known.hypotheses[known.shown], {point.name: point for point in _points(found, target)}
    points = tuple(again.get(point.name, point) for point in shown.points)
    return tuple(replace(one, points=points) if one is shown else one for one in known.hypotheses)


def landmarksOf(hypothesis: Hypothesis, target) -> LandmarkSet:
    """The points of a hypothesis as they lie in a volume node now, world LPS."""
    node = nodes.newPoints(target.GetScene(), hypothesis.text or FIRST)
    for point in hypothesis.points:
        landmark = with_description(
            Landmark(point.name, None, "missing" if point.position is None else "undefined"), point.description
        )
        index = nodes.putLandmark(landmark, node)
        if point.position is not None:
            nodes.setVoxelPosition(node, index, target, point.position)
    return nodes.landmarkSetFromNode(node)


def _points(landmarks: LandmarkSet, target) -> tuple[HypothesisPoint, ...]:
    node = nodes.newPoints(target.GetScene(), landmarks.name)
    nodes.landmarksToNode(landmarks, node)
    return tuple(
        HypothesisPoint(landmark.name, tuple(ijk.tolist()) if np.isfinite(ijk).all() else None, describe(landmark))
        for landmark, ijk in zip(landmarks, nodes.voxelPositions(node, target), strict=True)
    )
