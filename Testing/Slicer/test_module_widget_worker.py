"""The module's widget with the real worker: from chosen volumes to found points, maps and errors, on two made heads."""

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
from DeepFeatureLandmarksLib.selftest.fake_installer import FakeInstaller
from DeepFeatureLandmarksLib.selftest.module_test_case import UI
from DeepFeatureLandmarksLib.widgets.module_widget import ModuleWidget
from deepfeatures.data.landmark_scores import REVIEWED
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.phantom import make_pair
from deepfeatures.service.client import WorkerClient

VOXELS = 48  # from front to back of a head, of 4.9 mm each
LIMIT_S = 120


@pytest.fixture
def module_widget():
    slicer.mrmlScene.Clear(0)
    widget = slicer.util.loadUI(str(UI))
    widget.setMRMLScene(slicer.mrmlScene)
    client = WorkerClient()
    logic = DeepFeatureLandmarksLogic(slicer.mrmlScene, client)
    module_widget = ModuleWidget(slicer.util.childWidgetVariables(widget), slicer.mrmlScene, logic, FakeInstaller())
    module_widget.widget, module_widget.logic = widget, logic
    yield module_widget
    module_widget.cleanup()
    client.close()
    slicer.mrmlScene.Clear(0)


def wait(module_widget, is_done):
    end = time.monotonic() + LIMIT_S
    while not is_done():
        assert time.monotonic() < end
        module_widget.logic.poll()
        time.sleep(0.02)


def add_volume(volume, name):
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.index_to_world
    return slicer.util.addVolumeFromArray(volume.voxels.numpy(), ijkToRAS=to_ras, name=name)


def add_points(landmarks, name):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    nodes.landmarksToNode(landmarks, node)
    return node


def test_from_two_volumes_to_errors(module_widget):
    template, points, target, truth = make_pair(VOXELS)
    parameters = module_widget.parameters
    module_widget.enter()
    parameters.templateVolume, parameters.targetVolume = add_volume(template, "template"), add_volume(target, "target")
    parameters.templateLandmarks = add_points(points, "landmarks")
    wait(module_widget, lambda: module_widget.logic.catalog is not None)
    assert parameters.network == module_widget.logic.catalog["best"]["network"]

    module_widget.place.start()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    assert parameters.targetLandmarks is not None, module_widget._ui.progressLabel.text
    table = module_widget._ui.reviewTable
    column = 1 + [score.name for score in REVIEWED].index("radius_90_mm")
    radii = [float(table.item(row, column).text()) for row in range(table.rowCount)]
    assert radii == sorted(radii, reverse=True) and radii[-1] > 0
    assert not table.isColumnHidden(column)
    parameters.humanLandmarks = add_points(truth, "truth")
    module_widget.quality.compare()
    mean_mm = float(module_widget._ui.qualitySummaryLabel.text.split("mean ")[1].split(" mm")[0])
    assert mean_mm < 4.9, "worse than a voxel"

    module_widget._ui.activationButton.click()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    assert module_widget._ui.channelSlider.enabled, module_widget._ui.progressLabel.text


def test_from_reviewed_points_to_a_protocol_and_back(module_widget, tmp_path):
    template, points, target, truth = make_pair(VOXELS)
    parameters, ui = module_widget.parameters, module_widget._ui
    module_widget.enter()
    module_widget.learning.askNewFile = lambda: str(tmp_path / "heads.dflp")
    parameters.templateVolume, parameters.targetVolume = add_volume(template, "template"), add_volume(target, "target")
    parameters.templateLandmarks = add_points(points, "landmarks")
    parameters.templateLandmarks.SetNthControlPointDescription(0, "Where the <first> landmark lies")
    module_widget.place.start()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    found = parameters.targetLandmarks
    for row in module_widget.review.rows:
        true = next(mark.position for mark in truth if mark.name == row.name)
        module_widget.logic.correct(found, row.index, (-true[0], -true[1], true[2]))
    module_widget.review.refresh()
    module_widget.learning.learn()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    assert ui.learningLabel.text.startswith("Taught by 1 scan. This scan is among them."), ui.progressLabel.text
    assert f"0 accepted, {len(truth)} corrected" in ui.progressLabel.text
    known = read_protocol(parameters.protocol)
    assert [(scan.name, int(scan.corrected.sum())) for scan in known.scans] == [("target", len(truth))]
    placed = nodes.landmarkSetFromNode(found)
    np.testing.assert_allclose(placed.positions, truth.positions, atol=1e-3)
    module_widget.review.select(0)
    assert "Where the &lt;first&gt; landmark lies" in ui.definitionLabel.text

    module_widget.learning.loadTemplate()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    assert parameters.templateVolume.GetName() == "template_1", ui.progressLabel.text
    module_widget.place.start()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    assert "placed in" in ui.progressLabel.text, "its own template is not refused"

    module_widget.learning.forget()
    wait(module_widget, lambda: not module_widget.logic.isBusy)
    assert ui.learningLabel.text.startswith("Taught by no scan yet."), ui.progressLabel.text
    assert read_protocol(parameters.protocol).scans == ()
