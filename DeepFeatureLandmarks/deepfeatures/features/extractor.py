"""How features are computed: a network, one of its layers, and the patch that is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch

from deepfeatures.features.dense import DTYPES, WORKING_BYTES, encode_tiles
from deepfeatures.features.receptive_window import Box, ReceptiveWindow
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

    def encode(
        self,
        voxels: torch.Tensor,
        box: Box,
        working_bytes: int = WORKING_BYTES,
        progress: Callable[[float], None] = lambda _: None,
    ) -> torch.Tensor:
        """Features of the voxels of a box, as `encode_dense` has them.

        Args:
            voxels: The scaled volume, shape `(depth, height, width)`.
            box: Start and stop along each axis.
            working_bytes: Memory to hold beside the result.
            progress: Called with the fraction done.

        Returns:
            Shape `(channels, d, h, w)`, with the channels last in memory.
        """
        size = [stop - start for start, stop in box]
        channels, dtype = self.encoder.layers[self.layer].channels, DTYPES[self.precision]
        held = torch.empty((*size, channels), dtype=dtype, device=voxels.device).movedim(-1, 0)
        depth, height, width = (slice(start, stop) for start, stop in box)
        region, done = (depth, height, width), 0
        for part, tile in encode_tiles(
            self.encoder, self.layer, voxels, region=region, precision=self.precision, max_bytes=working_bytes
        ):
            place = (slice(one.start - low, one.stop - low) for one, (low, _) in zip(part, box, strict=True))
            held[(slice(None), *place)] = tile
            done += tile[0].numel()
            progress(done / prod(size))
        return held
