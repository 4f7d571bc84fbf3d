"""The panel with the real worker: from chosen volumes to found points, maps and errors, on two made heads."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6", reason="needs PySide6")

import standin

standin.install()

import slicer

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.selftest.fake_client import RehearsedInstaller
from DeepFeatureLandmarksLib.selftest.module_tests import UI
from DeepFeatureLandmarksLib.widgets.widget import Panel
from deepfeatures.phantom import make_pair
from deepfeatures.service.client import WorkerClient

VOXELS = 48  # from front to back of a head, of 4.9 mm each
LIMIT_S = 120


@pytest.fixture
def panel():
    slicer.mrmlScene.Clear(0)
    widget = slicer.util.loadUI(str(UI))
    widget.setMRMLScene(slicer.mrmlScene)
    client = WorkerClient()
    logic = DeepFeatureLandmarksLogic(slicer.mrmlScene, client)
    panel = Panel(slicer.util.childWidgetVariables(widget), slicer.mrmlScene, logic, RehearsedInstaller())
    panel.widget, panel.logic = widget, logic
    yield panel
    panel.cleanup()
    client.close()
    slicer.mrmlScene.Clear(0)


def wait(panel, is_done):
    end = time.monotonic() + LIMIT_S
    while not is_done():
        assert time.monotonic() < end
        panel.logic.poll()
        time.sleep(0.02)


def add_volume(volume, name):
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.index_to_world
    return slicer.util.addVolumeFromArray(volume.voxels.numpy(), ijkToRAS=to_ras, name=name)


def add_points(landmarks, name):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    nodes.landmarksToNode(landmarks, node)
    return node


def test_from_two_volumes_to_errors(panel):
    template, points, target, truth = make_pair(VOXELS)
    parameters = panel.parameters
    panel.enter()
    parameters.templateVolume, parameters.targetVolume = add_volume(template, "template"), add_volume(target, "target")
    parameters.templateLandmarks = add_points(points, "landmarks")
    wait(panel, lambda: panel.logic.catalog is not None)
    assert parameters.network == panel.logic.catalog["best"]["network"]

    panel.place.start()
    wait(panel, lambda: not panel.logic.isBusy)
    assert parameters.targetLandmarks is not None, panel._ui.progressLabel.text
    table = panel._ui.reviewTable
    doubts = [float(table.item(row, 1).text()) for row in range(table.rowCount)]
    assert doubts == sorted(doubts, reverse=True) and doubts[-1] > 0
    assert not table.isColumnHidden(2), "chances to lie within 3 mm"
    parameters.humanLandmarks = add_points(truth, "truth")
    panel.quality.compare()
    mean_mm = float(panel._ui.qualitySummaryLabel.text.split("mean ")[1].split(" mm")[0])
    assert mean_mm < 4.9, "worse than a voxel"

    panel._ui.activationButton.click()
    wait(panel, lambda: not panel.logic.isBusy)
    assert panel._ui.channelSlider.enabled, panel._ui.progressLabel.text
