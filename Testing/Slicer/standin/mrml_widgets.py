"""Stand-ins for Slicer's MRML widgets: they do what our module asks of them, on the real scene."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtWidgets


class qMRMLWidget(QtWidgets.QWidget):
    """Hands the scene on to the selectors within it, as the connections of a .ui file do in Slicer."""

    mrmlSceneChanged = QtCore.Signal("vtkMRMLScene*")

    def setMRMLScene(self, scene):
        for selector in self.findChildren(qMRMLNodeComboBox):
            selector.setMRMLScene(scene)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the scene's nodes of some classes."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._types, self._nodes = None, [], [None]
        self._noneDisplay, self._current, self._isListing = "None", None, False
        self.currentIndexChanged.connect(self._onIndexChanged)

    def _setTypes(self, types):
        self._types = list(types)
        self._list()

    def _setNoneDisplay(self, text):
        self._noneDisplay = text
        self._list()

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _setTypes)
    noneDisplay = QtCore.Property(str, lambda self: self._noneDisplay, _setNoneDisplay)

    @QtCore.Slot("vtkMRMLScene*")
    def setMRMLScene(self, scene):
        self._scene = scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent):
            scene.AddObserver(event, lambda *_: self._list())
        self._list()

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node):
        if node is not None and node not in self._nodes:
            self._list()
        if node is not self._current:
            self.setCurrentIndex(self._nodes.index(node) if node in self._nodes else 0)

    def _list(self):
        self._isListing = True
        found = (
            [] if self._scene is None else [n for t in self._types for n in slicer.util.getNodesByClass(t, self._scene)]
        )
        self._nodes = [None, *found]
        self.clear()
        self.addItems([self._noneDisplay, *(node.GetName() for node in found)])
        wanted = self._current if self._current in self._nodes else None
        self.setCurrentIndex(self._nodes.index(wanted))
        self._isListing = False
        if wanted is not self._current:
            self._onIndexChanged(0)

    def _onIndexChanged(self, place):
        if self._isListing:
            return
        self._current = self._nodes[place] if 0 <= place < len(self._nodes) else None
        self.currentNodeChanged.emit(self._current)


class qMRMLSliderWidget(QtWidgets.QWidget):
    """Only there to be named."""


class qMRMLSpinBox(QtWidgets.QWidget):
    """Only there to be named."""


class qMRMLRangeWidget(QtWidgets.QWidget):
    """Only there to be named."""
