"""What can be chosen, as plain data: networks with their layers, devices, the best settings, versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deepfeatures.matching import devices
from deepfeatures.matching.settings import BEST_GUIDED, DEVICES
from deepfeatures.networks import catalog
from deepfeatures.pipelines.run_report import versions
from deepfeatures.transforms.fitting import FIELD, KINDS


def describe() -> dict[str, Any]:
    """The content of `hello`: `versions`, `devices`, `best`, `networks` and `transforms` (kinds)."""
    return {
        "versions": versions(),
        "devices": ["auto", *available_devices()],
        "best": dict(zip(("network", "layer", "patch_size"), BEST_GUIDED, strict=True)),
        "networks": [_network(name) for name in catalog.names()],
        "transforms": [*KINDS, FIELD],
    }


def available_devices() -> list[str]:
    """Devices that PyTorch can use here."""
    found = []
    for name in DEVICES:
        if name != "auto":
            try:
                devices.choose_device(name)
            except ValueError:
                continue
            found.append(name)
    return found


def _network(name: str) -> dict[str, Any]:
    known = asdict(catalog.describe(name))
    layers = [{key: value for key, value in layer.items() if key != "steps"} for layer in known["layers"].values()]
    return {**known, "layers": layers}
