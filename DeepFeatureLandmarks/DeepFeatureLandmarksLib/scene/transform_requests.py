"""Requests on transforms: compute one from the points, carry things over by it, write it for other programs."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from DeepFeatureLandmarksLib.scene import carried_nodes, jacobian_map, nodes, place_request, transform_nodes
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest, require
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.transform_summary import TransformSummary
from DeepFeatureLandmarksLib.scene.volume_requests import VolumeRequests
from DeepFeatureLandmarksLib.scene.worker_requests import BUSY, PendingRequest
from deepfeatures.service.protocol import Event

FILE = "transform.h5"  # between the scene and the worker


class TransformRequests(VolumeRequests):
    """Transforms from the template to the target. Each request ends in `onFinished` or `onError`."""

    def __init__(self, scene, client):
        super().__init__(scene, client)
        self._folder = Path(tempfile.mkdtemp(prefix="deepfeatures-transform-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def transformMessage(self, request: PlaceRequest) -> str:
        """Why `computeTransform` would refuse, in one sentence; empty where it would not."""
        if self.isBusy:
            return BUSY
        if message := place_request.validationMessage(request):
            return message
        return "" if request.output is not None else "Place the landmarks, or choose points of the target first."

    def computeTransform(self, request: PlaceRequest, kind: str) -> None:
        """Compute the transform that takes the template's landmarks to the points: `Run.node`, `Run.transform`.

        Args:
            request: Its output holds the points, which are paired with the landmarks by name.
            kind: One of `transform_summary.KINDS`.

        Raises:
            InputError: See `transformMessage`.
        """
        require(self.transformMessage(request))
        path = self._folder / FILE

        def apply(_pending: PendingRequest, event: Event) -> Run:
            summary = TransformSummary.of(event.content)
            node = transform_nodes.transformNode(path, summary, request.templateVolume, request.targetVolume)
            return Run("transform", node=node, transform=summary)

        template, target = self._volumes(request)
        landmarks, points = place_request.templateLandmarks(request), nodes.landmarkSetFromNode(request.output)
        number = self._client.transform(template, landmarks, target, points, request.settings, kind=kind, path=path)
        self._begin(PendingRequest(number, request, apply))

    def warpTarget(self, transform) -> None:
        """Resample the target on the template's grid: `Run.node`, of which the transform keeps one.

        Args:
            transform: Node of a run of `computeTransform`.

        Raises:
            InputError: The worker is busy, or template or target was removed.
        """
        template, target = self._pairFor(transform)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            known, name = (
                transform.GetNodeReference(transform_nodes.WARPED),
                carried_nodes.carriedName(target, template),
            )
            node = nodes.mapToNode(event.content["volume"], self._scene, name, template, known)
            carried_nodes.shownAs(target, node)
            transform.SetNodeReferenceID(transform_nodes.WARPED, node.GetID())
            return Run("warpTarget", node=node)

        self._warp(transform, target, template, apply, inverse=True)

    def carryVolume(self, transform, volume, *, inverse: bool = False) -> None:
        """Resample a volume or label map of the template on the target's grid: `Run.node`, a new one.

        Args:
            transform: Node of a run of `computeTransform`.
            volume: Of the template; with `inverse`, of the target.
            inverse: From target to template.

        Raises:
            InputError: See `warpTarget`.
        """
        template, target = self._pairFor(transform)
        like = template if inverse else target

        def apply(_pending: PendingRequest, event: Event) -> Run:
            node = carried_nodes.carriedVolume(event.content["volume"], volume, like)
            return Run("carryVolume", node=node, covered=event.content["covered_share"])

        self._warp(transform, volume, like, apply, inverse=inverse)

    def carryShape(self, transform, node, *, inverse: bool = False):
        """A copy of points, a curve, a plane, an ROI, a model or a segmentation, carried over at once.

        Args:
            transform, inverse: See `carryVolume`.
            node: Of the template; with `inverse`, of the target.

        Raises:
            InputError: It cannot be carried over, or template or target was removed.
        """
        return carried_nodes.carriedShape(node, transform, inverse=inverse)

    def carryFile(self, transform, path: Path, output: Path, *, inverse: bool = False) -> None:
        """Carry what a file of the template holds over to the target: `Run.written`. The scene stays as it is.

        Args:
            transform: Node of a run of `computeTransform`.
            path: Of a volume, a label map, points, a curve, a plane, an ROI or a model.
            output: To write.
            inverse: From target to template.

        Raises:
            InputError: See `warpTarget`.
        """
        template, target = self._pairFor(transform)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            notes = tuple(event.content["notes"])
            return Run("carryFile", node=transform, written=output, text=event.content["text"], notes=notes)

        like = self._arrays.arrayFromNode(template if inverse else target)
        number = self._client.warp_file(self._file(transform), path, output, like, inverse=inverse)
        self._beginFor(transform, number, apply)

    def jacobianMap(self, transform) -> None:
        """By how much each part of the template grows, as a volume beneath it: `Run.node`.

        Args:
            transform: Node of a run of `computeTransform`, which keeps one such map.

        Raises:
            InputError: See `warpTarget`.
        """
        template, _target = self._pairFor(transform)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            return Run("jacobian", node=jacobian_map.jacobianNode(event.content["map"], transform))

        number = self._client.jacobian(self._file(transform), self._arrays.arrayFromNode(template))
        self._beginFor(transform, number, apply)

    def writeTransform(self, transform, path: Path) -> None:
        """Write a transform for another program; the suffix says in which format.

        Args:
            transform: Node of a run of `computeTransform`.
            path: To write.

        Raises:
            InputError: See `warpTarget`.
        """
        template, _target = self._pairFor(transform)

        def apply(_pending: PendingRequest, event: Event) -> Run:
            return Run("writeTransform", node=transform, written=path, notes=tuple(event.content["notes"]))

        summary = transform_nodes.summaryOf(transform)
        description = summary.description if summary is not None else ""
        array = self._arrays.arrayFromNode(template)
        number = self._client.write_transform(self._file(transform), array, path, description)
        self._beginFor(transform, number, apply)

    def _warp(self, transform, volume, like, apply, *, inverse: bool) -> None:
        arrays = map(self._arrays.arrayFromNode, (volume, like))
        labels = carried_nodes.isLabelMap(volume)
        number = self._client.warp(self._file(transform), *arrays, inverse=inverse, labels=labels)
        self._beginFor(transform, number, apply, volume)

    def _beginFor(self, transform, number: int, apply, *others) -> None:
        """Wait for what depends on a transform, its template and target, and on other nodes."""
        nodes = transform, *transform_nodes.pairOf(transform), *others
        self._begin(PendingRequest(number, None, apply, others=nodes))

    def _pairFor(self, transform) -> tuple:
        require(BUSY if self.isBusy else "")
        return transform_nodes.requirePair(transform)

    def _file(self, transform) -> Path:
        """The transform as it is now, for the worker."""
        transform_nodes.writeFile(transform, self._folder / FILE)
        return self._folder / FILE
