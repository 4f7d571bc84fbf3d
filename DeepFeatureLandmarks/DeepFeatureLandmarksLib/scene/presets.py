"""Settings under a name, and what people read of networks, layers, patches and devices: the same in both faces."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepfeatures.matching.settings import MatchSettings, setting


@dataclass(frozen=True)
class Preset:
    """Settings under one name.

    Args:
        label: What people read.
        settings: `None` where the person chooses.
    """

    label: str
    settings: MatchSettings | None


# The names are stored in scenes. "paper" is the setting of the paper in which an untrained network did best (5.01 mm).
PRESETS = {
    "best": Preset("Best measured", MatchSettings()),
    "paper": Preset(
        "As in the paper",
        MatchSettings(network="vgg19-3d-random", layer="conv4_2", patch_size=32, search="dense"),
    ),
    "own": Preset("My own", None),
}
LARGEST_PATCH = 64  # voxels; from `SMALLEST_PATCH` on people may choose
LARGEST_TOLERANCE_MM = 1000.0
INTENSITY, TOLERANCE = setting("intensity"), setting("tolerance_mm")  # label, help and choices
DEVICES = {"auto": "automatic", "cpu": "processor (CPU)", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}


def settingsFor(
    preset: str,
    *,
    device: str,
    network: str,
    layer: str,
    patchSize: int,
    intensity: str,
    tolerance_mm: float | None = None,
    protocol: str | None = None,
) -> MatchSettings:
    """The settings of a preset on a device.

    Args:
        preset: A name of `PRESETS`; another one, as of a later version, stands for the best.
        device: See `MatchSettings`.
        network: Counts where the person chooses, as do the others; empty for the best.
        layer: Empty for the network's own default.
        patchSize: In voxels.
        intensity: See `MatchSettings`.
        tolerance_mm: See `MatchSettings`; counts with every preset, as does the device.
        protocol: See `MatchSettings`; counts with a guided search, the only one that learns.
    """
    chosen = PRESETS.get(preset, PRESETS["best"]).settings
    if chosen is None:
        chosen = MatchSettings(network or None, layer or None, patchSize, search="dense", intensity=intensity)
    learnt = protocol if chosen.is_guided else None
    return replace(chosen, device=device, tolerance_mm=tolerance_mm, protocol=learnt)


def toleranceOf(text: str) -> float | None:
    """A tolerance in mm as a person typed it; `None` where it cannot be used."""
    try:
        tolerance_mm = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return tolerance_mm if 0 < tolerance_mm <= LARGEST_TOLERANCE_MM else None


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
