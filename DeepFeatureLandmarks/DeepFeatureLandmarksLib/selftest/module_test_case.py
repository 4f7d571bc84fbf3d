"""What the tests of the module share: a scene, the module's panel in it, and what a person would do."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import slicer

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.selftest.fake_client import FakeWorkerClient
from DeepFeatureLandmarksLib.selftest.fake_installer import FakeInstaller
from DeepFeatureLandmarksLib.widgets.module_widget import ModuleWidget

UI = Path(__file__).parents[2] / "Resources" / "UI" / "DeepFeatureLandmarks.ui"
NAMES = ("AC", "PC", "left eye", "right eye")


def makeVolume(name: str):
    """A volume of 64³ voxels of 2 mm, its centre in the scene's."""
    voxels = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([2.0, 2.0, 2.0, 1.0]), name=name)
    volume.SetOrigin(-63, -63, -63)
    return volume


def makePoints(name: str, count: int = len(NAMES)):
    """Points on a line through the scene's centre."""
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for n in range(count):
        label = NAMES[n] if n < len(NAMES) else f"point {n}"
        points.AddControlPointWorld(-20 + 40 * n / count, 5.0, 1.0, label)
    return points


class ModuleTestCase:
    """To be mixed into a `unittest.TestCase`."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.client = FakeWorkerClient()
        self.installer = FakeInstaller()
        self.moduleWidget = self.makeModuleWidget()

    def tearDown(self):
        self.moduleWidget.cleanup()
        slicer.mrmlScene.Clear(0)

    def makeModuleWidget(self) -> ModuleWidget:
        self.uiWidget = slicer.util.loadUI(str(UI))
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.logic = DeepFeatureLandmarksLogic(slicer.mrmlScene, self.client)
        return ModuleWidget(self.ui, slicer.mrmlScene, self.logic, self.installer)

    def pair(self, count: int = len(NAMES)) -> None:
        """Two volumes and template points, chosen."""
        parameters = self.moduleWidget.parameters
        parameters.templateVolume, parameters.targetVolume = makeVolume("template"), makeVolume("target")
        parameters.templateLandmarks = makePoints("landmarks", count)

    def finish(self, limit_s: float = 10.0) -> None:
        """Let a run come to its end, as the panel's timer does."""
        end = time.monotonic() + limit_s
        self.logic.poll()
        while self.logic.isBusy:
            self.assertLess(time.monotonic(), end, "the run does not end")
            self.logic.poll()

    def waitForRefresh(self, limit_s: float = 10.0) -> None:
        """Wait until the panel shows what has changed in the scene."""
        end = time.monotonic() + limit_s
        while self.moduleWidget.isStale:
            self.assertLess(time.monotonic(), end, "the panel is not refreshed")
            slicer.app.processEvents()

    def placed(self, count: int = len(NAMES)):
        """The found points of a finished run."""
        self.pair(count)
        self.moduleWidget.place.start()
        self.finish()
        return self.moduleWidget.parameters.targetLandmarks

    def sceneText(self) -> str:
        """The scene as it would be saved, without files."""
        scene = slicer.mrmlScene
        scene.SetSaveToXMLString(True)
        scene.Commit()
        scene.SetSaveToXMLString(False)
        return scene.GetSceneXMLString()

    def openScene(self, text: str) -> None:
        """Load what `sceneText` has given."""
        scene = slicer.mrmlScene
        scene.SetLoadFromXMLString(True)
        scene.SetSceneXMLString(text)
        scene.Import()
        scene.SetLoadFromXMLString(False)

    def cell(self, row: int, column: int) -> str:
        return self.ui.reviewTable.item(row, column).text()
