"""Requests on landmark protocols: what a file holds, a scan more, a scan less, its template for the scene."""

from __future__ import annotations

from pathlib import Path

from DeepFeatureLandmarksLib.scene import nodes, place_request, review_table, taught_scans
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest, require
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.taught_protocol import TaughtProtocol, taughtProtocol
from DeepFeatureLandmarksLib.scene.volume_requests import VolumeRequests
from DeepFeatureLandmarksLib.scene.worker_requests import BUSY, PendingRequest, Question
from deepfeatures.service.protocol import Event


class LearningRequests(VolumeRequests):
    """Teaches files of protocols what a person has decided; the worker alone reads and writes them."""

    def readProtocol(self, path: Path) -> None:
        """Ask the worker what a file holds; `onFinished` is called with a run of kind `"protocol"`, see `Run.protocol`.

        It may be asked for while landmarks are being placed.
        """

        def apply(event: Event) -> Run:
            if event.kind == "error":
                return Run("protocol", protocol=TaughtProtocol(path, error=event.text))
            return Run("protocol", protocol=taughtProtocol(path, event.content))

        self._askWorker(Question(lambda: self._client.protocol(path), apply))

    def learnMessage(self, request: PlaceRequest, rows: list[ReviewRow]) -> str:
        """Why `learn` would refuse, in one sentence; empty where it would not. The rows are those of the output."""
        return BUSY if self.isBusy else taught_scans.refusal(request, rows)

    def learn(self, request: PlaceRequest, path: Path) -> None:
        """Teach the file of a protocol what a person has decided in the output of a request; see `Run.protocol`.

        Args:
            request: Its output holds the points.
            path: Of the file; made of the template and its landmarks where there is none.

        Raises:
            InputError: See `learnMessage`.
        """
        output = request.output
        rows = review_table.rows(output) if output is not None else []
        require(self.learnMessage(request, rows))
        lesson = taught_scans.lessonOf(output, rows)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            taught_scans.noteTaught(output, event.content["key"])
            return Run("learn", node=output, protocol=taughtProtocol(path, event.content), lesson=lesson.text)

        template, scan = self._volumes(request)
        number = self._client.learn(
            path,
            template,
            place_request.templateLandmarks(request),
            scan,
            lesson.points,
            request.settings,
            name=request.targetVolume.GetName(),
            corrected=lesson.corrected,
        )
        self._begin(PendingRequest(number, request, apply))

    def forget(self, path: Path, key: str) -> None:
        """Let the file of a protocol forget a scan, exactly; see `Run.protocol`.

        Args:
            path: Of the file.
            key: Of the scan, see `taught_scans.taughtKey`.

        Raises:
            InputError: The worker is busy.
        """
        require(BUSY if self.isBusy else "")

        def apply(_pending: PendingRequest, event: Event) -> Run:
            return Run("forget", protocol=taughtProtocol(path, event.content))

        self._begin(PendingRequest(self._client.forget(path, key), None, apply))

    def loadTemplate(self, path: Path) -> None:
        """Add the template of a protocol and its landmarks to the scene: `Run.template`.

        Args:
            path: Of the file.

        Raises:
            InputError: The worker is busy.
        """
        require(BUSY if self.isBusy else "")

        def apply(_pending: PendingRequest, event: Event) -> Run:
            volume, landmarks = event.content["volume"], event.content["landmarks"]
            name = self._scene.GenerateUniqueName(volume.name)
            points = nodes.newPoints(self._scene, self._scene.GenerateUniqueName(f"{volume.name} landmarks"))
            nodes.landmarksToNode(landmarks, nodes.addPoints(self._scene, points))
            return Run("template", template=(nodes.mapToNode(volume, self._scene, name), points))

        self._begin(PendingRequest(self._client.protocol_template(path), None, apply))
