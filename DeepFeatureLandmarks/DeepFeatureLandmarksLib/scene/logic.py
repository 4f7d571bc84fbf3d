"""The Logic behind the module and the web app: no Qt, no trame, no application; MRML from the calling thread only.

    logic = DeepFeatureLandmarksLogic(scene, WorkerClient())
    logic.onFinished = lambda run: ...
    logic.place(Placement(templateVolume, templateLandmarks, targetVolume))
    # from a QTimer or an asyncio task, about 20 times a second:
    logic.poll()

Whatever cannot work from the start raises `InputError`; what fails later arrives at `onError`. Both are one sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import vtk

from DeepFeatureLandmarksLib.scene import nodes, point_errors, review, run_history, transform_observer
from DeepFeatureLandmarksLib.scene.array_cache import ArrayCache
from DeepFeatureLandmarksLib.scene.point_errors import PointError
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import missing_text
from deepfeatures.errors import InputError
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import Event, PlaceSettings, VolumeArray

MOVED_VOXELS = 0.01  # a point this far from where it was placed has been moved by hand; less is rounding
NAMES_SHOWN = 3  # of what was not found, for one reason
MAP_PATCH = 32  # edge in voxels of the patch of activation maps where none is chosen, as in the paper's figure
MAPS_NODE, ERRORS_TABLE = "DeepFeatureLandmarks.activationMap", "DeepFeatureLandmarks.errorsTable"
BUSY = "Landmarks are being placed; wait until that is done, or cancel it."
SCENE_CLOSED = "The scene was closed while the worker was busy; nothing was placed."
CORRECTED = "corrected by hand"


@dataclass(frozen=True, eq=False)
class Placement:
    """What is to be placed where.

    Args:
        templateVolume: vtkMRMLScalarVolumeNode in which the landmarks lie.
        templateLandmarks: vtkMRMLMarkupsFiducialNode.
        targetVolume: vtkMRMLScalarVolumeNode in which to find them.
        output: vtkMRMLMarkupsFiducialNode for the result; `None` for a new one, `"<landmarks> in <target>"`.
        settings: See `PlaceSettings`; its defaults are the best measured.
    """

    templateVolume: Any
    templateLandmarks: Any
    targetVolume: Any
    output: Any = None
    settings: PlaceSettings = field(default_factory=PlaceSettings)


@dataclass(frozen=True, eq=False)
class ActivationMaps:
    """All channels of one layer around one landmark.

    Args:
        landmark: Its name.
        layer: The layer's own name.
        source: The patch as the network saw it.
        channels: One volume a channel, on the layer's own grid.
        complete: False where the patch is too small for the layer as the paper has it.
        volume: The volume node from which the patch was cut.
    """

    landmark: str
    layer: str
    source: VolumeArray
    channels: tuple[VolumeArray, ...]
    complete: bool
    volume: Any


@dataclass(frozen=True, eq=False)
class Run:
    """What `onFinished` is told.

    Args:
        kind: `"place"`, `"placeAgain"`, `"activations"`, `"distanceMap"` or `"catalog"`.
        number: Of the run of this output node, from 1; 0 where nothing was placed.
        node: The markups node that was filled, or the volume node of a distance map.
        placed: Names of points that were placed.
        missing: Names that were not found.
        missingText: A few of them, with the reasons.
        kept: Names that were left alone because a person had locked, moved or made the point.
        seconds: From the request to its result.
        report: The matcher's own report.
        maps: Of activations: all channels, for a mosaic and `activationMap`.
    """

    kind: str
    number: int = 0
    node: Any = None
    placed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    missingText: str = ""
    kept: tuple[str, ...] = ()
    seconds: float = 0.0
    report: dict = field(default_factory=dict)
    maps: ActivationMaps | None = None


@dataclass(frozen=True, eq=False)
class _Pending:
    """The request that is on its way.

    Args:
        request: Its number.
        kind: See `Run`.
        since: Monotonic seconds.
        placement: As given.
        apply: Turns the result into a `Run`, changing the scene.
        grid: Voxel index to world of the target as it was sent, `None` under a transform that is not linear.
        size: Its number of voxels along i, j and k.
    """

    request: int
    kind: str
    since: float
    placement: Placement
    apply: Callable[[_Pending, Event], Run]
    grid: np.ndarray | None = None
    size: tuple[int, ...] = ()

    def carried(self, landmarks: LandmarkSet) -> LandmarkSet:
        """Found landmarks, taken along with a target that was moved meanwhile, not with one that was cropped."""
        target = self.placement.targetVolume
        wasMoved = nodes.sizeOf(target) == self.size
        return nodes.carried(landmarks, self.grid, nodes.gridToWorld(target)) if wasMoved else landmarks

    @property
    def nodes(self) -> tuple:
        given = self.placement
        return tuple(
            node
            for node in (given.templateVolume, given.templateLandmarks, given.targetVolume, given.output)
            if node is not None
        )


class DeepFeatureLandmarksLogic:
    """See the module's docstring.

    Args:
        scene: vtkMRMLScene.
        client: A `WorkerClient`, or what behaves like one; the Logic does not close it.

    Attributes:
        onProgress: Called with `(fraction, text)`.
        onSettling: Called with a `LandmarkSet`, world LPS: where the landmarks lie so far. The scene is as it was.
        onFinished: Called with a `Run`.
        onError: Called with a sentence. A cancelled run ends here too, with "cancelled" in words.
        catalog: `None` until the worker has answered `requestCatalog`; then its `hello`: `versions` (name -> version),
            `devices` (names that can be chosen), `networks` (list of dicts: `name`, `summary`, `weights`, `licence`,
            `parameters`, `paper_number`, `default_layer`, `aliases`, `layers`: list of `name`, `channels`, `stride`,
            `receptive_field` in voxels, `available`), `best` (`network`, `layer`, `patch_size` of the defaults).
    """

    def __init__(self, scene, client: WorkerClient):
        self._scene, self._client = scene, client
        self.onProgress: Callable[[float, str], None] = lambda fraction, text: None
        self.onSettling: Callable[[LandmarkSet], None] = lambda landmarks: None
        self.onFinished: Callable[[Run], None] = lambda run: None
        self.onError: Callable[[str], None] = lambda sentence: None
        self.catalog: dict | None = None
        self._pending: _Pending | None = None
        self._arrays = ArrayCache()
        self._preparation: int | None = None  # the last request to read a pair ahead
        self._catalogRequest: int | None = None
        self._outputs: set[str] = set()  # node IDs
        self._observers = [
            scene.AddObserver(scene.StartCloseEvent, self._onSceneClosing),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeLeaving()),
            scene.AddObserver(scene.EndImportEvent, self._onSceneImported),
        ]
        self._onSceneImported()

    @property
    def isBusy(self) -> bool:
        """Whether landmarks or maps are on their way."""
        return self._pending is not None

    def poll(self) -> None:
        """Apply what the worker has sent to the scene. Call it often, from the thread that owns the scene."""
        for output in list(self._outputs):
            if (node := self._scene.GetNodeByID(output)) is not None:
                transform_observer.follow(node)
        for event in self._client.poll():
            if event.request == self._catalogRequest:
                self._takeCatalog(event)
            elif event.request == self._preparation:
                if self._pending is not None and event.kind == "progress":  # it waits for the preparation
                    self.onProgress(0.0, event.text)
            elif self._pending is not None and event.request == self._pending.request:
                self._take(event)

    def close(self) -> None:
        """Let go of the scene; a running request is cancelled."""
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        self._observers = []
        if self.isBusy:
            self._pending = None
            self._client.cancel()

    def requestCatalog(self) -> None:
        """Ask the worker for `catalog`; `onFinished` is called with a run of kind `"catalog"`."""
        self._catalogRequest = self._client.hello()

    def whyNot(self, placement: Placement) -> str:
        """Why `place` would refuse, in one sentence; empty where it would not."""
        if self.isBusy:
            return BUSY
        return self._wrongInput(placement) or self._wrongOutput(placement)

    def prepare(self, placement: Placement) -> None:
        """Let the worker read both volumes and find the pose ahead of the first `place`.

        The landmarks may come later. Says nothing when it is done, or fails.
        """
        volumes = placement.templateVolume, placement.targetVolume
        if self.isBusy or any(volume is None or volume.GetImageData() is None for volume in volumes):
            return
        with suppress(InputError):  # `place` will say it
            self._preparation = self._client.encode(*self._volumes(placement), placement.settings)

    def place(self, placement: Placement) -> None:
        """Place all landmarks; ends in `onFinished` or `onError`.

        Raises:
            InputError: As `whyNot` says.
        """
        self._require(self.whyNot(placement))
        self._startMatch("place", placement, _templateLandmarks(placement))

    def placeAgain(self, placement: Placement, name: str) -> None:
        """Place one landmark again, for example with other settings; ends in `onFinished` or `onError`.

        Raises:
            InputError: As `whyNot` says, or a person has locked, moved or made the point.
        """
        self._require(self.whyNot(placement))
        if placement.output is not None:
            for row in self.reviewRows(placement.output):
                if row.name == name and not row.isFree:
                    judgement = "corrected" if row.status == "corrected" else "accepted"
                    raise InputError(f"{name} was {judgement} by a person; reject it to have it placed again.")
        self._startMatch("placeAgain", placement, LandmarkSet((_namedLandmark(placement.templateLandmarks, name),)))

    def cancel(self) -> None:
        """End the running request within 1 s; the scene stays as it was. Ends in `onError`, at the next `poll`."""
        if self.isBusy:
            self._client.cancel()

    def revertLastRun(self, output) -> tuple[str, ...]:
        """Put the points back to where they were before the last run; returns the names of those that changed.

        Points that a person has locked or moved since then stay. Calling it again takes back the run before.
        """
        self._require(BUSY if self.isBusy else "")
        history, last = run_history.reverted(run_history.readRuns(output))
        if last is None:
            return ()
        target = self._targetOf(output)
        rows = {row.name: row for row in self.reviewRows(output)}
        free = [point for point in last.points if point.name in rows and rows[point.name].isFree]
        rejected = set(run_history.readRejected(output)) - {point.name for point in free}
        wasModifying = output.StartModify()
        for point in free:
            index, before = rows[point.name].index, point.before
            if before is None:
                continue
            output.SetNthControlPointDescription(index, before.description)
            if before.place is not None:
                nodes.setVoxelPosition(output, index, target, before.place)
            elif before.status == nodes.MISSING:
                output.SetNthControlPointPositionMissing(index)
            else:
                output.UnsetNthControlPointPosition(index)
            if before.rejected:
                rejected.add(point.name)
        made = [rows[point.name].index for point in free if point.before is None]
        for index in sorted(made, reverse=True):
            output.RemoveNthControlPoint(index)
        output.EndModify(wasModifying)
        run_history.writeRuns(output, history)
        run_history.writeRejected(output, rejected)
        self._showRuns(output)
        return tuple(point.name for point in free)

    def history(self, output) -> list[dict]:
        """Runs of an output node, the oldest first: `number`, `time`, `network`, `layer`, `patchSize`, `search`,
        `settings`, `versions`, `template`, `target`, `names`, `reverted`."""
        return [
            {
                "number": run.number,
                "time": run.time,
                "network": run.settings["network"],
                "layer": run.settings["layer"],
                "patchSize": run.settings["patch_size"],
                "search": run.settings["search"],
                "settings": run.settings,
                "versions": run.versions,
                "template": run.template,
                "target": run.target,
                "names": tuple(point.name for point in run.points),
                "reverted": run.reverted,
            }
            for run in run_history.readRuns(output)
        ]

    def reviewRows(self, output) -> list[ReviewRow]:
        """One row a control point, the most doubtful first."""
        return review.byDoubt(self._rows(output))

    def nextUncertain(self, output, after: int | None = None) -> int | None:
        """Index of the most doubtful control point that nobody has judged yet; with `after`, of the one behind it.

        `None` where all have been judged.
        """
        return review.nextOpen(self._rows(output), after)

    def accept(self, output, index: int) -> None:
        """Lock a point: it is right, or a person has moved it to where it is right, or it is rightly missing."""
        if self._rows(output)[index].status == "corrected":
            self._describeAsCorrected(output, index)
        output.SetNthControlPointLocked(index, True)
        self._showRuns(output)

    def correct(self, output, index: int, ras) -> None:
        """Move a point to `ras`, world mm, and lock it. A point dragged by hand needs no call: it is recognised."""
        output.SetNthControlPointPositionWorld(index, *(float(value) for value in ras))
        self._describeAsCorrected(output, index)
        output.SetNthControlPointLocked(index, True)
        self._showRuns(output)

    def reject(self, output, index: int) -> None:
        """Take a point's position away, locked or not: it is wrong. The next run may propose another."""
        wasModifying = output.StartModify()
        output.SetNthControlPointLocked(index, False)
        output.SetNthControlPointPositionMissing(index)
        output.SetNthControlPointDescription(
            index, run_history.withoutMaker(nodes.landmarkOfPoint(output, index).description)
        )
        output.EndModify(wasModifying)
        run_history.writeRejected(output, run_history.readRejected(output) | {output.GetNthControlPointLabel(index)})
        self._showRuns(output)

    def activationMaps(self, placement: Placement, name: str, *, inTarget: bool = True) -> None:
        """All channels around a landmark, in the target (where it was placed) or the template; see `Run.maps`.

        Network and layer are those of the placement's settings; the patch is theirs too, else 32 voxels.

        Raises:
            InputError: There is no such point, or the worker is busy.
        """
        self._require(BUSY if self.isBusy else "")
        volume = placement.targetVolume if inTarget else placement.templateVolume
        landmark = _namedLandmark(placement.output if inTarget else placement.templateLandmarks, name)

        def apply(_pending: _Pending, event: Event) -> Run:
            content = event.content
            maps = ActivationMaps(
                name, content["layer"], content["source"], content["maps"], content["complete"], volume
            )
            return Run("activations", maps=maps)

        size = placement.settings.patch_size or MAP_PATCH
        request = self._client.activations(self._arrays.arrayFromNode(volume), landmark, placement.settings, size)
        self._begin(_Pending(request, "activations", time.monotonic(), placement, apply))

    def activationMap(self, maps: ActivationMaps, channel: int):
        """One channel as a scalar volume node beneath its volume in the subject hierarchy; one node is kept and
        refilled.

        Raises:
            InputError: The volume has left the scene.
        """
        volume = maps.volume
        self._require(
            "" if volume.GetScene() else f"The volume of these maps, {volume.GetName()}, was removed; load it."
        )
        name = f"{volume.GetName()} {maps.landmark} {maps.layer} channel {channel}"
        known = volume.GetNodeReference(MAPS_NODE)
        node = nodes.mapToNode(maps.channels[channel], self._scene, name, volume, known)
        volume.SetNodeReferenceID(MAPS_NODE, node.GetID())
        return node

    def distanceMap(self, placement: Placement, name: str) -> None:
        """Feature distance to one landmark everywhere in the target, as a volume node beneath it: `Run.node`.

        Where nothing was searched, the map has its greatest value.

        Raises:
            InputError: As `whyNot` says, or there is no such landmark.
        """
        self._require(self.whyNot(placement))
        landmark = _namedLandmark(placement.templateLandmarks, name)

        def apply(pending: _Pending, event: Event) -> Run:
            found, target = event.content["map"], pending.placement.targetVolume
            voxels = np.where(np.isfinite(found.voxels), found.voxels, np.nanmax(found.voxels))
            title = f"{target.GetName()} {name} distance"
            node = nodes.mapToNode(replace(found, voxels=voxels), self._scene, title, target)
            return Run("distanceMap", node=node)

        template, target = self._volumes(placement)
        request = self._client.distances(template, landmark, target, placement.settings)
        self._begin(_Pending(request, "distanceMap", time.monotonic(), placement, apply))

    def pointErrors(self, reference, placed, second=None) -> list[PointError]:
        """Distances in mm from a person's points to the placed ones, and to a second person's, of the same name.

        Raises:
            InputError: Names are ambiguous, or none is in two sets.
        """
        sets = [nodes.landmarkSetFromNode(node) for node in (reference, placed, second) if node is not None]
        return point_errors.pointErrors(*sets, expected={row.name: row.expected_error_mm for row in self._rows(placed)})

    def qualityTable(self, reference, placed):
        """vtkMRMLTableNode with the distance in mm between a person's points and placed ones of the same name.

        Its description sums them up. The placed node keeps one such table, which is filled anew.

        Raises:
            InputError: No name is in both.
        """
        errors = self.pointErrors(reference, placed)
        table = self._table(placed, ERRORS_TABLE, "errors")
        columns = {
            "Landmark": [error.name for error in errors],
            "Error (mm)": [error.error_mm for error in errors],
            "Expected error (mm)": [error.expected_mm for error in errors],
        }
        run_history.fillColumns(table, columns)
        table.SetDescription(point_errors.summary(errors))
        return table

    def _startMatch(self, kind: str, placement: Placement, landmarks: LandmarkSet) -> None:
        template, target = self._volumes(placement)
        request = self._client.match(template, landmarks, target, placement.settings)
        grid, size = nodes.gridToWorld(placement.targetVolume), nodes.sizeOf(placement.targetVolume)
        self._begin(_Pending(request, kind, time.monotonic(), placement, self._applyMatch, grid, size))

    def _begin(self, pending: _Pending) -> None:
        self._pending = pending
        self.onProgress(0.0, "Starting")

    def _take(self, event: Event) -> None:
        pending = self._pending
        if event.kind == "progress":
            self.onProgress(event.fraction, event.text)
            return
        if event.kind == "settling":
            self.onSettling(pending.carried(event.content["landmarks"]))
            return
        self._pending = None
        if event.kind == "error":
            self.onError(event.text)
            return
        try:
            run = pending.apply(pending, event)
        except InputError as error:
            self.onError(str(error))
        else:
            self.onFinished(replace(run, seconds=time.monotonic() - pending.since))

    def _takeCatalog(self, event: Event) -> None:
        if event.kind == "progress":
            return
        self._catalogRequest = None
        if event.cause == "cancelled":  # with whatever else was on its way
            self.requestCatalog()
        elif event.kind == "error":
            self.onError(event.text)
        else:
            self.catalog = event.content
            self.onFinished(Run("catalog"))

    def _applyMatch(self, pending: _Pending, event: Event) -> Run:
        placement, report = pending.placement, event.content["report"]
        found = pending.carried(event.content["landmarks"])
        target, output = placement.targetVolume, placement.output
        if output is None:
            name = f"{placement.templateLandmarks.GetName()} in {target.GetName()}"
            unique = self._scene.GenerateUniqueName(name)
            output = nodes.addPoints(self._scene, nodes.newPoints(self._scene, unique))
        self._require(_noRoom(output, found))
        transform_observer.beginFollowing(output, target)
        history, rejected = run_history.readRuns(output), run_history.readRejected(output)
        record = run_history.RunRecord(
            number=len(history) + 1,
            time=datetime.now().astimezone().isoformat(timespec="seconds"),
            settings=report["settings"],
            versions=report["versions"],
            template=placement.templateVolume.GetName(),
            landmarks=placement.templateLandmarks.GetName(),
            target=target.GetName(),
            points=(),
        )
        rows = {row.name: row for row in self._rows(output)}
        places = nodes.voxelPositions(output, target)
        befores = {}
        wasModifying = output.StartModify()
        for landmark in found:
            row = rows.get(landmark.name)
            if row is not None and not row.isFree:
                continue
            befores[landmark.name] = (
                None if row is None else _before(output, row.index, places[row.index], landmark.name in rejected)
            )
            described = replace(landmark, description=run_history.withMaker(landmark.description, record), locked=False)
            nodes.putLandmark(described, output, None if row is None else row.index)
        output.EndModify(wasModifying)
        points = self._records(output, target, found, befores)
        record = replace(record, points=points)
        run_history.writeRuns(output, (*history, record))
        run_history.writeRejected(output, rejected - set(befores))
        for role, node in (
            (run_history.TEMPLATE, placement.templateVolume),
            (run_history.LANDMARKS, placement.templateLandmarks),
        ):
            output.SetNodeReferenceID(role, node.GetID())
        self._outputs.add(output.GetID())
        self._showRuns(output)
        return Run(
            pending.kind,
            record.number,
            output,
            placed=tuple(point.name for point in points if point.place is not None),
            missing=tuple(point.name for point in points if point.place is None),
            missingText=missing_text([landmark for landmark in found if landmark.name in befores], NAMES_SHOWN),
            kept=tuple(landmark.name for landmark in found if landmark.name not in befores),
            report=report,
        )

    @staticmethod
    def _records(output, target, found: LandmarkSet, befores: dict) -> tuple[run_history.PointRecord, ...]:
        """What a run did, read back from the points as they now are in the scene."""
        places = nodes.voxelPositions(output, target)
        indices = {output.GetNthControlPointLabel(index): index for index in range(len(places))}
        records = []
        for landmark in found:
            if landmark.name in befores:
                place, before = _placeOf(places[indices[landmark.name]]), befores[landmark.name]
                records.append(run_history.PointRecord(landmark.name, place, before, landmark.scores))
        return tuple(records)

    def _rows(self, output) -> list[ReviewRow]:
        """One row a control point, in their order."""
        transform_observer.follow(output)
        target = output.GetNodeReference(run_history.TARGET)
        hasTarget = target is not None and target.GetImageData() is not None
        known, rejected = run_history.latest(run_history.readRuns(output)), run_history.readRejected(output)
        count = output.GetNumberOfControlPoints()
        places = nodes.voxelPositions(output, target) if hasTarget else [None] * count
        return [
            self._row(output, index, known.get(output.GetNthControlPointLabel(index)), places[index], rejected)
            for index in range(count)
        ]

    @staticmethod
    def _row(output, index: int, record, place, rejected: frozenset[str]) -> ReviewRow:
        landmark = nodes.landmarkOfPoint(output, index)
        run, point = record or (None, None)
        isPlaced = point is not None and point.place is not None
        moved = isPlaced and place is not None and not np.allclose(place, point.place, rtol=0, atol=MOVED_VOXELS)
        status = review.statusOf(
            isDefined=landmark.is_defined,
            locked=landmark.locked,
            isKnown=isPlaced,
            moved=moved,
            rejected=landmark.name in rejected,
        )
        if status not in ("proposed", "accepted"):
            reason = landmark.reason if status == "missing" else ""
            return ReviewRow(index, landmark.name, status, landmark.locked, reason=reason)
        return ReviewRow(
            index,
            landmark.name,
            status,
            landmark.locked,
            run.settings["network"],
            run.settings["layer"],
            run.settings["patch_size"],
            **landmark.scores,
        )

    @staticmethod
    def _describeAsCorrected(output, index: int) -> None:
        """Scores of a place where the point no longer is would mislead."""
        own = run_history.withoutMaker(nodes.landmarkOfPoint(output, index).description).removesuffix(CORRECTED)
        output.SetNthControlPointDescription(index, f"{own.removesuffix(' | ')} | {CORRECTED}".removeprefix(" | "))

    def _showRuns(self, output) -> None:
        statuses = {row.name: row.status for row in self._rows(output)}
        history = run_history.readRuns(output)
        if history:
            run_history.fillTable(self._table(output, run_history.TABLE, "runs"), history, statuses)

    def _table(self, markups, role: str, word: str):
        table = markups.GetNodeReference(role)
        if table is None:
            table = self._scene.AddNewNodeByClass("vtkMRMLTableNode", f"{markups.GetName()} {word}")
            markups.SetNodeReferenceID(role, table.GetID())
        return table

    def _wrongInput(self, placement: Placement) -> str:
        """What is wrong with the volumes and the template's landmarks, quickly found."""
        asked = {
            "a template volume": placement.templateVolume,
            "the template's landmarks": placement.templateLandmarks,
            "a target volume": placement.targetVolume,
        }
        for what, node in asked.items():
            if node is None:
                return f"Choose {what} first."
        for volume in (placement.templateVolume, placement.targetVolume):
            if volume.GetImageData() is None:
                return f"{volume.GetName()} holds no voxels; load a volume into it or choose another."
        return _wrongLandmarks(placement.templateLandmarks, placement.templateVolume)

    def _wrongOutput(self, placement: Placement) -> str:
        output, target = placement.output, placement.targetVolume
        if output is None:
            return ""
        if output is placement.templateLandmarks:
            return f"The output would replace the template's landmarks {output.GetName()}; choose another output."
        other = output.GetNodeReference(run_history.TARGET)
        if other is not None and other is not target:
            return f"{output.GetName()} holds landmarks of {other.GetName()}; choose another output."
        duplicates = nodes.landmarkSetFromNode(output).duplicate_names
        if duplicates:
            return f"{output.GetName()} names several points {duplicates[0]}; rename them or choose another output."
        return ""

    def _volumes(self, placement: Placement) -> tuple[VolumeArray, VolumeArray]:
        arrays = self._arrays
        return arrays.arrayFromNode(placement.templateVolume), arrays.arrayFromNode(placement.targetVolume)

    @staticmethod
    def _targetOf(output):
        target = output.GetNodeReference(run_history.TARGET)
        if target is None or target.GetImageData() is None:
            raise InputError(f"The volume in which {output.GetName()} was placed is gone; load it again first.")
        return target

    @staticmethod
    def _require(reason: str) -> None:
        if reason:
            raise InputError(reason)

    def _abandon(self, sentence: str) -> None:
        self._pending = None
        self._client.cancel()
        self.onError(sentence)

    def _onSceneClosing(self, *_) -> None:
        self._outputs.clear()
        self._arrays.clear()
        if self.isBusy:
            self._abandon(SCENE_CLOSED)

    def _onNodeLeaving(self):
        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeLeaving(_scene, _event, node) -> None:
            self._outputs.discard(node.GetID())
            if node.IsA("vtkMRMLVolumeNode"):
                self._arrays.clear()
            if self.isBusy and any(node is used for used in self._pending.nodes):
                self._abandon(f"{node.GetName()} was removed while it was being worked on; nothing was placed.")

        return onNodeLeaving

    def _onSceneImported(self, *_) -> None:
        name = "vtkMRMLMarkupsFiducialNode"
        markups = (self._scene.GetNthNodeByClass(n, name) for n in range(self._scene.GetNumberOfNodesByClass(name)))
        self._outputs = {node.GetID() for node in markups if node.GetAttribute(run_history.ATTRIBUTE)}


def _templateLandmarks(placement: Placement) -> LandmarkSet:
    """Those of the template, their descriptions free of what had placed them there."""
    return _asTemplate(nodes.landmarkSetFromNode(placement.templateLandmarks))


def _asTemplate(landmarks: LandmarkSet) -> LandmarkSet:
    return replace(
        landmarks,
        landmarks=tuple(
            Landmark(known.name, known.position, known.status, run_history.withoutMaker(known.description))
            for known in landmarks
        ),
    )


def _namedLandmark(markups, name: str) -> Landmark:
    if markups is None:
        raise InputError("Place the landmarks first.")
    for landmark in _asTemplate(nodes.landmarkSetFromNode(markups)):
        if landmark.name == name and landmark.is_defined:
            return landmark
    raise InputError(f"{markups.GetName()} has no point {name} with a position; place it first.")


def _wrongLandmarks(markups, volume) -> str:
    """Why a template's landmarks cannot be used, in one sentence; empty where they can."""
    landmarks = nodes.landmarkSetFromNode(markups)
    defined = [index for index, landmark in enumerate(landmarks) if landmark.is_defined]
    if not defined:
        return f"{markups.GetName()} has no landmark with a position; place at least one in {volume.GetName()}."
    if landmarks.duplicate_names:
        return f"{markups.GetName()} names several landmarks {landmarks.duplicate_names[0]}; rename them."
    inside = nodes.contains(volume, nodes.voxelPositions(markups, volume)[defined])
    outside = [landmarks[index].name for index, isIn in zip(defined, inside, strict=True) if not isIn]
    if outside:
        return (
            f"{', '.join(outside[:3])} lie outside of {volume.GetName()}; choose the volume in which they were placed."
        )
    return ""


def _noRoom(output, landmarks: LandmarkSet) -> str:
    """Why an output cannot take landmarks that it does not have yet, in one sentence; empty where it can."""
    known = {output.GetNthControlPointLabel(index) for index in range(output.GetNumberOfControlPoints())}
    if output.GetFixedNumberOfControlPoints() and any(landmark.name not in known for landmark in landmarks):
        return f"The number of points of {output.GetName()} is locked; unlock it or choose another output."
    return ""


def _before(output, index: int, place: np.ndarray, rejected: bool) -> run_history.Before:
    return run_history.Before(
        output.GetNthControlPointPositionStatus(index),
        _placeOf(place),
        output.GetNthControlPointDescription(index),
        rejected,
    )


def _placeOf(place: np.ndarray) -> run_history.Place | None:
    return tuple(place.tolist()) if np.isfinite(place).all() else None
