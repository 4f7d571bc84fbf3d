"""A client without a worker, for tests in Slicer and outside of it.

It finds every landmark at once, where the template has it, 2 mm to the left; later ones are more uncertain. Where it is
told that the anatomy repeats, all may lie 33 mm further up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import slicer
import vtk

from DeepFeatureLandmarksLib.selftest.fake_protocols import FakeProtocols
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.protocol import AlternativePlacement, Event, VolumeArray

SHIFT_MM = 2.0  # along L
REPEAT_MM, REPEAT_CHANCE, REPEAT_TEXT = 33.0, 0.38, "33 mm towards the head"  # along S
DIRECTION = "Maps points of the template to points of the target, LPS mm."
CHANNELS = 6
CATALOG = {
    "versions": {"deepfeatures": "fake"},
    "devices": ["auto", "cpu"],
    "networks": [
        {
            "name": "mind",
            "paper_number": None,
            "summary": "Self-similarity descriptors, which need no training.",
            "weights": "none needed",
            "licence": "Apache-2.0",
            "parameters": 0,
            "default_layer": "ssc_r1_d2",
            "layers": [
                {"name": name, "channels": 12, "stride": 1, "receptive_field": field, "available": True}
                for name, field in (("ssc_r1_d2", 9), ("ssc_r2_d2", 13))
            ],
        },
        {
            "name": "vgg19-3d-random",
            "paper_number": 1,
            "summary": "VGG-19 in 3D with random kernels drawn from the seed; needs no training.",
            "weights": "none needed",
            "licence": "Apache-2.0",
            "parameters": 60_058_688,
            "default_layer": "conv2_2",
            "layers": [
                {"name": "conv2_2", "channels": 128, "stride": 2, "receptive_field": 14, "available": True},
                {"name": "conv4_2", "channels": 512, "stride": 8, "receptive_field": 68, "available": True},
            ],
        },
        {
            "name": "vgg19-3d-student",
            "paper_number": 3,
            "summary": "VGG-19 in 3D trained to predict the maps of the three pseudo-3D networks.",
            "weights": "missing",
            "licence": "that of the imported weights",
            "parameters": 60_058_688,
            "default_layer": "conv2_2",
            "layers": [{"name": "conv2_2", "channels": 128, "stride": 2, "receptive_field": 14, "available": False}],
        },
    ],
    "best": {"network": "mind", "layer": "ssc_r1_d2", "patch_size": 13},
}


class FakeWorkerClient:
    """Answers at the next poll; with `isPaused` it lets requests wait, as a long run does.

    With `isRepeating` the anatomy repeats: all landmarks are ambiguous.
    """

    def __init__(self):
        self.isPaused = self.isRepeating = False
        self.settings: list[MatchSettings] = []  # of every match
        self.protocols = FakeProtocols()
        self.hellos = self.encodes = 0
        self.warps: list[tuple[str, str, bool, bool]] = []  # volume, grid, whether inverse, whether labels
        self.descriptions: dict[Path, str] = {}  # of the transforms that were written
        self._number = 0
        self._waiting: list[Event] = []
        self._interim: list[Event] = []

    def hello(self) -> int:
        self.hellos += 1
        return self._answer(dict(CATALOG))

    def encode(self, template: VolumeArray, target: VolumeArray, settings: MatchSettings) -> int:
        self.encodes += 1
        return self._answer({})

    def match(self, template: VolumeArray, landmarks: LandmarkSet, target: VolumeArray, settings: MatchSettings) -> int:
        self.settings.append(settings)
        placed = replace(landmarks, landmarks=tuple(self._placed(*each) for each in enumerate(landmarks)))
        others = (AlternativePlacement(_further(placed), REPEAT_CHANCE, REPEAT_TEXT),) if self.isRepeating else ()
        chosen = {"network": settings.network or "mind", "layer": settings.layer or "ssc_r1_d2"}
        report = {"settings": {**chosen, "patch_size": settings.patch_size or 13, "search": "guided"}, "versions": {}}
        return self._answer({"landmarks": placed, "report": report, "alternatives": others})

    def activations(self, volume: VolumeArray, landmark: Landmark, settings: MatchSettings, patch_size: int) -> int:
        z, y, x = np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij")
        maps = tuple(
            VolumeArray(np.cos(channel * x + y * z).astype(np.float32), np.array(landmark.position) - 6)
            for channel in range(CHANNELS)
        )
        content = {"maps": maps, "source": maps[0], "complete": True, "layer": settings.layer or "ssc_r1_d2"}
        return self._answer(content)

    def distances(self, template: VolumeArray, landmark: Landmark, target: VolumeArray, settings: MatchSettings) -> int:
        return self._answer({"map": replace(target, voxels=np.ones_like(target.voxels))})

    def check_templates(self, folder: Path, output_dir: Path, settings: MatchSettings) -> int:
        row = {"template": "scan 1", "mean_error_mm": 2.5, "error_without_offsets_mm": 1.25}
        sentence = "left eye lies 2.0 mm (1.0 to 3.0) behind where the other scans have it"
        offset = {"landmark": "left eye", "offset_mm": 2.0, "unlike": True, "sentence": sentence}
        templates = [{**row, "advice": "Its points are 2.5 mm off.", "landmarks": [offset]}]
        return self._answer({"advice": f"Take scan 1 of {folder.name}.", "notes": [], "templates": templates})

    def protocol(self, path: Path) -> int:
        return self._answerOrRefuse(lambda: self.protocols.read(path))

    def protocol_template(self, path: Path) -> int:
        points = LandmarkSet((Landmark("left eye", (1.0, 2.0, 3.0)),))
        return self._answer({"volume": VolumeArray(np.ones((4, 5, 6), np.float32), name="head"), "landmarks": points})

    def learn(
        self,
        path: Path,
        template: VolumeArray,
        landmarks: LandmarkSet,
        scan: VolumeArray,
        points: LandmarkSet,
        settings: MatchSettings,
        *,
        name: str,
        corrected: Collection[str],
    ) -> int:
        return self._answerOrRefuse(lambda: self.protocols.learn(path, name, points, corrected))

    def forget(self, path: Path, key: str) -> int:
        return self._answerOrRefuse(lambda: self.protocols.forget(path, key))

    def transform(
        self,
        template: VolumeArray,
        landmarks: LandmarkSet,
        target: VolumeArray,
        points: LandmarkSet,
        settings: MatchSettings,
        *,
        kind: str,
        path: Path,
    ) -> int:
        writeShift(path, SHIFT_MM)
        names = [landmark.name for landmark in landmarks]
        residuals = [0.2 * number for number in range(len(names))]
        notes = {"notes": ["it is a shift"], "file_notes": ["it is exact"]}
        result = {"kind": kind, "names": names, "residuals_mm": residuals, "folded_share": 0.0, **notes}
        return self._answer({"path": str(path), "description": DIRECTION, **result})

    def write_transform(self, transform: Path, template: VolumeArray, path: Path, description: str) -> int:
        self.descriptions[path] = description
        return self._answer({"path": str(path), "notes": []})

    def warp(
        self, transform: Path, volume: VolumeArray, like: VolumeArray, *, inverse: bool = False, labels: bool = False
    ) -> int:
        self.warps.append((volume.name, like.name, inverse, labels))
        return self._answer({"volume": replace(like, voxels=volume.voxels), "covered_share": 0.9})

    def jacobian(self, transform: Path, template: VolumeArray) -> int:
        return self._answer({"map": replace(template, voxels=np.ones_like(template.voxels))})

    def poll(self) -> list[Event]:
        interim, self._interim = self._interim, []
        if self.isPaused:
            return interim
        events, self._waiting = self._waiting, []
        return interim + events

    def sendInterim(self, landmarks: LandmarkSet) -> None:
        """Report where the landmarks of the last request are so far."""
        self._interim.append(Event(self._number, "interim", content={"landmarks": landmarks}))

    def cancel(self) -> None:
        """As the real one: whatever waits ends as cancelled."""
        self.isPaused = False
        self._waiting = [
            Event(event.request, "error", text="Cancelled; nothing was changed.", cause="cancelled")
            for event in self._waiting
        ]

    def close(self) -> None:
        self._waiting = []

    def _answer(self, content: dict) -> int:
        self._number += 1
        self._waiting.append(Event(self._number, "result", 1.0, content=content))
        return self._number

    def _answerOrRefuse(self, read: Callable[[], dict]) -> int:
        try:
            return self._answer(read())
        except InputError as error:
            self._number += 1
            self._waiting.append(Event(self._number, "error", text=str(error), cause="input"))
            return self._number

    def _placed(self, place: int, landmark: Landmark) -> Landmark:
        if not landmark.is_defined:
            return replace(landmark, position=None, status="missing")
        left, back, up = landmark.position
        return replace(
            landmark,
            position=(left + SHIFT_MM, back, up),
            feature_distance=1.0 + place,
            expected_error_mm=0.5 + 0.25 * place,
            probability_within_3mm=max(0.0, 0.98 - 0.05 * place),
            probability_within_tolerance=max(0.0, 0.88 - 0.05 * place),
            radius_50_mm=0.5 + 0.25 * place,
            radius_90_mm=1.0 + 0.5 * place,
            inverse_consistency_error_mm=0.1 * place,
            ambiguous=self.isRepeating,
        )


def writeShift(path: Path, shift_mm: float) -> None:
    """Write a transform that takes template points so far along L, as the worker writes one."""
    matrix, node = vtk.vtkMatrix4x4(), slicer.vtkMRMLLinearTransformNode()
    matrix.SetElement(0, 3, -shift_mm)  # RAS
    node.SetMatrixTransformFromParent(matrix)
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node)


def _further(landmarks: LandmarkSet) -> LandmarkSet:
    moved = (
        replace(one, position=(*one.position[:2], one.position[2] + REPEAT_MM)) if one.is_defined else one
        for one in landmarks
    )
    return replace(landmarks, landmarks=tuple(moved))
