"""Table nodes for people: what the runs of an output did, and the errors of its points."""

from __future__ import annotations

import math
from collections.abc import Iterable

import vtk

from DeepFeatureLandmarksLib.scene.point_errors import COLUMNS, PointError, summary
from DeepFeatureLandmarksLib.scene.run_history import PointRecord, RunRecord, latest
from deepfeatures.data.landmark_scores import SCORES

ERRORS_TABLE = "DeepFeatureLandmarks.errorsTable"  # reference of an output
SETTINGS_SHOWN = ("network", "layer", "patch_size", "search", "seed", "precision")


def tableOf(markups, role: str, word: str):
    """The table node that a markups node references under `role`, or a new one, `"<markups> <word>"`."""
    table = markups.GetNodeReference(role)
    if table is None:
        table = markups.GetScene().AddNewNodeByClass("vtkMRMLTableNode", f"{markups.GetName()} {word}")
        markups.SetNodeReferenceID(role, table.GetID())
    return table


def fillRuns(table, runs: Iterable[RunRecord], statuses: dict[str, str]) -> None:
    """Show the history, one row a run and point; `statuses` are those of the points today."""
    runs = tuple(runs)
    last = latest(runs)
    rows = [(run, point) for run in runs for point in run.points]
    columns: dict[str, list] = {
        "Run": [run.number for run, _ in rows],
        "Landmark": [point.name for _, point in rows],
        **{score.heading: [point.scores.get(score.name, math.nan) for _, point in rows] for score in SCORES},
        "Status": [_statusText(run, point, last, statuses) for run, point in rows],
        "Other place taken": [run.taken for run, _ in rows],
        "Time": [run.time for run, _ in rows],
        **{_title(name): [str(run.settings.get(name, "")) for run, _ in rows] for name in SETTINGS_SHOWN},
        "Versions": [", ".join(f"{name} {number}" for name, number in run.versions.items()) for run, _ in rows],
        "Template": [run.template for run, _ in rows],
        "Target": [run.target for run, _ in rows],
    }
    fillColumns(table, columns)


def fillErrors(table, errors: list[PointError]) -> None:
    """Show the errors of placed points, their summary as the table's description."""
    known = [column for column in COLUMNS if any(getattr(error, column.name) is not None for error in errors)]
    columns = {column.heading: [_number(getattr(error, column.name)) for error in errors] for column in known}
    fillColumns(table, {"Landmark": [error.name for error in errors], **columns})
    table.SetDescription(summary(errors))


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


def _statusText(run: RunRecord, point: PointRecord, last: dict, statuses: dict[str, str]) -> str:
    if run.reverted:
        return "reverted"
    return statuses.get(point.name, "removed") if last[point.name][0] is run else "placed again"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
