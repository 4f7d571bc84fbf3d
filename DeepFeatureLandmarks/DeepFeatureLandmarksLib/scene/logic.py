"""The Logic behind the module and the web app: no Qt, no trame, no application; MRML from the calling thread only.

    logic = DeepFeatureLandmarksLogic(scene, WorkerClient())
    logic.onFinished = lambda run: ...
    logic.place(PlaceRequest(templateVolume, templateLandmarks, targetVolume))
    # from a QTimer or an asyncio task, about 20 times a second:
    logic.poll()

Whatever cannot work from the start raises `InputError`; what fails later arrives at `onError`. Both are one sentence.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import vtk

from DeepFeatureLandmarksLib.scene import (
    hypotheses,
    map_nodes,
    nodes,
    place_request,
    placement,
    point_errors,
    review,
    review_table,
    run_history,
    tables,
    template_check,
    transform_observer,
)
from DeepFeatureLandmarksLib.scene.hypotheses import Ambiguity
from DeepFeatureLandmarksLib.scene.learning_requests import LearningRequests
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest, namedLandmark, require
from DeepFeatureLandmarksLib.scene.point_errors import PointError
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from DeepFeatureLandmarksLib.scene.run import ActivationMaps, Run
from DeepFeatureLandmarksLib.scene.transform_requests import TransformRequests
from DeepFeatureLandmarksLib.scene.worker_requests import BUSY, PendingRequest
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import Event

MAP_PATCH = 32  # edge in voxels of the patch of activation maps where none is chosen, as in the paper's figure
SCENE_CLOSED = "The scene was closed while the worker was busy; nothing was placed."


class DeepFeatureLandmarksLogic(LearningRequests, TransformRequests):
    """See the module's docstring.

    Args:
        scene: vtkMRMLScene.
        client: A `WorkerClient`, or what behaves like one; the Logic does not close it.

    Attributes:
        onProgress, onInterim, onFinished, onError, catalog: See `WorkerRequests`.

    What is learnt from reviewed points is in `LearningRequests`, what is carried over by them in `TransformRequests`.
    """

    def __init__(self, scene, client: WorkerClient):
        super().__init__(scene, client)
        self._outputs: set[str] = set()  # node IDs
        self._observers = [
            scene.AddObserver(scene.StartCloseEvent, self._onSceneClosing),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved()),
            scene.AddObserver(scene.EndImportEvent, self._onSceneImported),
        ]
        self._onSceneImported()

    def poll(self) -> None:
        """Apply what the worker has sent to the scene. Call it often, from the thread that owns the scene."""
        for output in list(self._outputs):
            if (node := self._scene.GetNodeByID(output)) is not None:
                transform_observer.update(node)
        super().poll()

    def close(self) -> None:
        """Stop observing the scene; a running request is cancelled."""
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        self._observers = []
        self._abandon()

    # Placing

    def validationMessage(self, request: PlaceRequest) -> str:
        """Why `place` would refuse, in one sentence; empty where it would not."""
        return BUSY if self.isBusy else place_request.validationMessage(request)

    def prepare(self, request: PlaceRequest) -> None:
        """Let the worker read both volumes and find the pose before the first `place`.

        The landmarks may come later. Neither success nor failure is reported.
        """
        if self.isBusy or not request.hasVolumes:
            return
        with suppress(InputError):  # `place` will report it
            self._preparation = self._client.encode(*self._volumes(request), request.settings)

    def place(self, request: PlaceRequest) -> None:
        """Place all landmarks; ends in `onFinished` or `onError`.

        Raises:
            InputError: See `validationMessage`.
        """
        require(self.validationMessage(request))
        self._match("place", request, place_request.templateLandmarks(request))

    def placeAgain(self, request: PlaceRequest, name: str) -> None:
        """Place one landmark again, for example with other settings; ends in `onFinished` or `onError`.

        Raises:
            InputError: See `validationMessage`; or a person has locked, moved or made the point.
        """
        require(self.validationMessage(request))
        for row in self.reviewRows(request.output) if request.output is not None else ():
            if row.name == name and not row.mayBeMoved:
                decision = "corrected" if row.status == "corrected" else "accepted"
                raise InputError(f"{name} was {decision} by a person; reject it to have it placed again.")
        self._match("placeAgain", request, LandmarkSet((namedLandmark(request.templateLandmarks, name),)))

    def revertLastRun(self, output) -> tuple[str, ...]:
        """Put the points back to where they were before the last run; returns the names of those that changed.

        Points that a person has locked or moved since then stay. Calling it again reverts the run before.

        Raises:
            InputError: A run is under way, or the target is gone.
        """
        require(BUSY if self.isBusy else "")
        return placement.revertLastRun(output)

    def history(self, output) -> list[dict]:
        """Runs of an output node, the oldest first: `number`, `time`, `network`, `layer`, `patchSize`, `search`,
        `settings`, `versions`, `template`, `target`, `names`, `reverted`, `taken`."""
        return [run.asDict() for run in run_history.readRuns(output)]

    # Other places

    def ambiguity(self, output) -> Ambiguity | None:
        """The places in which all points of an output may lie; `None` where there is only one."""
        return hypotheses.ambiguityOf(output)

    def hypothesisLandmarks(self, output, number: int) -> LandmarkSet:
        """The points of one of these places, world LPS; none where the target is gone."""
        target = output.GetNodeReference(run_history.TARGET)
        known = hypotheses.ambiguityOf(output)
        if target is None or target.GetImageData() is None or known is None:
            return LandmarkSet(())
        return hypotheses.landmarksOf(known.hypotheses[number], target)

    def takeHypothesis(self, output, number: int) -> Run:
        """Move all points to another place; those that a person has locked, moved or made stay, see `Run.kept`.

        Taking the first place again, or `revertLastRun`, moves them back.

        Raises:
            InputError: A run is under way, or the target is gone.
        """
        require(BUSY if self.isBusy else "")
        return placement.takeHypothesis(output, number)

    # Review

    def reviewRows(self, output) -> list[ReviewRow]:
        """One row a control point, the most uncertain first."""
        return review.sortedByUncertainty(review_table.rows(output))

    def runNotes(self, output, rows: list[ReviewRow]) -> list[str]:
        """What was doubtful when the points of its rows were placed, beyond the notes on both volumes; sentences."""
        return review_table.runNotes(output, rows)

    def nextUnreviewed(self, output, after: int | None = None) -> int | None:
        """Index of the most uncertain control point that nobody has reviewed; with `after`, of the next one.

        `None` where all have been reviewed.
        """
        return review.nextUnreviewed(review_table.rows(output), after)

    def accept(self, output, index: int) -> None:
        """Lock a point: it is right, or a person has moved it to where it is right, or it is rightly missing."""
        review_table.accept(output, index)

    def correct(self, output, index: int, ras) -> None:
        """Move a point to `ras`, world mm, and lock it. A point dragged by hand needs no call: it is recognised."""
        review_table.correct(output, index, ras)

    def reject(self, output, index: int) -> None:
        """Take a point's position away, locked or not: it is wrong. The next run may propose another."""
        review_table.reject(output, index)

    # Maps

    def activationMaps(self, request: PlaceRequest, name: str, *, inTarget: bool = True) -> None:
        """All channels around a landmark, in the target (where it was placed) or the template; see `Run.maps`.

        Network and layer are those of the request's settings; so is the patch, or it has 32 voxels.

        Raises:
            InputError: There is no such point, or the worker is busy.
        """
        require(BUSY if self.isBusy else "")
        volume = request.targetVolume if inTarget else request.templateVolume
        landmark = namedLandmark(request.output if inTarget else request.templateLandmarks, name)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            got = event.content
            maps = ActivationMaps(name, got["layer"], got["source"], got["maps"], got["complete"], volume)
            return Run("activations", maps=maps)

        size = request.settings.patch_size or MAP_PATCH
        number = self._client.activations(self._arrays.arrayFromNode(volume), landmark, request.settings, size)
        self._begin(PendingRequest(number, request, apply))

    def activationMap(self, maps: ActivationMaps, channel: int):
        """One channel as a scalar volume node beneath its volume in the subject hierarchy; one node is refilled.

        Raises:
            InputError: The volume has left the scene.
        """
        return map_nodes.activationNode(maps, channel)

    def distanceMap(self, request: PlaceRequest, name: str) -> None:
        """Feature distance to one landmark everywhere in the target, as a volume node beneath it: `Run.node`.

        Where nothing was searched, the map has its greatest value.

        Raises:
            InputError: See `validationMessage`; or there is no such landmark.
        """
        require(self.validationMessage(request))
        landmark = namedLandmark(request.templateLandmarks, name)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            return Run("distanceMap", node=map_nodes.distanceNode(event.content["map"], name, request.targetVolume))

        template, target = self._volumes(request)
        number = self._client.distances(template, landmark, target, request.settings)
        self._begin(PendingRequest(number, request, apply))

    # Comparison

    def pointErrors(self, reference, placed, second=None) -> list[PointError]:
        """Distances in mm from a person's points to the placed ones, and to a second person's, of the same name.

        Raises:
            InputError: Names are ambiguous, or none is in two sets.
        """
        sets = [nodes.landmarkSetFromNode(node) for node in (reference, placed, second) if node is not None]
        expected = {row.name: row.expected_error_mm for row in review_table.rows(placed)}
        return point_errors.pointErrors(*sets, expected=expected)

    def qualityTable(self, reference, placed):
        """vtkMRMLTableNode with the distance in mm between a person's points and placed ones of the same name.

        Its description is a summary. The placed node keeps one such table, which is filled again.

        Raises:
            InputError: No name is in both.
        """
        errors = self.pointErrors(reference, placed)
        table = tables.tableOf(placed, tables.ERRORS_TABLE, "errors")
        tables.fillErrors(table, errors)
        return table

    def checkTemplates(self, folder: Path, settings: MatchSettings) -> None:
        """Compare the annotated scans of a folder as templates: `Run.check`. Tables are written to a folder in it.

        Raises:
            InputError: The worker is busy.
        """
        require(BUSY if self.isBusy else "")
        output = folder / template_check.FOLDER

        def apply(_pending: PendingRequest, event: Event) -> Run:
            return Run("templateCheck", check=template_check.templateCheck(event.content, output))

        settings = replace(settings, protocol=None)  # which is of one template alone
        self._begin(PendingRequest(self._client.check_templates(folder, output, settings), None, apply))

    def _match(self, kind: str, request: PlaceRequest, landmarks: LandmarkSet) -> None:
        def apply(pending: PendingRequest, event: Event) -> Run:
            found = pending.inTargetNow(event.content["landmarks"])
            others = tuple(
                replace(one, landmarks=pending.inTargetNow(one.landmarks)) for one in event.content["alternatives"]
            )
            run = placement.writeRun(self._scene, request, found, event.content["report"], kind, others)
            self._outputs.add(run.node.GetID())
            return run

        template, target = self._volumes(request)
        number = self._client.match(template, landmarks, target, request.settings)
        grid, size = nodes.gridToWorld(request.targetVolume), nodes.sizeOf(request.targetVolume)
        self._begin(PendingRequest(number, request, apply, grid, size))

    def _fail(self, sentence: str) -> None:
        self._abandon()
        self.onError(sentence)

    def _onSceneClosing(self, *_) -> None:
        self._outputs.clear()
        self._arrays.clear()
        if self.isBusy:
            self._fail(SCENE_CLOSED)

    def _onNodeRemoved(self):
        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeRemoved(_scene, _event, node) -> None:
            self._outputs.discard(node.GetID())
            if node.IsA("vtkMRMLVolumeNode"):
                self._arrays.clear()
            if self.isBusy and any(node is used for used in self._pending.nodes):
                self._fail(f"{node.GetName()} was removed while it was being worked on; nothing was placed.")

        return onNodeRemoved

    def _onSceneImported(self, *_) -> None:
        name = "vtkMRMLMarkupsFiducialNode"
        markups = (self._scene.GetNthNodeByClass(n, name) for n in range(self._scene.GetNumberOfNodesByClass(name)))
        self._outputs = {node.GetID() for node in markups if node.GetAttribute(run_history.ATTRIBUTE)}
