"""A real MRML scene with the logics that Slicer has, volumes and landmarks in it, and a worker that tests control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scene_helpers import through_mrb, through_mrml

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.missing_reason import OUTSIDE
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import AlternativePlacement, Event

LOGICS = (
    "vtkSlicerMarkupsLogic",
    "vtkSlicerVolumesLogic",
    "vtkSlicerTablesLogic",
    "vtkSlicerTransformLogic",
    "vtkSlicerSubjectHierarchyModuleLogic",
    "vtkSlicerSegmentationsModuleLogic",
)
SETTINGS = {"network": "mind", "layer": "ssc_r1_d2", "patch_size": 13, "search": "guided", "seed": 0}
VERSIONS = {"deepfeatures": "0.1.0", "torch": "2.13.0"}


@pytest.fixture(scope="module")
def worker():
    """A client with a worker of its own, for the tests of one file."""
    client = WorkerClient()
    yield client
    client.close()


@pytest.fixture
def new_scene():
    """A function that makes a scene that can save and load markups, volumes, tables and transforms."""
    slicer = pytest.importorskip("slicer", reason="needs slicer-core")
    kept = []

    def make():
        scene, application = slicer.vtkMRMLScene(), slicer.vtkMRMLApplicationLogic()
        application.SetMRMLScene(scene)
        for name in LOGICS:
            logic = getattr(slicer, name)()
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(scene)
            kept.append(logic)
        kept.extend([application, scene])
        return scene

    return make


@pytest.fixture
def scene(new_scene):
    return new_scene()


@pytest.fixture
def add_volume(scene):
    """A function that adds a scalar volume node; voxels `(depth, height, width)`, IJKToRAS `(4, 4)`."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    def add(name="volume", voxels=None, matrix=None, to=None):
        voxels = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8) if voxels is None else np.asarray(voxels)
        image = vtk.vtkImageData()
        image.SetDimensions(*voxels.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True))
        node = (to or scene).AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAndObserveImageData(image)
        geometry = vtk.vtkMatrix4x4()
        geometry.DeepCopy(np.ravel(np.eye(4) if matrix is None else matrix))
        node.SetIJKToRASMatrix(geometry)
        return node

    return add


@pytest.fixture
def add_points(scene):
    """A function that adds a markups node with points `name=(r, a, s)` in world mm; `None` for a missing one."""
    import vtk

    def add(node_name="points", **points):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", node_name)
        for name, position in points.items():
            index = node.AddControlPointWorld(vtk.vtkVector3d(*(position or (0, 0, 0))), name)
            if position is None:
                node.SetNthControlPointPositionMissing(index)
        return node

    return add


@pytest.fixture
def add_transform(scene):
    """A function that adds a linear transform node of a `(4, 4)` matrix to its parent."""
    import vtk

    def add(matrix, name="transform"):
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        copy = vtk.vtkMatrix4x4()
        copy.DeepCopy(np.ravel(matrix))
        node.SetMatrixTransformToParent(copy)
        return node

    return add


class FakeClient:
    """Answers like a worker, when the test says so: every landmark 1 mm along LPS x, those of `lost` not found.

    Each of `alternatives` makes one of what was found.
    """

    def __init__(self):
        self.requests, self.events, self.cancelled = [], [], 0
        self.lost: set[str] = set()
        self.alternatives: list[Callable[[LandmarkSet], AlternativePlacement]] = []
        self.step = (1.0, 0.0, 0.0)
        self.scores = {"feature_distance": 0.5, "inverse_consistency_error_mm": 0.25}
        self.settings, self.report = dict(SETTINGS), {}

    def _note(self, kind, *arguments):
        self.requests.append((kind, *arguments))
        return len(self.requests)

    def hello(self):
        return self._note("hello")

    def encode(self, *arguments):
        return self._note("encode", *arguments)

    def match(self, *arguments):
        return self._note("match", *arguments)

    def activations(self, *arguments):
        return self._note("activations", *arguments)

    def distances(self, *arguments):
        return self._note("distances", *arguments)

    def protocol(self, path):
        return self._note("protocol", path)

    def protocol_template(self, path):
        return self._note("protocol_template", path)

    def check_templates(self, *arguments):
        return self._note("check_templates", *arguments)

    def learn(self, *arguments, **named):
        return self._note("learn", *arguments, named)

    def forget(self, path, name):
        return self._note("forget", path, name)

    def transform(self, *arguments, **named):
        return self._note("transform", *arguments, named)

    def warp(self, *arguments, **named):
        return self._note("warp", *arguments, named)

    def warp_file(self, *arguments, **named):
        return self._note("warp_file", *arguments, named)

    def poll(self):
        events, self.events = self.events, []
        return events

    def cancel(self):
        self.cancelled += 1
        self.events = [Event(len(self.requests), "error", text="Cancelled.", cause="cancelled")]

    def send(self, kind, **content):
        self.events.append(Event(len(self.requests), kind, **content))

    def place(self):
        """Answer the last request."""
        _, _, landmarks, _, _ = self.requests[-1]
        placed = tuple(
            replace(known, position=tuple(np.add(known.position, self.step).tolist()), status="defined", **self.scores)
            if known.is_defined and known.name not in self.lost
            else replace(known, position=None, status="missing", reason=OUTSIDE)
            for known in landmarks
        )
        report = {"settings": self.settings, "versions": VERSIONS, **self.report}
        found, others = LandmarkSet(placed), tuple(one(LandmarkSet(placed)) for one in self.alternatives)
        self.send("result", content={"landmarks": found, "report": report, "alternatives": others})


@pytest.fixture
def client():
    return FakeClient()


class Heard:
    """What a Logic has reported."""

    def __init__(self, logic):
        self.runs, self.errors, self.progress, self.interim = [], [], [], []
        logic.onFinished = self.runs.append
        logic.onError = self.errors.append
        logic.onInterim = self.interim.append
        logic.onProgress = lambda fraction, text: self.progress.append((fraction, text))


@pytest.fixture
def listen():
    return Heard


@pytest.fixture
def logic(scene, client):
    from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic

    logic = DeepFeatureLandmarksLogic(scene, client)
    yield logic
    logic.close()


@pytest.fixture
def heard(logic, listen):
    return listen(logic)


@pytest.fixture
def place_request(add_volume, add_points):
    """Three landmarks of a template, to be placed in a target."""
    from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest

    points = add_points("brain", A=(1.0, 2.0, 3.0), B=(4.0, 5.0, 4.0), C=(2.0, 2.0, 2.0))
    points.SetNthControlPointDescription(0, "by an expert")
    return PlaceRequest(add_volume("template"), points, add_volume("scan"))


@pytest.fixture
def place(logic, client, heard, place_request):
    """A function that places, or places one again, and returns the run."""

    def run(output=None, name=None, settings=None):
        asked = replace(place_request, output=output, settings=settings or MatchSettings())
        logic.placeAgain(asked, name) if name else logic.place(asked)
        client.place()
        logic.poll()
        return heard.runs[-1]

    return run


@pytest.fixture(params=[through_mrml, through_mrb], ids=["mrml", "mrb"])
def save_and_load(request):
    """A function that saves a scene and loads it into another; in both ways that Slicer has."""
    return request.param
