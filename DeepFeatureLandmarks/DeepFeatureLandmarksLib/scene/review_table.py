"""The rows of a review, read from an output node, and a person's decisions, written into it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes, review, run_history, tables, transform_observer
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from deepfeatures.io.score_description import describe

MOVED_VOXELS = 0.01  # a point this far from where it was placed has been moved by hand; less is rounding
CORRECTED = "corrected by hand"


def rows(output) -> list[ReviewRow]:
    """One row a control point, in their order."""
    transform_observer.update(output)
    target = output.GetNodeReference(run_history.TARGET)
    hasTarget = target is not None and target.GetImageData() is not None
    records, rejected = run_history.latest(run_history.readRuns(output)), run_history.readRejected(output)
    count = output.GetNumberOfControlPoints()
    positions = nodes.voxelPositions(output, target) if hasTarget else [None] * count
    return [
        _row(output, index, records.get(output.GetNthControlPointLabel(index)), positions[index], rejected)
        for index in range(count)
    ]


def runNotes(output, rows: Iterable[ReviewRow]) -> list[str]:
    """Notes of an output's rows, each once, that are not on how its volumes were read: those stand with the volumes."""
    volumes = (output.GetNodeReference(role) for role in (run_history.TEMPLATE, run_history.TARGET))
    ofVolumes = {
        note.of(volume.GetName()).text for volume in volumes if volume is not None for note in nodes.volumeNotes(volume)
    }
    told = dict.fromkeys(note for row in rows for note in row.notes)
    return [f"{note}." for note in told if note not in ofVolumes]


def accept(output, index: int) -> None:
    """Lock a point: it is right, or a person has moved it to where it is right, or it is rightly missing."""
    if rows(output)[index].status == "corrected":
        _describeAsCorrected(output, index)
    output.SetNthControlPointLocked(index, True)
    showRuns(output)


def correct(output, index: int, ras) -> None:
    """Move a point to `ras`, world mm, and lock it."""
    output.SetNthControlPointPositionWorld(index, *(float(value) for value in ras))
    _describeAsCorrected(output, index)
    output.SetNthControlPointLocked(index, True)
    showRuns(output)


def reject(output, index: int) -> None:
    """Take a point's position away, locked or not."""
    wasModifying = output.StartModify()
    output.SetNthControlPointLocked(index, False)
    output.SetNthControlPointPositionMissing(index)
    description = nodes.landmarkOfPoint(output, index).description
    output.SetNthControlPointDescription(index, run_history.withoutProvenance(description))
    output.EndModify(wasModifying)
    run_history.writeRejected(output, run_history.readRejected(output) | {output.GetNthControlPointLabel(index)})
    showRuns(output)


def showRuns(output) -> None:
    """Update the output's runs table, which people read, from its history."""
    history = run_history.readRuns(output)
    if history:
        statuses = {row.name: row.status for row in rows(output)}
        tables.fillRuns(tables.tableOf(output, run_history.TABLE, "runs"), history, statuses)


def _row(output, index: int, record, position, rejected: frozenset[str]) -> ReviewRow:
    landmark = nodes.landmarkOfPoint(output, index)
    run, point = record or (None, None)
    isPlaced = point is not None and point.position is not None
    moved = isPlaced and position is not None and not np.allclose(position, point.position, rtol=0, atol=MOVED_VOXELS)
    status = review.statusOf(
        isDefined=landmark.is_defined,
        locked=landmark.locked,
        isKnown=isPlaced,
        moved=moved,
        rejected=landmark.name in rejected,
    )
    notes = tuple(filter(None, landmark.note.split("; ")))
    if status not in ("proposed", "accepted"):
        reason = landmark.reason if status == "missing" else ""
        return ReviewRow(index, landmark.name, status, landmark.locked, reason=reason, notes=notes)
    return ReviewRow(
        index,
        landmark.name,
        status,
        landmark.locked,
        run.settings["network"],
        run.settings["layer"],
        run.settings["patch_size"],
        notes=notes,
        ambiguous=landmark.ambiguous,
        **landmark.scores,
    )


def _describeAsCorrected(output, index: int) -> None:
    """Leave out scores and ambiguity: they are of a place where the point no longer is. Notes on volumes stay."""
    landmark = nodes.landmarkOfPoint(output, index)
    own = run_history.withoutProvenance(landmark.description).removesuffix(CORRECTED).removesuffix(" | ")
    text = f"{own} | {CORRECTED}".removeprefix(" | ")
    corrected = replace(landmark, description=text, ambiguous=False, **dict.fromkeys(landmark.scores))
    output.SetNthControlPointDescription(index, describe(corrected))
