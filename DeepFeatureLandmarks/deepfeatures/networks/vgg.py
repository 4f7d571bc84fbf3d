"""VGG-19 in three dimensions (Simonyan and Zisserman 2014; in 3D as networks 1 to 3 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.networks.base import Encoder, Layer, Step
from deepfeatures.networks.walk import Stage, Walk

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # filters, convolutions
CONVOLUTIONS = tuple(f"conv{block}_{i}" for block, (_, count) in enumerate(BLOCKS, 1) for i in range(1, count + 1))
KERNEL = 3
ORIENTATIONS = {
    "xy": (0, 1, 2),
    "yz": (2, 0, 1),
    "xz": (1, 0, 2),
}  # for each axis (depth, height, width) of the rotated volume, the axis of the volume that becomes it


def channels_of(name: str) -> tuple[int, int]:
    """Input and output channels of a convolution."""
    filters = [filters for filters, count in BLOCKS for _ in range(count)]
    index = CONVOLUTIONS.index(name)
    return (filters[index - 1] if index else 1), filters[index]


def parameter_count() -> int:
    """Kernels and biases of all convolutions in 3D: 60,058,688."""
    return sum(i * o * KERNEL**3 + o for i, o in map(channels_of, CONVOLUTIONS))


def vgg_layers(available: Collection[str] = CONVOLUTIONS, *, copies: int = 1) -> dict[str, Layer]:
    """All convolutions by name; one is available where its weights and those of all before it are."""
    layers, steps, usable = {}, [], True
    for name in CONVOLUTIONS:
        if steps and name.endswith("_1"):
            steps.append(Step(2, 2, padded=False))
        steps.append(Step(KERNEL))
        usable = usable and name in available
        layers[name] = Layer.after(steps, name, channels_of(name)[1] * copies, available=usable)
    return layers


def up_to(layer: str) -> tuple[str, ...]:
    """The convolutions that `layer` needs, itself included."""
    return CONVOLUTIONS[: CONVOLUTIONS.index(layer) + 1]


def glorot_uniform(shape: Sequence[int], seed: int, index: int) -> torch.Tensor:
    """A kernel as Keras draws it by default, uniform within ±sqrt(6 / (fan in + fan out)).

    Every kernel has a generator of its own, made of the seed and the kernel's place, so that its numbers depend neither
    on how deep a network is built nor on the global random state.
    """
    state = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    voxels = int(np.prod(shape[2:]))
    limit = (6 / (voxels * (shape[0] + shape[1]))) ** 0.5
    return torch.empty(tuple(shape)).uniform_(-limit, limit, generator=generator)


class _Vgg(Encoder):
    """The sequence of convolutions and poolings that all VGG-19 share."""

    norm = "frobenius"
    convolve: Mapping[str, Callable[[torch.Tensor, Walk], torch.Tensor]]

    def stages(self, layer: str) -> list[Stage]:
        stages = []
        for name in up_to(layer):
            before, after = channels_of(name)
            if stages and name.endswith("_1"):
                stages.append(Stage(_pool, before, shrink=1, stride=2))
            stages.append(Stage(partial(self._convolve, name), max(before, after), shrink=KERNEL - 1))
        return stages

    def _convolve(self, name: str, x: torch.Tensor, walk: Walk) -> torch.Tensor:
        raise NotImplementedError


def _pool(x: torch.Tensor, walk: Walk) -> torch.Tensor:
    return walk.max_pool(x, 2, padded=False)


class Vgg19(_Vgg):
    """VGG-19 with 3³ kernels and one input channel (networks 1 and 3 of the paper).

    Args:
        name: Name in the catalog.
        layer: The deepest layer to build.
        seed: Draws the kernels, as Keras does by default; biases are zero.
        weights: `"conv1_1.weight"` of shape `(64, 1, 3, 3, 3)`, `"conv1_1.bias"`, … in place of drawn ones.
    """

    def __init__(
        self, name: str, layer: str = "conv5_4", *, seed: int = 0, weights: Mapping[str, torch.Tensor] | None = None
    ):
        super().__init__()
        self.name = name
        self.layers = {known: vgg_layers()[known] for known in up_to(layer)}
        self.kernels, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for index, convolution in enumerate(up_to(layer)):
            before, after = channels_of(convolution)
            if weights is None:
                kernel = glorot_uniform((after, before, *(KERNEL,) * 3), seed, index)
                bias = torch.zeros(after)
            else:
                kernel, bias = weights[f"{convolution}.weight"], weights[f"{convolution}.bias"]
            self.kernels[convolution] = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last_3d))
            self.biases[convolution] = nn.Parameter(bias)

    def _convolve(self, name: str, x: torch.Tensor, walk: Walk) -> torch.Tensor:
        return F.relu_(walk.conv(x, self.kernels[name], self.biases[name]))


class _PseudoVgg19(_Vgg):
    """2D kernels as 3D ones, the third axis of the kernel along the depth of the volume.

    A later layer's kernel, copied to three positions and divided by 3, is a mean over three planes followed by the 2D
    convolution: the same numbers for a third of the operations.
    """

    def __init__(self, layer: str, weights: Mapping[str, torch.Tensor]):
        super().__init__()
        self.name = "vgg19-3d-pseudo"
        self.layers = {known: vgg_layers()[known] for known in up_to(layer)}
        self.kernels, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for convolution in up_to(layer):
            kernel = weights[f"{convolution}.weight"]  # (out, in, height, width); the first layer's input is colour
            kernel = kernel.transpose(2, 3)  # the kernel's first axis goes with x, as in arrays of the authors' code
            kernel = kernel[:, None] if convolution == "conv1_1" else kernel[:, :, None]
            self.kernels[convolution] = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last_3d))
            self.biases[convolution] = nn.Parameter(weights[f"{convolution}.bias"])

    def _convolve(self, name: str, x: torch.Tensor, walk: Walk) -> torch.Tensor:
        if name != "conv1_1":
            x = _mean_of_three_planes(x, walk)
        return F.relu_(walk.conv(x, self.kernels[name], self.biases[name]))


def _mean_of_three_planes(x: torch.Tensor, walk: Walk) -> torch.Tensor:
    if walk.padding == "same":
        x = F.pad(x, (0, 0, 0, 0, 1, 1))
    return (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) * (1 / 3)


class PseudoVgg19(Encoder):
    """2D VGG-19 expanded to 3D in three orientations (network 2 of the paper, section 2.2).

    The first layer's colour axis becomes the third spatial axis; later kernels are copied along it and divided by 3.
    Rotating every kernel, the first included, equals encoding the volume with its axes permuted, which is what happens.

    Args:
        name: Name in the catalog.
        layer: The deepest layer to build.
        weights: 2D kernels, `"conv1_1.weight"` of shape `(64, 3, 3, 3)` as (out, in, height, width), and biases.
        combine: `"concatenated"` orientations (xy, yz, xz) or their mean, `"averaged"`.
    """

    norm = "frobenius"

    def __init__(self, name: str, layer: str, *, weights: Mapping[str, torch.Tensor], combine: str = "concatenated"):
        super().__init__()
        self.name, self.combine = name, combine
        self.network = _PseudoVgg19(layer, weights)
        copies = len(ORIENTATIONS) if combine == "concatenated" else 1
        self.layers = {known: vgg_layers(copies=copies)[known] for known in up_to(layer)}

    def stages(self, layer: str) -> list[Stage]:
        """The stages of one orientation."""
        return self.network.stages(layer)

    def forward(self, x: torch.Tensor, layer: str, *, padding: str = "same") -> torch.Tensor:
        maps = []
        for axes in ORIENTATIONS.values():
            rotated = self.network(_permute(x, axes), layer, padding=padding)
            maps.append(_permute(rotated, np.argsort(axes)))
        return torch.cat(maps, 1) if self.combine == "concatenated" else torch.stack(maps).mean(0)

    def dense_into(self, views: list[torch.Tensor], x: torch.Tensor, layer: str) -> None:
        channels = self.network.layers[layer].channels
        for i, axes in enumerate(ORIENTATIONS.values()):
            rotated = _permute(x, axes)
            if self.combine == "concatenated":
                parts = [view[i * channels : (i + 1) * channels].permute(0, *(a + 1 for a in axes)) for view in views]
                self.network.dense_into(parts, rotated, layer)
            else:
                features = _permute(self.network.dense(rotated, layer), np.argsort(axes))
                for view, part in zip(views, features, strict=True):
                    view.copy_(part) if i == 0 else view.add_(part)
        if self.combine == "averaged":
            for view in views:
                view.mul_(1 / len(ORIENTATIONS))


def _permute(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """`(batch, channels, …)` with the spatial axes in the order `axes`."""
    return x.permute(0, 1, *(int(axis) + 2 for axis in axes))
