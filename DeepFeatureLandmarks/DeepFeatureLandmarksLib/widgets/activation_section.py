"""The Activation maps section: what a layer computes around a landmark, and what else in the target is similar."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.run import ActivationMaps, Run
from DeepFeatureLandmarksLib.widgets.channel_mosaic import mosaic, pixmap
from DeepFeatureLandmarksLib.widgets.combo_connector import ComboConnector, ComboEntry
from DeepFeatureLandmarksLib.widgets.layout import TARGET, TEMPLATE, SideBySideLayout
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from DeepFeatureLandmarksLib.widgets.place_section import placeRequestOf

COLOURS = ("Viridis", "Inferno", "Plasma", "Magma", "Grey")  # names of Slicer's colour tables
WHERE = {"target": "the target, where it was placed", "template": "the template"}


class ActivationSection:
    """Requests maps and shows them over the slices.

    Args:
        ui: The widgets of the .ui file.
        logic: Computes maps.
        layout: Shows them.
        run: Sends a request to the worker, `PlaceSection.run`.
    """

    def __init__(self, ui, logic: DeepFeatureLandmarksLogic, layout: SideBySideLayout, run: Callable):
        self._ui = ui
        self._logic = logic
        self._layout = layout
        self._run = run
        self._parameters: Parameters | None = None
        self._maps: ActivationMaps | None = None
        self._overlay = None
        self._side = TARGET
        self._landmark = ComboConnector(ui.activationLandmarkBox)
        self._where = ComboConnector(ui.activationWhereBox)
        self._colour = ComboConnector(ui.colourBox)
        self._where.setEntries(ComboEntry(name, label) for name, label in WHERE.items())
        self._where.write("target")
        for box in (self._landmark, self._where, self._colour):
            box.onChanged(self._restyle)
        ui.activationButton.clicked.connect(lambda *_: self._requestMaps())
        ui.distanceButton.clicked.connect(lambda *_: self._requestDistances())
        ui.channelSlider.valueChanged.connect(lambda *_: self._showChannel())
        ui.opacitySlider.valueChanged.connect(lambda *_: self._restyle())

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        if parameters is None:
            self._maps = self._overlay = None
            self._ui.channelSlider.setEnabled(False)
            self._ui.mosaicLabel.clear()
        self.refresh()

    def refresh(self) -> None:
        """Update landmarks and buttons from the parameters."""
        points = self._parameters.templateLandmarks if self._parameters is not None else None
        names = [points.GetNthControlPointLabel(n) for n in range(points.GetNumberOfControlPoints())] if points else []
        self._landmark.setEntries(ComboEntry(name, name) for name in names)
        if names and self._landmark.read() not in names:
            self._landmark.write(names[0])
        there = [name for name in COLOURS if slicer.mrmlScene.GetFirstNodeByName(name) is not None]
        self._colour.setEntries(ComboEntry(name, name) for name in there)
        if there and self._colour.read() not in there:
            self._colour.write(there[0])
        ready = bool(names) and not self._logic.validationMessage(placeRequestOf(self._parameters))
        for button in (self._ui.activationButton, self._ui.distanceButton):
            button.setEnabled(ready)

    def choose(self, name: str) -> None:
        """Offer the maps of the landmark that was selected."""
        self._landmark.write(name)

    def show(self, run: Run) -> None:
        """Show the maps of a finished run."""
        if run.kind == "activations":
            self._maps = run.maps
            slider = self._ui.channelSlider
            wasBlocked = slider.blockSignals(True)
            slider.setMaximum(len(run.maps.channels) - 1)
            slider.setValue(0)
            slider.blockSignals(wasBlocked)
            slider.setEnabled(True)
            self._ui.mosaicLabel.setPixmap(pixmap(mosaic([channel.voxels for channel in run.maps.channels])))
            self._showChannel()
        elif run.kind == "distanceMap":
            self._showOverlay(run.node, TARGET)

    def _requestMaps(self) -> None:
        inTarget = self._where.read() == "target"
        request, name = placeRequestOf(self._parameters), self._landmark.read()
        self._run(lambda: self._logic.activationMaps(request, name, inTarget=inTarget))

    def _requestDistances(self) -> None:
        request, name = placeRequestOf(self._parameters), self._landmark.read()
        self._run(lambda: self._logic.distanceMap(request, name))

    def _showChannel(self) -> None:
        if self._maps is None or self._maps.volume.GetScene() is None:
            return
        channel = self._ui.channelSlider.value
        self._ui.channelNumberLabel.setText(f"{channel + 1} of {len(self._maps.channels)}")
        isOfTemplate = self._maps.volume is self._parameters.templateVolume
        self._showOverlay(self._logic.activationMap(self._maps, channel), TEMPLATE if isOfTemplate else TARGET)

    def _showOverlay(self, volume, side) -> None:
        self._overlay, self._side = volume, side
        self._restyle()

    def _restyle(self) -> None:
        """Colour and opacity of the map that is shown."""
        if self._overlay is None or self._overlay.GetScene() is None:
            return
        colour = slicer.mrmlScene.GetFirstNodeByName(self._colour.read())
        if colour is not None:
            self._overlay.GetDisplayNode().SetAndObserveColorNodeID(colour.GetID())
        self._layout.overlay(self._side, self._overlay, self._ui.opacitySlider.value / 100)
