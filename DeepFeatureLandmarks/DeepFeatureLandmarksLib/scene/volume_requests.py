"""Requests that need volumes of the scene: their voxels are read once, and kept while nothing changes them."""

from __future__ import annotations

from dataclasses import replace

from DeepFeatureLandmarksLib.scene.array_cache import ArrayCache
from DeepFeatureLandmarksLib.scene.node_notes import readNotes
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from DeepFeatureLandmarksLib.scene.worker_requests import WorkerRequests
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import VolumeArray


class VolumeRequests(WorkerRequests):
    """See the module's docstring.

    Args:
        scene: vtkMRMLScene.
        client: A `WorkerClient`, or what behaves like one.
    """

    def __init__(self, scene, client: WorkerClient):
        super().__init__(client)
        self._scene = scene
        self._arrays = ArrayCache()

    def _volumes(self, request: PlaceRequest) -> tuple[VolumeArray, VolumeArray]:
        """Template and target; the template has the notes of its landmarks' file, too."""
        template, target = map(self._arrays.arrayFromNode, (request.templateVolume, request.targetVolume))
        if request.templateLandmarks is not None and (notes := readNotes(request.templateLandmarks)):
            template = replace(template, notes=(*template.notes, *notes))
        return template, target
