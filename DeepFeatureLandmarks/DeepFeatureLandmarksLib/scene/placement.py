"""Writes found landmarks into the scene, and reverts them: the points, their history, and the runs table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from DeepFeatureLandmarksLib.scene import hypotheses, nodes, review_table, run_history, transform_observer
from DeepFeatureLandmarksLib.scene.hypotheses import Ambiguity
from DeepFeatureLandmarksLib.scene.place_request import NAMES_SHOWN, PlaceRequest, require, roomMessage
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.run_history import PointRecord, PointState, RunRecord
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.missing_reason import missing_text
from deepfeatures.data.notes import Note
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import AlternativePlacement

# By name, of the points that a run may move; `None` where it makes the point.
PreviousStates = Mapping[str, PointState | None]


def writeRun(
    scene,
    request: PlaceRequest,
    found: LandmarkSet,
    report: dict,
    kind: str,
    alternatives: Sequence[AlternativePlacement] = (),
) -> Run:
    """Write found landmarks into the output node, or a new one; points that a person has reviewed stay.

    Args:
        scene: vtkMRMLScene.
        request: What was asked for.
        found: World LPS.
        report: The matcher's, with `settings` and `versions`.
        kind: See `Run`.
        alternatives: Other places in which all of them may lie.

    Raises:
        InputError: The output cannot take the points; nothing is placed then.
    """
    output = request.output if request.output is not None else _newOutput(scene, request)
    require(roomMessage(output, found))
    transform_observer.attachToTarget(output, request.targetVolume)
    known = hypotheses.ambiguityOf(output)
    if kind == "placeAgain" and known is not None:
        found = hypotheses.inShownPlace(found, alternatives, known, request.targetVolume)
    record = _withHypotheses(_newRecord(request, report, kind), known, request.targetVolume, found, alternatives)
    run = _apply(
        output, request.targetVolume, found, record, [Note.from_json(note) for note in report.get("notes", ())]
    )
    output.SetNodeReferenceID(run_history.TEMPLATE, request.templateVolume.GetID())
    output.SetNodeReferenceID(run_history.LANDMARKS, request.templateLandmarks.GetID())
    return replace(run, report=report)


def takeHypothesis(output, number: int) -> Run:
    """Move all points of an output to another place in which they may lie; points that a person has reviewed stay.

    Args:
        output: vtkMRMLMarkupsFiducialNode.
        number: Index of a hypothesis, see `hypotheses.ambiguityOf`.

    Raises:
        InputError: The target is gone.
    """
    target = _targetOf(output)
    transform_observer.update(output)
    valid = [run for run in run_history.readRuns(output) if not run.reverted]
    known = valid[-1].hypotheses
    origin = next(run for run in reversed(valid) if run.kind == "place")
    record = replace(origin, time=_now(), kind="alternative", hypotheses=known, shown=number)
    return _apply(output, target, hypotheses.landmarksOf(known[number], target), record)


def revertLastRun(output) -> tuple[str, ...]:
    """Put the points back to where they were before the last run; returns the names of those that changed.

    Raises:
        InputError: The target is gone.
    """
    history, last = run_history.withLastReverted(run_history.readRuns(output))
    if last is None:
        return ()
    target = _targetOf(output)
    rows = {row.name: row for row in review_table.rows(output)}
    points = [point for point in last.points if point.name in rows and rows[point.name].mayBeMoved]
    wasModifying = output.StartModify()
    for point in points:
        if point.previous is not None:
            _restore(output, rows[point.name].index, target, point.previous)
    created = [rows[point.name].index for point in points if point.previous is None]
    for index in sorted(created, reverse=True):
        output.RemoveNthControlPoint(index)
    output.EndModify(wasModifying)
    run_history.writeRuns(output, history)
    wereRejected = {point.name for point in points if point.previous is not None and point.previous.rejected}
    changed = {point.name for point in points}
    run_history.writeRejected(output, (run_history.readRejected(output) - changed) | wereRejected)
    review_table.showRuns(output)
    return tuple(point.name for point in points)


def _newOutput(scene, request: PlaceRequest):
    name = f"{request.templateLandmarks.GetName()} in {request.targetVolume.GetName()}"
    return nodes.addPoints(scene, nodes.newPoints(scene, scene.GenerateUniqueName(name)))


def _apply(output, target, found: LandmarkSet, record: RunRecord, notes: Sequence[Note] = ()) -> Run:
    """Move points to where they were found, and note it as the next run; what people read of it."""
    history, rejected = run_history.readRuns(output), run_history.readRejected(output)
    previous = _previousStates(output, target, found, rejected)
    _writePoints(output, found, previous, record)
    points = _pointRecords(output, target, found, previous)
    record = replace(record, number=len(history) + 1, points=points)
    run_history.writeRuns(output, (*history, record))
    run_history.writeRejected(output, rejected - set(previous))
    review_table.showRuns(output)
    return Run(
        record.kind,
        record.number,
        output,
        placed=tuple(point.name for point in points if point.position is not None),
        missing=tuple(point.name for point in points if point.position is None),
        missingText=missing_text([one for one in found if one.name in previous], NAMES_SHOWN, notes),
        kept=tuple(landmark.name for landmark in found if landmark.name not in previous),
    )


def _withHypotheses(
    record: RunRecord, known: Ambiguity | None, target, found: LandmarkSet, alternatives: Sequence[AlternativePlacement]
) -> RunRecord:
    """The record with the places in which all points may lie after it; `known` are those before it."""
    if record.kind == "place":
        return replace(record, hypotheses=hypotheses.hypothesesOf(found, alternatives, target))
    if known is None:
        return record
    return replace(record, hypotheses=hypotheses.withPoints(known, found, target), shown=known.shown)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _newRecord(request: PlaceRequest, report: dict, kind: str) -> RunRecord:
    return RunRecord(
        number=0,
        time=_now(),
        settings=report["settings"],
        versions=report["versions"],
        template=request.templateVolume.GetName(),
        landmarks=request.templateLandmarks.GetName(),
        target=request.targetVolume.GetName(),
        points=(),
        kind=kind,
    )


def _previousStates(output, target, found: LandmarkSet, rejected: frozenset[str]) -> dict[str, PointState | None]:
    rows = {row.name: row for row in review_table.rows(output)}
    positions = nodes.voxelPositions(output, target)
    states: dict[str, PointState | None] = {}
    for name in (landmark.name for landmark in found):
        row = rows.get(name)
        if row is None:
            states[name] = None
        elif row.mayBeMoved:
            states[name] = PointState(
                output.GetNthControlPointPositionStatus(row.index),
                _finite(positions[row.index]),
                output.GetNthControlPointDescription(row.index),
                name in rejected,
            )
    return states


def _writePoints(output, found: LandmarkSet, previous: PreviousStates, record: RunRecord) -> None:
    indices = _indices(output)
    wasModifying = output.StartModify()
    for landmark in found:
        if landmark.name in previous:
            description = run_history.withProvenance(landmark.description, record)
            described = replace(landmark, description=description, locked=False)
            nodes.putLandmark(described, output, indices.get(landmark.name))
    output.EndModify(wasModifying)


def _pointRecords(output, target, found: LandmarkSet, previous: PreviousStates) -> tuple[PointRecord, ...]:
    """What a run did, read back from the points as they now are in the scene."""
    positions, indices = nodes.voxelPositions(output, target), _indices(output)
    return tuple(
        PointRecord(landmark.name, _finite(positions[indices[landmark.name]]), previous[landmark.name], landmark.scores)
        for landmark in found
        if landmark.name in previous
    )


def _restore(output, index: int, target, state: PointState) -> None:
    output.SetNthControlPointDescription(index, state.description)
    if state.position is not None:
        nodes.setVoxelPosition(output, index, target, state.position)
    elif state.status == nodes.MISSING:
        output.SetNthControlPointPositionMissing(index)
    else:
        output.UnsetNthControlPointPosition(index)


def _targetOf(output):
    target = output.GetNodeReference(run_history.TARGET)
    if target is None or target.GetImageData() is None:
        raise InputError(f"The volume in which {output.GetName()} was placed is gone; load it again first.")
    return target


def _indices(output) -> dict[str, int]:
    """Of the control points, by name."""
    return {output.GetNthControlPointLabel(index): index for index in range(output.GetNumberOfControlPoints())}


def _finite(position: np.ndarray) -> run_history.Position | None:
    return tuple(position.tolist()) if np.isfinite(position).all() else None
