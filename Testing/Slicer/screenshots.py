"""Draws Resources/Screenshots: the panel on a stand-in for Slicer's widgets, beside slices of two made heads.

    python Testing/Slicer/screenshots.py Resources/Screenshots

Not pictures of Slicer: widgets are PySide6's, and the views are drawn here from MRML's own slice logic. Points, errors
and maps are real results of the real worker on `deepfeatures.phantom`. No patient's data is used.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import standin

standin.install()

import qt
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.selftest.fake_installer import FakeInstaller
from DeepFeatureLandmarksLib.selftest.module_test_case import UI
from DeepFeatureLandmarksLib.widgets.layout import TARGET, TEMPLATE
from DeepFeatureLandmarksLib.widgets.module_widget import ModuleWidget
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching.learning.protocol import Definition
from deepfeatures.matching.learning.protocol_file import read_protocol, write_protocol
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.phantom import make_pair
from deepfeatures.service.client import WorkerClient

HEAD = 96  # voxels from front to back
PANEL_WIDTH, VIEW = 480, 290  # pixels
SEEN_MM = 190.0  # across a view
GREY, NAVY = "#20262d", "#14181d"
LIMIT_S = 300
HIGHER_MM = (0.0, 0.0, 1.5)
DEFINED = "anterior commissure"
DEFINITION = Definition(
    "The middle of the bundle that crosses in front of the third ventricle.", link="https://afids.io"
)
SAMPLE = UI.parents[1] / "Icons" / "SampleData.png"
STYLE = f"""
* {{ color: #e4e8ec; font-size: 13px; }}
QWidget {{ background: {GREY}; }}
QPushButton {{ background: #3a4552; border: 1px solid #54616f; border-radius: 4px; padding: 5px 9px; }}
QPushButton:disabled, QComboBox:disabled, QAbstractSpinBox:disabled {{ color: #7d8792; }}
QPushButton:checked {{ background: #0072b2; }}
QPushButton#placeButton {{ font-weight: bold; padding: 8px; background: #0072b2; border-color: #56b4e9; }}
QPushButton#placeButton:disabled {{ background: #3a4552; border-color: #54616f; }}
QComboBox, QLineEdit, QAbstractSpinBox, QTableWidget {{ background: {NAVY}; border: 1px solid #46525e; }}
QComboBox, QLineEdit, QAbstractSpinBox, QTableWidget {{ border-radius: 3px; }}
QComboBox, QAbstractSpinBox, QTableWidget {{ padding: 3px; }}
QTableWidget {{ alternate-background-color: #1a2027; selection-background-color: #2f4f6f; gridline-color: #2a323b; }}
QHeaderView::section {{ background: #2b343e; border: 0; padding: 4px; }}
QProgressBar {{ background: {NAVY}; border: 1px solid #46525e; border-radius: 3px; text-align: center; }}
QProgressBar::chunk {{ background: #0072b2; }}
QLabel#introLabel {{ color: #aab4be; }}
QLabel#placeReasonLabel {{ color: #f0b540; }}
"""


def add(volume, name: str):
    """A volume of the backend as a node."""
    toRas = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.index_to_world
    node = slicer.util.addVolumeFromArray(volume.voxels.numpy(), ijkToRAS=toRas, name=name)
    node.GetDisplayNode().SetAndObserveColorNodeID(slicer.mrmlScene.GetFirstNodeByName("Grey").GetID())
    return node


class Story:
    """The panel with the two heads, taken through what a person would do."""

    def __init__(self):
        self.widget = slicer.util.loadUI(str(UI))
        self.widget.setMRMLScene(slicer.mrmlScene)
        palette = qt.QPalette()
        palette.setColor(qt.QPalette.Link, qt.QColor(TEMPLATE.colour))
        qt.QApplication.setPalette(palette)
        self.widget.setStyleSheet(STYLE)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.client = WorkerClient()
        self.logic = DeepFeatureLandmarksLogic(slicer.mrmlScene, self.client)
        self.moduleWidget = ModuleWidget(self.ui, slicer.mrmlScene, self.logic, FakeInstaller())
        self.moduleWidget.enter()
        self.wait(lambda: self.logic.catalog is not None)

    def load(self) -> None:
        template, points, target, truth = make_pair(HEAD)
        self.template = add(template, "Template head")
        self.target = add(target, "Target head")
        markups = [
            slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            for name in ("Template landmarks", "True places in target")
        ]
        for node, landmarks in zip(markups, (points, truth), strict=True):
            node.CreateDefaultDisplayNodes()
            nodes.landmarksToNode(landmarks, node)
        parameters = self.moduleWidget.parameters
        parameters.templateVolume, parameters.targetVolume = self.template, self.target
        parameters.templateLandmarks, self.truth = markups

    def learn(self, path: Path) -> None:
        """Let a protocol learn from three more heads and from this one, and define the selected landmark.

        In those three a person marks all points a little higher than the template has them, as people differ.
        """
        parameters = self.moduleWidget.parameters
        template, points = nodes.arrayFromNode(self.template), nodes.landmarkSetFromNode(parameters.templateLandmarks)
        names = [point.name for point in points]
        for seed in (1, 2, 3):
            *_, scan, truth = make_pair(HEAD, seed)
            marked = tuple(replace(one, position=tuple(np.add(one.position, HIGHER_MM))) for one in truth)
            person = {"name": f"head {seed}", "corrected": names}
            self.client.wait(
                self.client.learn(path, template, points, scan, LandmarkSet(marked), MatchSettings(), **person)
            )
        write_protocol(read_protocol(path).with_definitions({DEFINED: DEFINITION}), path)
        self.moduleWidget.learning.askNewFile = lambda: str(path)
        for _ in range(3):
            self.moduleWidget.review.accept()
        self.moduleWidget.learning.learn()
        self.finish()
        self.moduleWidget.review.select(names.index(DEFINED))

    def wait(self, isDone) -> None:
        end = time.monotonic() + LIMIT_S
        while not isDone():
            if time.monotonic() > end:
                sys.exit(f"nothing came within {LIMIT_S} s")
            self.logic.poll()
            qt.QApplication.processEvents()
            time.sleep(0.02)

    def finish(self) -> None:
        self.wait(lambda: not self.logic.isBusy)

    def fold(self, *opened: str) -> None:
        for name in ("data", "features", "place", "review", "transform", "activation", "quality", "install"):
            getattr(self.ui, f"{name}Section").collapsed = name not in opened

    def shoot(self, path: Path, withViews: bool = True) -> None:
        """Write a picture of the panel, with the six views beside it."""
        height = 3 * VIEW + 2 if withViews else max(300, self.widget.sizeHint().height())
        self.widget.resize(PANEL_WIDTH, height)
        self.widget.show()
        for _ in range(5):
            qt.QApplication.processEvents()
        picture = qt.QImage(PANEL_WIDTH + (2 * VIEW + 3 if withViews else 0), height, qt.QImage.Format_RGB32)
        picture.fill(qt.QColor("black"))
        painter = qt.QPainter(picture)
        painter.drawPixmap(0, 0, self.widget.grab())
        if withViews:
            for column, (side, points) in enumerate(self.columns()):
                for row, name in enumerate(side.viewNames):
                    left, top = PANEL_WIDTH + 2 + column * (VIEW + 1), row * (VIEW + 1)
                    painter.drawImage(left, top, self.view(side, name, points))
        painter.end()
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(str(path))

    def columns(self) -> tuple:
        """The layout's columns, with their points."""
        parameters = self.moduleWidget.parameters
        return (TEMPLATE, parameters.templateLandmarks), (TARGET, parameters.targetLandmarks)

    def view(self, side, name: str, points) -> qt.QImage:
        """One slice with the points that lie near it."""
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
        node.SetDimensions(VIEW, VIEW, 1)
        node.SetFieldOfView(SEEN_MM, SEEN_MM, 1)
        node.UpdateMatrices()
        image = pixels(logic, node)
        painter = qt.QPainter(image)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        painter.fillRect(0, 0, VIEW, 4, qt.QColor(side.colour))
        painter.setPen(qt.QColor("#e4e8ec"))
        painter.drawText(8, 20, f"{side.name}  {name.removeprefix(side.name).lower()}")
        selected = self.moduleWidget.review.selectedRow
        toSlice = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetXYToRAS()))
        for n in range(points.GetNumberOfControlPoints() if points is not None else 0):
            if points.GetNthControlPointPositionStatus(n) != points.PositionDefined:
                continue
            x, y, depth, _ = toSlice @ [*points.GetNthControlPointPositionWorld(n), 1]
            label = points.GetNthControlPointLabel(n)
            isSelected = selected is not None and label == selected.name
            if abs(depth) > (1 if isSelected else 3):
                continue
            painter.setPen(qt.QPen(qt.QColor("#F0E442" if isSelected else side.colour), 2))
            painter.drawEllipse(qt.QPointF(x, VIEW - y), 6, 6)
            if isSelected:
                wide = painter.fontMetrics().horizontalAdvance(label)
                left = min(x + 11, VIEW - wide - 6)
                painter.fillRect(qt.QRectF(left - 3, VIEW - y + 8, wide + 6, 18), qt.QColor(0, 0, 0, 170))
                painter.drawText(qt.QPointF(left, VIEW - y + 21), label)
        painter.end()
        return image


def pixels(logic, node) -> qt.QImage:
    """What a slice logic shows, blended as Slicer's views blend it."""
    logic.UpdatePipeline()
    layers = []
    for layer in (logic.GetBackgroundLayer(), logic.GetForegroundLayer()):
        volume = layer.GetVolumeNode()
        if volume is None:
            continue
        layer.UpdateTransforms()
        connection = layer.GetImageDataConnection()
        connection.GetProducer().UpdateWholeExtent()
        data = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
        columns, rows, _ = data.GetDimensions()
        scalars = vtk_to_numpy(data.GetPointData().GetScalars())
        layers.append(scalars.reshape(rows, columns, -1).astype(float))
    if not layers:
        image = qt.QImage(VIEW, VIEW, qt.QImage.Format_RGB32)
        image.fill(qt.QColor("black"))
        return image
    shown = layers[0][..., :3]
    if len(layers) > 1:
        composite = logic.GetSliceCompositeNode()
        alpha = composite.GetForegroundOpacity() * layers[1][..., 3:4] / 255
        shown = shown * (1 - alpha) + layers[1][..., :3] * alpha
    bytes_ = np.ascontiguousarray(shown[::-1].astype(np.uint8))
    return (
        qt.QImage(bytes_.data, VIEW, VIEW, 3 * VIEW, qt.QImage.Format_RGB888)
        .convertToFormat(qt.QImage.Format_RGB32)
        .copy()
    )


def thumbnail(story: Story, path: Path) -> None:
    """The sample's picture in the SampleData module, 260 x 280 pixels: both heads."""
    picture = qt.QImage(260, 280, qt.QImage.Format_RGB32)
    picture.fill(qt.QColor("black"))
    painter = qt.QPainter(picture)
    for row, (side, points) in enumerate(story.columns()):
        view = story.view(side, side.viewNames[1], points)
        painter.drawImage(0, 141 * row, view.scaledToWidth(260).copy(0, 55, 260, 139))
    painter.end()
    picture.save(str(path))


def main(folder: Path) -> None:
    story = Story()
    try:
        story.fold("data", "place")
        story.shoot(folder / "start.png", withViews=False)
        story.load()
        story.moduleWidget.place.start()
        story.finish()
        story.fold("place", "review")
        story.shoot(folder / "review.png")
        thumbnail(story, SAMPLE)
        with tempfile.TemporaryDirectory() as scratch:
            story.learn(Path(scratch) / "heads.dflp")
            story.fold("place", "review")
            story.shoot(folder / "learning.png")
        story.ui.clearProtocolButton.click()
        story.ui.presetBox.setCurrentIndex(1)
        story.fold("data", "features", "place")
        story.shoot(folder / "features.png", withViews=False)
        story.ui.presetBox.setCurrentIndex(2)
        story.ui.activationButton.click()
        story.finish()
        story.fold("activation")
        story.shoot(folder / "activations.png")
        story.moduleWidget.parameters.humanLandmarks = story.truth
        story.ui.compareButton.click()
        story.fold("quality")
        story.shoot(folder / "quality.png", withViews=False)
    finally:
        story.moduleWidget.cleanup()
        story.client.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
