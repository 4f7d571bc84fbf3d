"""What is compared: configurations of the grid network × layer × patch size × search, and whole methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.networks import catalog
from deepfeatures.networks.base import exists

PATCH_SIZES = (12, 16, 20, 24, 28, 32)
PAPER_LAYERS = {1: "VGG", 2: "VGG", 3: "VGG", 4: "ResNet", 5: "ResNet"}
DEPTHS = {"VGG": ("conv2_2", "conv4_2", "conv5_4"), "ResNet": ("6", "140", "1290")}
METHODS = ("default", *BASELINES)


@dataclass(frozen=True)
class Configuration:
    """One way to place landmarks.

    Args:
        method: `"grid"`, or a name of `METHODS`; the rest says nothing then.
        network: A name of the catalog.
        layer: One of its layers, by its own name.
        patch_size: Voxels.
        search: As of `MatchSettings`.
        initialization: How a guided search starts, as of `MatchSettings`; the others know none.
        intensity: A policy of `deepfeatures.data.intensity`; a patch search has none.
    """

    method: str = "grid"
    network: str = ""
    layer: str = ""
    patch_size: int = 0
    search: str = ""
    initialization: str = "auto"
    intensity: str = "auto"

    @property
    def name(self) -> str:
        """Unique, fit for a file name."""
        if self.method != "grid":
            return self.method
        chosen = [one for one in (self.initialization, self.intensity) if one != "auto"]
        return "_".join([self.network, self.layer, str(self.patch_size), self.search, *chosen])

    @property
    def unavailable(self) -> str:
        """Why it cannot be computed here; `""` where it can."""
        if self.method != "grid":
            return ""
        layer = catalog.describe(self.network).layers[self.layer]
        if not exists(layer, self.patch_size):
            return "the patch is too small for the layer"
        return "" if layer.available else "no weights"


def grid(
    networks: Sequence[str],
    layers: Sequence[str],
    patch_sizes: Sequence[int],
    searches: Sequence[str],
    initializations: Sequence[str] = ("auto",),
    intensities: Sequence[str] = ("auto",),
) -> list[Configuration]:
    """Every combination that differs; each network's default layer where no layers are given.

    Raises:
        InputError: A network or a layer is unknown.
    """
    configurations = []
    for network, layer in product(networks, layers or (None,)):
        own = catalog.resolve_layer(network, layer)
        for size, search, start, intensity in product(patch_sizes, searches, initializations, intensities):
            start = start if search == "guided" else "auto"
            intensity = intensity if search != "patch" else "auto"
            configurations.append(Configuration("grid", network, own, size, search, start, intensity))
    return list(dict.fromkeys(configurations))


def paper(search: str = "dense") -> list[Configuration]:
    """The 90 configurations of the paper: five networks, three depths, six patch sizes."""
    by_number = {catalog.describe(name).paper_number: name for name in reversed(catalog.names())}
    configurations = []
    for number, family in PAPER_LAYERS.items():
        configurations += grid([by_number[number]], DEPTHS[family], PATCH_SIZES, [search])
    return configurations
