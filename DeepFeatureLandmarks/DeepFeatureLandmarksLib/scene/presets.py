"""Settings under a name, and what people read of networks, layers, patches and devices: the same in both faces."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepfeatures.service.protocol import PlaceSettings


@dataclass(frozen=True)
class Preset:
    """Settings under one name.

    Args:
        label: What people read.
        settings: `None` where the person chooses.
    """

    label: str
    settings: PlaceSettings | None


# The names are stored in scenes. "paper" is the cell in which an untrained network did best there (5.01 mm).
PRESETS = {
    "best": Preset("Best measured", PlaceSettings()),
    "paper": Preset(
        "As in the paper",
        PlaceSettings(network="vgg19-3d-random", layer="conv4_2", patch_size=32, search="dense"),
    ),
    "own": Preset("My own", None),
}
SMALLEST_PATCH, LARGEST_PATCH = 4, 64  # voxels, that people may choose
DEVICES = {"auto": "automatic", "cpu": "processor (CPU)", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}


def settingsFor(preset: str, network: str, layer: str, patchSize: int, device: str) -> PlaceSettings:
    """What is asked of the matcher; network, layer and patch size (voxels) count where the person chooses them."""
    chosen = PRESETS.get(preset, PRESETS["best"]).settings
    if chosen is None:
        chosen = PlaceSettings(network=network or None, layer=layer or None, patch_size=patchSize, search="dense")
    return replace(chosen, device=device)


def deviceNames(catalog: dict) -> list[str]:
    """Devices that can be chosen here."""
    return [name for name in DEVICES if name == "auto" or name in catalog["devices"]]


def isMissing(network: dict) -> bool:
    """Whether a network of the catalog lacks its weights."""
    return network["weights"] == "missing"


def networkLabel(network: dict) -> str:
    """A network of the catalog in a list."""
    number = f"  (network {network['paper_number']} of the paper)" if network["paper_number"] else ""
    return network["name"] + number + ("  – weights missing" if isMissing(network) else "")


def networkText(network: dict) -> str:
    """A network of the catalog in one or two sentences."""
    return f"{network['summary']} Weights: {network['weights']}."


def layerText(layer: dict, spacing_mm: float | None) -> str:
    """What a layer of the catalog sees, in mm too where the edge of a voxel is known."""
    field = layer["receptive_field"]
    wide = f" = {field * spacing_mm:.0f} mm" if spacing_mm else ""
    return f"{layer['channels']} channels; each sees {field} voxels{wide}."


def spacingOf(volume) -> float | None:
    """Edge in mm of the grid on which volumes are compared: the template's smallest voxel edge."""
    return min(volume.GetSpacing()) if volume is not None else None
