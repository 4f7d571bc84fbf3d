"""The Features section: network, layer, patch size and intensity, by which neighbourhoods are compared."""

from __future__ import annotations

from DeepFeatureLandmarksLib.scene.presets import (
    DEVICES,
    INTENSITY,
    LARGEST_TOLERANCE_MM,
    PRESETS,
    TOLERANCE,
    deviceNames,
    isMissing,
    layerText,
    networkLabel,
    networkText,
    settingsFor,
    spacingOf,
)
from DeepFeatureLandmarksLib.widgets.combo_connector import ComboConnector, ComboEntry
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from deepfeatures.matching.settings import MatchSettings


def settingsOf(parameters: Parameters) -> MatchSettings:
    """What the parameters ask the matcher for."""
    names = ("preset", "device", "network", "layer", "patchSize", "intensity")
    chosen = {name: getattr(parameters, name) for name in names}
    tolerance_mm, protocol = parameters.toleranceMm or None, parameters.protocol or None
    return settingsFor(**chosen, tolerance_mm=tolerance_mm, protocol=protocol)


class FeaturesSection:
    """Shows the catalog, and sets network and layer by the preset.

    Args:
        ui: The widgets of the .ui file.
    """

    def __init__(self, ui):
        self._ui = ui
        self._parameters: Parameters | None = None
        self._catalog: dict | None = None
        self._boxes = {
            "preset": ComboConnector(ui.presetBox),
            "network": ComboConnector(ui.networkBox),
            "layer": ComboConnector(ui.layerBox),
            "intensity": ComboConnector(ui.intensityBox),
            "device": ComboConnector(ui.deviceBox),
        }
        ui.intensityLabel.setText(f"{INTENSITY['label']}:")
        ui.intensityBox.setToolTip(INTENSITY["help"])
        ui.toleranceLabel.setText(f"{TOLERANCE['label']}:")
        ui.toleranceBox.setToolTip(TOLERANCE["help"])
        ui.toleranceBox.setMaximum(LARGEST_TOLERANCE_MM)
        self._boxes["intensity"].setEntries(ComboEntry(name, name) for name in INTENSITY["choices"])
        self._boxes["preset"].setEntries(ComboEntry(name, preset.label) for name, preset in PRESETS.items())
        self._boxes["device"].setEntries(ComboEntry(name, label) for name, label in DEVICES.items())
        self._tag = None

    def setParameters(self, parameters: Parameters | None) -> None:
        """Bind to another parameter node, or to none."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
        self._parameters = parameters
        if parameters is not None:
            self._tag = parameters.connectParametersToGui(self._boxes)
            self.refresh()

    def setCatalog(self, catalog: dict | None) -> None:
        """The worker's networks and devices; `None` before it has sent them."""
        self._catalog = catalog
        if catalog is not None:
            self._boxes["device"].setEntries(ComboEntry(name, DEVICES[name]) for name in deviceNames(catalog))
        self.refresh()

    def refresh(self) -> None:
        """Update what is shown from the parameters."""
        if self._parameters is None:
            return
        own = PRESETS.get(self._parameters.preset, PRESETS["best"]).settings is None
        ui = self._ui
        for box in (ui.networkBox, ui.layerBox, ui.patchSizeBox, ui.intensityBox):
            box.setEnabled(own and self._catalog is not None)
        if self._catalog is None:
            self._ui.networkSummaryLabel.setText("Networks are listed once the packages are installed.")
            self._ui.layerSummaryLabel.setText("")
            return
        self._updateEntries(own)
        self._describe()

    def _updateEntries(self, own: bool) -> None:
        """Set network, layer and patch size by the preset, and the layer by the network."""
        networks = self._catalog["networks"]
        self._boxes["network"].setEntries(_networkChoice(network) for network in networks)
        chosen = settingsOf(self._parameters)
        best = self._catalog["best"]
        if not own:
            self._write("network", chosen.network or best["network"])
            self._write("layer", chosen.layer or best["layer"])
            self._write("patchSize", chosen.patch_size or best["patch_size"])
            self._write("intensity", chosen.intensity)
        elif self._network() is None:
            self._write("network", best["network"])
        network = self._network()
        self._boxes["layer"].setEntries(_layerChoice(layer) for layer in network["layers"])
        if self._parameters.layer not in [layer["name"] for layer in network["layers"]]:
            self._write("layer", network["default_layer"])

    def _write(self, name: str, value) -> None:
        if self._parameters.getValue(name) != value:
            self._parameters.setValue(name, value)

    def _network(self) -> dict | None:
        return next((n for n in self._catalog["networks"] if n["name"] == self._parameters.network), None)

    def _describe(self) -> None:
        network = self._network()
        layer = next(layer for layer in network["layers"] if layer["name"] == self._parameters.layer)
        spacing = spacingOf(self._parameters.templateVolume)
        self._ui.networkSummaryLabel.setText(networkText(network))
        self._ui.layerSummaryLabel.setText(layerText(layer, spacing))
        edge = self._parameters.patchSize
        self._ui.patchSizeMillimetresLabel.setText(f"= {edge * spacing:.0f} mm" if spacing else "")


def _networkChoice(network: dict) -> ComboEntry:
    missing = isMissing(network)
    tip = "Its weights are missing: import them with `deepfeatures weights import`." if missing else network["summary"]
    return ComboEntry(network["name"], networkLabel(network), not missing, tip)


def _layerChoice(layer: dict) -> ComboEntry:
    text = f"{layer['name']}   {layer['channels']} channels, sees {layer['receptive_field']} voxels"
    return ComboEntry(layer["name"], text, layer["available"])
