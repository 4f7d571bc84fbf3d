"""How features are computed: a network, one of its layers, and the patch that is compared."""

from __future__ import annotations

from dataclasses import dataclass

from deepfeatures.features.receptive_window import ReceptiveWindow
from deepfeatures.networks.base import Encoder


@dataclass(frozen=True)
class Features:
    """How features are computed.

    Args:
        encoder: The network.
        layer: One of its layers.
        patch_size: Voxels along each edge.
        precision: `"float32"` or `"bfloat16"`.
    """

    encoder: Encoder
    layer: str
    patch_size: int
    precision: str = "float32"

    @property
    def window(self) -> ReceptiveWindow:
        """Where dense features take the place of a patch's map."""
        return ReceptiveWindow.of_patch(self.encoder.layers[self.layer], self.patch_size)

    @property
    def averaged(self) -> bool:
        """Whether maps are compared by their means (Euclidean) or entry by entry (Frobenius)."""
        return self.encoder.norm == "euclidean"
