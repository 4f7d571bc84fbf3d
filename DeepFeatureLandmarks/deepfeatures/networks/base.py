"""What every network offers to encoding and matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.networks.dense_inference import (
    ConvolutionMode,
    Operation,
    dense_ranges,
    encode_every_voxel,
    same_padding,
)


@dataclass(frozen=True)
class Step:
    """One operation on the way to a layer, as far as geometry goes.

    Args:
        kernel: Edge length in entries of its input.
        stride: Entries of its input between neighbouring entries of its output.
        padded: Whether `"same"` padding applies to it; VGG's pooling drops what does not fill a cube instead.
    """

    kernel: int
    stride: int = 1
    padded: bool = True


@dataclass(frozen=True)
class Layer:
    """One selectable layer.

    Args:
        name: The name that users type, for example `"conv2_2"`.
        channels: Length of a feature vector.
        stride: Voxels between neighbouring entries of the strided feature map.
        receptive_field: Edge length in voxels of the cube that one feature vector sees.
        available: False where the weights of this layer or of one before it are not there.
        steps: The operations from the input to this layer.
    """

    name: str
    channels: int
    stride: int
    receptive_field: int
    available: bool = True
    steps: tuple[Step, ...] = ()

    @classmethod
    def after(cls, steps: Sequence[Step], name: str, channels: int, *, available: bool = True) -> Layer:
        """The layer that `steps` lead to."""
        stride, receptive_field = 1, 1
        for step in steps:
            receptive_field += (step.kernel - 1) * stride
            stride *= step.stride
        return cls(name, channels, stride, receptive_field, available, tuple(steps))


def patch_reaches_layer(layer: Layer, patch_size: int) -> bool:
    """Whether a patch of `patch_size` voxels reaches the layer as the paper's network defines it.

    Unpadded pooling leaves nothing of an axis shorter than its kernel: a patch of 12³ has no `conv5_4`. `forward` then
    pools what is left, and whoever reports such a number says so.
    """
    size = patch_size
    for step in layer.steps:
        size = -(-size // step.stride) if step.padded else (size - step.kernel) // step.stride + 1
        if size < 1:
            return False
    return True


def first_centre(layer: Layer, size: int) -> float:
    """Voxel index, along an axis of `size` voxels, on which entry 0 of the layer's "same" map is centred.

    Entry k is centred at `first_centre + k * layer.stride`. The centre is that of the receptive field; half voxels come
    from even kernels, whole ones from the extra zero that "same" puts at the end of a strided operation.
    """
    centre, jump = 0.0, 1
    for step in layer.steps:
        if step.padded:
            before, _ = same_padding(size, step.kernel, step.stride)
            centre += ((step.kernel - 1) / 2 - before) * jump
            size = -(-size // step.stride)
        else:
            kernel = min(step.kernel, size)
            centre += (kernel - 1) / 2 * jump
            size = (size - kernel) // step.stride + 1
        jump *= step.stride
    return centre


class Encoder(nn.Module):
    """A 3D feature encoder whose layers can be selected by name.

    Input is always a float tensor of shape `(batch, 1, depth, height, width)` with one channel. A family implements
    `operations`; patches and dense encoding then run the same operations.
    """

    name: str
    norm: str  # "frobenius" compares feature maps entry by entry, "euclidean" their means over the patch
    layers: Mapping[str, Layer]
    reads_float32: bool = False  # whether volumes come in float32 even where features are wanted in less
    full_resolution_channels: int = 64  # what dense encoding holds for every voxel before the first stride

    def operations(self, layer: str) -> Sequence[Operation]:
        """The operations up to `layer`."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    def forward(self, x: torch.Tensor, layer: str, *, padding: str = "same") -> torch.Tensor:
        """The strided feature map of `layer`, shape `(batch, channels, d, h, w)`, as the paper computes it for a patch.

        `padding` is `"same"` (zeros) or `"valid"`; a valid entry k sees the voxels from `k * stride` on.
        """
        if padding == "valid":
            self._require_room(x, layer)
        mode = ConvolutionMode(padding)
        for operation in self.operations(layer):
            x = operation.run(x, mode)
        return x

    def dense(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        """The features of every voxel in one pass, valid: edges shrink by `receptive_field - 1`.

        The result at index q sees the voxels from q on, so that a valid strided map of a patch that starts at voxel p
        equals `dense[..., p::stride]`. It lies in memory with the channels last.
        """
        self._require_room(x, layer)
        known = self.layers[layer]
        size = [n - known.receptive_field + 1 for n in x.shape[2:]]
        features = x.new_empty((x.shape[0], *size, known.channels)).movedim(-1, 1)
        self.dense_into(list(features), x, layer, (0, 0, 0))
        return features

    def dense_into(self, views: list[torch.Tensor], x: torch.Tensor, layer: str, start: Sequence[int]) -> None:
        """Write features to views, one `(channels, d, h, w)` for each batch entry, of any size.

        The feature at index q of a view sees the voxels from `start + q` on; `start` is `(depth, height, width)`, such
        that features are centred within `x`. Beyond its border, every operation repeats the border of its own input.
        """
        encode_every_voxel(x, self.operations(layer), views, start)

    def dense_voxels(self, layer: str, start: Sequence[int], size: Sequence[int], volume: Sequence[int]) -> int:
        """Voxels at which `dense_into` holds `full_resolution_channels` to fill a view of `size`."""
        return prod(high - low for low, high in dense_ranges(self.operations(layer), start, size, volume)[0])

    def _require_room(self, x: torch.Tensor, layer: str) -> None:
        needed = self.layers[layer].receptive_field
        if min(x.shape[2:]) < needed:
            raise InputError(
                f"{self.name} {layer} sees {needed} voxels along each axis and {min(x.shape[2:])} are there:"
                " choose a shallower layer, a larger patch, or padding."
            )
