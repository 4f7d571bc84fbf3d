"""Stand-ins for slicer.app and slicer.modules: layouts and slices are MRML's own logic, windows are not there."""

from __future__ import annotations

import types

import numpy as np
from PySide6 import QtCore, QtWidgets

PIXELS = (300, 300)  # of a view
COLOURS = {  # from dark to bright, red, green, blue; Slicer reads them from files
    "Viridis": ((0.27, 0.0, 0.33), (0.23, 0.32, 0.55), (0.13, 0.57, 0.55), (0.37, 0.79, 0.38), (0.99, 0.91, 0.14)),
    "Grey": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class LayoutManager:
    """Real layout logic and real slice logics, without views."""

    def __init__(self, slicer):
        self._slicer = slicer
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._slices = {}
        self._logic.GetLayoutNode().AddObserver("ModifiedEvent", lambda *_: self._makeSlices())

    def _makeSlices(self):
        """Slicer makes a widget, and with it a slice logic, for each view of a layout."""
        for node in self._slicer.util.getNodesByClass("vtkMRMLSliceNode", self._slicer.mrmlScene):
            self.sliceWidget(node.GetLayoutName())

    def layoutLogic(self):
        return self._logic

    def sliceWidget(self, name):
        node = self._slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if node is None:
            return None
        if name not in self._slices:
            logic = self._slicer.vtkMRMLSliceLogic()
            logic.SetMRMLScene(self._slicer.mrmlScene)
            logic.SetSliceNode(node)
            node.SetDimensions(*PIXELS, 1)
            self._slices[name] = logic
        return types.SimpleNamespace(sliceLogic=lambda: self._slices[name])


class MarkupsLogic:
    """Remembers what it was told."""

    def __init__(self, interaction):
        self._interaction = interaction
        self.active = None

    def SetActiveList(self, node):
        self.active = node

    def StartPlaceMode(self, persistent):
        self._interaction.SwitchToPersistentPlaceMode()


class ModuleManager:
    def connect(self, signal, slot):
        pass

    disconnect = connect


class App:
    """What our code and Slicer's Python files ask of the application."""

    def __init__(self, slicer):
        scene = slicer.mrmlScene
        self._layouts = LayoutManager(slicer)
        self._interaction = slicer.vtkMRMLInteractionNode()
        self._interaction.SetSingletonTag("Singleton")
        scene.AddNode(self._interaction)
        self._manager = ModuleManager()
        self.started = []
        self.window = QtWidgets.QMainWindow()

    def layoutManager(self):
        return self._layouts

    def applicationLogic(self):
        return types.SimpleNamespace(GetInteractionNode=lambda: self._interaction)

    def moduleManager(self):
        return self._manager

    def connect(self, signal, slot):
        self.started.append((signal, slot))

    def testingEnabled(self):
        return True

    def translate(self, context, text):
        return text

    def userSettings(self):
        return QtCore.QSettings()

    settings = userSettings

    def processEvents(self):
        QtWidgets.QApplication.processEvents()


def install(slicer) -> None:
    slicer.app = App(slicer)
    markups = MarkupsLogic(slicer.app.applicationLogic().GetInteractionNode())
    slicer.modules = types.SimpleNamespace(markups=types.SimpleNamespace(logic=lambda: markups))
    slicer.util.mainWindow = lambda: slicer.app.window
    for name, anchors in COLOURS.items():
        table = slicer.vtkMRMLColorTableNode()
        table.SetTypeToUser()
        table.SetNumberOfColors(256)
        for n in range(256):
            channels = (
                np.interp(n, np.linspace(0, 255, len(anchors)), channel) for channel in zip(*anchors, strict=True)
            )
            table.SetColor(n, str(n), *channels, 1.0)
        table.SetName(name)
        table.SetSingletonTag(name)  # stays when the scene is closed
        slicer.mrmlScene.AddNode(table)
