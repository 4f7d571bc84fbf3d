"""The history of an output node, kept in the scene: what each run placed, and what had been there before.

It lies as JSON in an attribute of the markups node, which scenes keep exactly; a table node shows the same to people
(a table file would round its numbers). Places are voxel positions of the target, so that they stay true when the target
is moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import vtk

from deepfeatures.data.scores import FORMER_NAMES, SCORES

ATTRIBUTE = "DeepFeatureLandmarks.runs"
REJECTED = "DeepFeatureLandmarks.rejected"
TEMPLATE, LANDMARKS, TARGET, TABLE = (
    f"DeepFeatureLandmarks.{role}" for role in ("templateVolume", "templateLandmarks", "targetVolume", "runsTable")
)
BY = " | placed by "  # between what a person wrote of a landmark and what placed it

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Before:
    """A point as a run found it.

    Args:
        status: Of the control point, as a number of MRML.
        place: (i, j, k) in the target, `None` where it had no position.
        description: Its text.
        rejected: Whether a person had rejected it.
    """

    status: int
    place: Place | None
    description: str
    rejected: bool = False


@dataclass(frozen=True)
class PointRecord:
    """What a run did to one point.

    Args:
        name: Its label.
        place: (i, j, k) in the target, `None` where it was not found.
        before: `None` where the run made the point.
        scores: By name, those that are known, see `deepfeatures.data.scores`.
    """

    name: str
    place: Place | None
    before: Before | None
    scores: dict[str, float] = field(default_factory=dict)


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
        reverted: Whether it has been taken back.
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

    @property
    def maker(self) -> str:
        """What placed the points, for their descriptions."""
        chosen, versions = self.settings, self.versions
        named = ", ".join(f"{name} {versions[name]}" for name in ("deepfeatures", "torch") if name in versions)
        return (
            f"{chosen['network']} {chosen['layer']}, patch {chosen['patch_size']}, {chosen['search']} search, {named}"
        )


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
    """By name, the last run that stands and touched the point, and what it did."""
    return {point.name: (run, point) for run in runs if not run.reverted for point in run.points}


def withMaker(description: str, run: RunRecord) -> str:
    """What a person wrote of a landmark, and what placed it here; what had placed it elsewhere is left out."""
    return f"{withoutMaker(description)}{BY}{run.maker}".removeprefix(" | ")


def withoutMaker(description: str) -> str:
    """What a person wrote of a landmark."""
    return f" | {description}".split(BY, 1)[0].removeprefix(" | ")


def fillTable(table, runs: Iterable[RunRecord], statuses: dict[str, str]) -> None:
    """Show the history in a table node, one row a run and point; `statuses` are those of the points today."""
    runs = tuple(runs)
    standing = latest(runs)
    rows = []
    for run in runs:
        for point in run.points:
            if run.reverted:
                status = "reverted"
            elif standing[point.name][0] is run:
                status = statuses.get(point.name, "removed")
            else:
                status = "placed again"
            rows.append((run, point, status))
    chosen = ("network", "layer", "patch_size", "search", "seed", "precision")
    texts = {
        "Landmark": [point.name for _, point, _ in rows],
        "Status": [status for *_, status in rows],
        "Time": [run.time for run, *_ in rows],
        **{_title(name): [str(run.settings.get(name, "")) for run, *_ in rows] for name in chosen},
        "Versions": [", ".join(f"{name} {number}" for name, number in run.versions.items()) for run, *_ in rows],
        "Template": [run.template for run, *_ in rows],
        "Target": [run.target for run, *_ in rows],
    }
    numbers = {"Run": [run.number for run, *_ in rows]}
    for score in SCORES:
        numbers[score.heading] = [point.scores.get(score.name, float("nan")) for _, point, _ in rows]
    fillColumns(table, {"Run": numbers.pop("Run"), "Landmark": texts.pop("Landmark"), **numbers, **texts})


def fillColumns(table, columns: dict[str, list]) -> None:
    """Replace the columns of a table node; numbers become numbers, everything else text on one line."""
    wasModifying = table.StartModify()
    table.RemoveAllColumns()
    for title, values in columns.items():
        isNumeric = all(isinstance(value, (int, float)) for value in values)
        column = vtk.vtkDoubleArray() if isNumeric else vtk.vtkStringArray()
        column.SetName(title)
        for value in values:
            # the table's own file breaks at tabs and line ends within a cell
            column.InsertNextValue(float(value) if isNumeric else " ".join(str(value).split()))
        table.AddColumn(column)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetUseFirstColumnAsRowHeader(False)
    table.EndModify(wasModifying)


def reverted(runs: Iterable[RunRecord]) -> tuple[tuple[RunRecord, ...], RunRecord | None]:
    """The history with its last standing run marked as taken back, and that run; `None` where none stands."""
    runs = tuple(runs)
    last = next((run for run in reversed(runs) if not run.reverted), None)
    return tuple(replace(run, reverted=True) if run is last else run for run in runs), last


def sampledAnew(runs: Iterable[RunRecord], change) -> list[RunRecord]:
    """The history in other voxels of the target.

    Args:
        runs: The history.
        change: From the voxels that were to those that are, `(4, 4)`.
    """

    def placed(known: PointRecord | Before | None):
        if known is None or known.place is None:
            return known
        return replace(known, place=tuple((change @ (*known.place, 1.0))[:3].tolist()))

    def point(known: PointRecord) -> PointRecord:
        return replace(placed(known), before=placed(known.before))

    return [replace(run, points=tuple(map(point, run.points))) for run in runs]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


@lru_cache(maxsize=8)  # a review asks again and again while nothing changes
def _parsed(text: str) -> tuple[RunRecord, ...]:
    return tuple(_run(message) for message in json.loads(text))


def _run(message: dict) -> RunRecord:
    points = []
    for point in message["points"]:
        before = point["before"]
        if before is not None:
            before = Before(**{**before, "place": _place(before["place"])})
        scores = {FORMER_NAMES.get(name, name): value for name, value in point["scores"].items()}
        points.append(PointRecord(**{**point, "place": _place(point["place"]), "before": before, "scores": scores}))
    return RunRecord(**{**message, "points": tuple(points)})


def _place(values: list[float] | None) -> Place | None:
    return None if values is None else tuple(values)
