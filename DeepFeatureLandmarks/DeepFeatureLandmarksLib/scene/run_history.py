"""The history of an output node, kept in the scene: what each run placed, and what had been there before.

It is JSON in an attribute of the markups node, which scenes keep exactly. A table node shows the same to people, but
its file would round the numbers. Positions are voxel indices of the target, so that they stay true when it is moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepfeatures.data.landmark_scores import FORMER_NAMES

ATTRIBUTE = "DeepFeatureLandmarks.runs"
REJECTED = "DeepFeatureLandmarks.rejected"
TEMPLATE, LANDMARKS, TARGET, TABLE = (
    f"DeepFeatureLandmarks.{role}" for role in ("templateVolume", "templateLandmarks", "targetVolume", "runsTable")
)
FORMER_KEYS = {"place": "position", "before": "previous"}  # of scenes saved by version 0.1
PLACED_BY = " | placed by "  # between what a person wrote of a landmark and what placed it

Position = tuple[float, float, float]


@dataclass(frozen=True)
class PointState:
    """A point as a run found it.

    Args:
        status: Of the control point, as a number of MRML.
        position: (i, j, k) in the target, `None` where it had none.
        description: Its text.
        rejected: Whether a person had rejected it.
    """

    status: int
    position: Position | None
    description: str
    rejected: bool = False


@dataclass(frozen=True)
class PointRecord:
    """What a run did to one point.

    Args:
        name: Its label.
        position: (i, j, k) in the target, `None` where it was not found.
        previous: Its state before; `None` where the run made the point.
        scores: By name, those that are known, see `deepfeatures.data.landmark_scores`.
    """

    name: str
    position: Position | None
    previous: PointState | None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HypothesisPoint:
    """A point as one hypothesis places it.

    Args:
        name: Its label.
        position: (i, j, k) in the target, `None` where it was not found.
        description: Its text with its scores, without what placed it.
    """

    name: str
    position: Position | None
    description: str


@dataclass(frozen=True)
class Hypothesis:
    """A place in which all points of a run may lie.

    Args:
        text: How it differs from where the run placed them, one phrase; empty for that place itself.
        probability: That it is the right one, 0 to 1.
        points: All points of the run.
    """

    text: str
    probability: float
    points: tuple[HypothesisPoint, ...]


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Args:
        number: From 1.
        time: ISO 8601, with the offset from UTC.
        settings: Of the matcher: `network`, `layer`, `patch_size`, `search` and the others.
        versions: Package name to version.
        template: Name of the template volume; `landmarks` and `target` likewise.
        points: What the run did.
        reverted: Whether it has been reverted.
        kind: `"place"`, `"placeAgain"`, or `"alternative"`: a person took another hypothesis.
        hypotheses: Places in which all points may lie after it, the first being that of the run; empty where there is
            only one.
        shown: Index of the hypothesis in which the points are after it.
    """

    number: int
    time: str
    settings: dict
    versions: dict[str, str]
    template: str
    landmarks: str
    target: str
    points: tuple[PointRecord, ...]
    reverted: bool = False
    kind: str = "place"
    hypotheses: tuple[Hypothesis, ...] = ()
    shown: int = 0

    @property
    def taken(self) -> str:
        """The hypothesis that a person took instead of the first, in words; else empty."""
        return self.hypotheses[self.shown].text if self.shown else ""

    @property
    def provenance(self) -> str:
        """What placed the points, for their descriptions."""
        chosen, versions = self.settings, self.versions
        named = [f"{name} {versions[name]}" for name in ("deepfeatures", "torch") if name in versions]
        settings = f"{chosen['network']} {chosen['layer']}, patch {chosen['patch_size']}, {chosen['search']} search"
        learnt = [f"protocol {Path(chosen['protocol']).name}"] if chosen.get("protocol") else []
        taken = [f"other place taken by a person ({self.taken})"] if self.taken else []
        return ", ".join([settings, *learnt, *named, *taken])

    def asDict(self) -> dict:
        """For people and scripts: see `DeepFeatureLandmarksLogic.history`."""
        return {
            "number": self.number,
            "time": self.time,
            "network": self.settings["network"],
            "layer": self.settings["layer"],
            "patchSize": self.settings["patch_size"],
            "search": self.settings["search"],
            "settings": self.settings,
            "versions": self.versions,
            "template": self.template,
            "target": self.target,
            "names": tuple(point.name for point in self.points),
            "reverted": self.reverted,
            "taken": self.taken,
        }


def readRuns(output) -> tuple[RunRecord, ...]:
    """The history of a markups node, the oldest run first."""
    return _parsed(output.GetAttribute(ATTRIBUTE) or "[]")


def writeRuns(output, runs: Iterable[RunRecord]) -> None:
    output.SetAttribute(ATTRIBUTE, json.dumps([asdict(run) for run in runs], separators=(",", ":")))


def readRejected(output) -> frozenset[str]:
    """Names of the points that a person has rejected and no run has proposed again."""
    return frozenset(json.loads(output.GetAttribute(REJECTED) or "[]"))


def writeRejected(output, names: Iterable[str]) -> None:
    output.SetAttribute(REJECTED, json.dumps(sorted(names)))


def latest(runs: Iterable[RunRecord]) -> dict[str, tuple[RunRecord, PointRecord]]:
    """By name, the last run that changed the point and was not reverted, and what it did."""
    return {point.name: (run, point) for run in runs if not run.reverted for point in run.points}


def withProvenance(description: str, run: RunRecord) -> str:
    """What a person wrote of a landmark, and what placed it here, instead of what had placed it elsewhere."""
    return f"{withoutProvenance(description)}{PLACED_BY}{run.provenance}".removeprefix(" | ")


def withoutProvenance(description: str) -> str:
    """What a person wrote of a landmark."""
    return f" | {description}".split(PLACED_BY, 1)[0].removeprefix(" | ")


def withLastReverted(runs: Iterable[RunRecord]) -> tuple[tuple[RunRecord, ...], RunRecord | None]:
    """The history with its last valid run marked as reverted, and that run; `None` where there is none."""
    runs = tuple(runs)
    last = next((run for run in reversed(runs) if not run.reverted), None)
    return tuple(replace(run, reverted=True) if run is last else run for run in runs), last


def resampled(runs: Iterable[RunRecord], oldToNew: np.ndarray) -> list[RunRecord]:
    """The history after the target was cropped or resampled.

    Args:
        runs: The history.
        oldToNew: From old voxel indices to new ones, `(4, 4)`.
    """

    def moved(known: PointRecord | PointState | HypothesisPoint | None):
        if known is None or known.position is None:
            return known
        return replace(known, position=tuple((oldToNew @ (*known.position, 1.0))[:3].tolist()))

    def point(known: PointRecord) -> PointRecord:
        return replace(moved(known), previous=moved(known.previous))

    def hypothesis(known: Hypothesis) -> Hypothesis:
        return replace(known, points=tuple(map(moved, known.points)))

    return [
        replace(run, points=tuple(map(point, run.points)), hypotheses=tuple(map(hypothesis, run.hypotheses)))
        for run in runs
    ]


@lru_cache(maxsize=8)  # a review asks again and again while nothing changes
def _parsed(text: str) -> tuple[RunRecord, ...]:
    return tuple(map(_runRecord, json.loads(text)))


def _runRecord(message: Mapping) -> RunRecord:
    points, hypotheses = map(_pointRecord, message["points"]), map(_hypothesis, message.get("hypotheses", ()))
    return RunRecord(**{**message, "points": tuple(points), "hypotheses": tuple(hypotheses)})


def _hypothesis(message: Mapping) -> Hypothesis:
    points = (HypothesisPoint(**{**point, "position": _position(point["position"])}) for point in message["points"])
    return Hypothesis(message["text"], message["probability"], tuple(points))


def _pointRecord(message: Mapping) -> PointRecord:
    message = _withNewNames(message)
    previous = message["previous"]
    return PointRecord(
        message["name"],
        _position(message["position"]),
        None if previous is None else PointState(**_pointState(_withNewNames(previous))),
        {FORMER_NAMES.get(name, name): value for name, value in message["scores"].items()},
    )


def _pointState(message: Mapping) -> dict:
    return {**message, "position": _position(message["position"])}


def _withNewNames(message: Mapping) -> dict:
    return {FORMER_KEYS.get(name, name): value for name, value in message.items()}


def _position(values: list[float] | None) -> Position | None:
    return None if values is None else tuple(values)
