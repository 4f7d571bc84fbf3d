"""What every network offers to encoding and matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Layer:
    """One selectable layer.

    Args:
        name: The name that users type, for example `"conv2_2"`.
        channels: Length of a feature vector.
        stride: Voxels between neighbouring entries of the strided feature map.
        receptive_field: Edge length in voxels of the cube that one feature vector sees.
        available: False where the weights of this layer or of one before it are not there.
    """

    name: str
    channels: int
    stride: int
    receptive_field: int
    available: bool = True


class Encoder(nn.Module):
    """A 3D feature encoder whose layers can be selected by name.

    Input is always a float tensor of shape `(batch, 1, depth, height, width)` with one channel.
    """

    name: str
    norm: str  # "frobenius" compares feature maps entry by entry, "euclidean" their means over the patch
    layers: Mapping[str, Layer]

    def forward(self, x: torch.Tensor, layer: str, *, padding: str = "same") -> torch.Tensor:
        """The strided feature map of `layer`, shape `(batch, channels, d, h, w)`, as the paper computes it for a patch.

        `padding` is `"same"` (zeros) or `"valid"`; a valid entry k sees the voxels from `k * stride` on.
        """
        raise NotImplementedError

    def dense(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        """The features of every voxel in one pass, valid: edges shrink by `receptive_field - 1`.

        The result at index q sees the voxels from q on, so that a valid strided map of a patch that starts at voxel p
        equals `dense[..., p::stride]`.
        """
        raise NotImplementedError
