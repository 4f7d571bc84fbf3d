"""What is compared: cells of the grid network × layer × patch size × search, and whole methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from deepfeatures.networks import catalog
from deepfeatures.networks.base import exists

PATCH_SIZES = (12, 16, 20, 24, 28, 32)
PAPER_LAYERS = {1: "VGG", 2: "VGG", 3: "VGG", 4: "ResNet", 5: "ResNet"}
DEPTHS = {"VGG": ("conv2_2", "conv4_2", "conv5_4"), "ResNet": ("6", "140", "1290")}
METHODS = ("default", "ants-affine", "ants-syn", "elastix", "convexadam")


@dataclass(frozen=True)
class Cell:
    """One way to place landmarks.

    Args:
        method: `"grid"`, or a name of `METHODS`; the rest says nothing then.
        network: A name of the catalog.
        layer: One of its layers, by its own name.
        patch_size: Voxels.
        search: As of `MatchSettings`.
        pose: How a guided search starts, as of `Matcher`; the others know no pose.
        intensity: A policy of `deepfeatures.data.intensity`; a patch search has none.
    """

    method: str = "grid"
    network: str = ""
    layer: str = ""
    patch_size: int = 0
    search: str = ""
    pose: str = "auto"
    intensity: str = "auto"

    @property
    def name(self) -> str:
        """Unique, fit for a file name."""
        if self.method != "grid":
            return self.method
        chosen = [one for one in (self.pose, self.intensity) if one != "auto"]
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
    poses: Sequence[str] = ("auto",),
    intensities: Sequence[str] = ("auto",),
) -> list[Cell]:
    """Every combination that differs; each network's default layer where no layers are given.

    Raises:
        InputError: A network or a layer is unknown.
    """
    cells = []
    for network, layer in product(networks, layers or (None,)):
        own = catalog.resolve_layer(network, layer)
        for size, search, pose, intensity in product(patch_sizes, searches, poses, intensities):
            pose = pose if search == "guided" else "auto"
            intensity = intensity if search != "patch" else "auto"
            cells.append(Cell("grid", network, own, size, search, pose, intensity))
    return list(dict.fromkeys(cells))


def paper(search: str = "dense") -> list[Cell]:
    """The 90 cells of the paper: five networks, three depths, six patch sizes."""
    by_number = {catalog.describe(name).paper_number: name for name in reversed(catalog.names())}
    cells = []
    for number, family in PAPER_LAYERS.items():
        cells += grid([by_number[number]], DEPTHS[family], PATCH_SIZES, [search])
    return cells
