"""What is compared: configurations of the grid network × layer × patch size × search, and whole methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.networks import catalog
from deepfeatures.networks.base import patch_reaches_layer

PATCH_SIZES = (12, 16, 20, 24, 28, 32)
PAPER_LAYERS = {1: "VGG", 2: "VGG", 3: "VGG", 4: "ResNet", 5: "ResNet"}
DEPTHS = {"VGG": ("conv2_2", "conv4_2", "conv5_4"), "ResNet": ("6", "140", "1290")}
METHODS = ("default", *BASELINES)
AXES = ("network", "layer", "patch_size", "search")  # of the grid


@dataclass(frozen=True)
class Configuration:
    """One way to place landmarks.

    Args:
        method: `"grid"`, or a name of `METHODS`.
        settings: How a method of the grid searches; the others take the defaults. The search radius and the device are
            those of the study.
    """

    method: str = "grid"
    settings: MatchSettings = field(default_factory=MatchSettings)

    @property
    def name(self) -> str:
        """Unique, fit for a file name."""
        if self.method != "grid":
            return self.method
        chosen = [one for one in (self.settings.initialization, self.settings.intensity) if one != "auto"]
        return "_".join([str(getattr(self.settings, axis)) for axis in AXES] + chosen)

    @property
    def unavailable(self) -> str:
        """Why it cannot be computed here; `""` where it can."""
        if self.method != "grid":
            return ""
        layer = catalog.describe(self.settings.network).layers[self.settings.layer]
        if not patch_reaches_layer(layer, self.settings.patch_size):
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

    Only guided searches have an initialization, and patch searches have no intensity: there one entry stands for all.

    Raises:
        InputError: A network or a layer is unknown.
    """
    configurations = []
    for network, layer in product(networks, layers or (None,)):
        own = catalog.resolve_layer(network, layer)
        for size, search, initialization, intensity in product(patch_sizes, searches, initializations, intensities):
            settings = MatchSettings(
                network=network,
                layer=own,
                patch_size=size,
                search=search,
                initialization=initialization if search == "guided" else "auto",
                intensity=intensity if search != "patch" else "auto",
            )
            configurations.append(Configuration("grid", settings))
    return list(dict.fromkeys(configurations))


def paper(search: str = "dense") -> list[Configuration]:
    """The 90 configurations of the paper: five networks, three depths, six patch sizes."""
    by_number = {catalog.describe(name).paper_number: name for name in reversed(catalog.names())}
    configurations = []
    for number, family in PAPER_LAYERS.items():
        configurations += grid([by_number[number]], DEPTHS[family], PATCH_SIZES, [search])
    return configurations
