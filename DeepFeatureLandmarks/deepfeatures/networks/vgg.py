"""VGG-19 in three dimensions (Simonyan and Zisserman 2014; in 3D as networks 1 to 3 of the paper)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.networks import layers
from deepfeatures.networks.base import Encoder, Layer, Step
from deepfeatures.networks.dense_inference import ConvolutionMode, Operation
from deepfeatures.networks.layers import Convolution

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # filters, convolutions
ORIENTATIONS = {
    "xy": (0, 1, 2),
    "yz": (2, 0, 1),
    "xz": (1, 0, 2),
}  # where depth, height and width of the rotated volume lie in the volume; the kernels' plane is height and width


def vgg_plan(kernel: tuple[int, ...] = (3, 3, 3)) -> dict[str, Convolution]:
    """All convolutions by name, in order: 60,058,688 numbers in 3D."""
    plan, before = {}, 1
    for block, (filters, count) in enumerate(BLOCKS, 1):
        for i in range(1, count + 1):
            plan[f"conv{block}_{i}"] = Convolution(before, filters, kernel)
            before = filters
    return plan


PLAN = vgg_plan()


def up_to(layer: str) -> tuple[str, ...]:
    """The convolutions that `layer` needs, itself included."""
    return tuple(PLAN)[: list(PLAN).index(layer) + 1]


def vgg_layers(available: Collection[str] | None = None, *, copies: int = 1) -> dict[str, Layer]:
    """All convolutions; one is available where its weights and those of all before it are (`None`: all).

    `copies` tells how many orientations lie one after the other in a feature vector.
    """
    layers, steps, usable = {}, [], True
    for name, convolution in PLAN.items():
        if steps and name.endswith("_1"):
            steps.append(Step(2, 2, padded=False))
        steps.append(Step(3))
        usable = usable and (available is None or name in available)
        layers[name] = Layer.after(steps, name, convolution.after * copies, available=usable)
    return layers


class Vgg19(Encoder):
    """VGG-19 with one input channel; a layer is a convolution after its ReLU (networks 1 and 3 of the paper).

    Args:
        name: Name in the catalog.
        layer: The deepest layer to build.
        seed: Draws the kernels, as Keras does by default.
        weights: `"conv1_1.weight"` of shape `(64, 1, 3, 3, 3)`, `"conv1_1.bias"`, … in place of drawn ones.
    """

    norm = "frobenius"

    def __init__(
        self, name: str, layer: str = "conv5_4", *, seed: int = 0, weights: Mapping[str, torch.Tensor] | None = None
    ):
        super().__init__()
        self.name = name
        self.layers = {known: vgg_layers()[known] for known in up_to(layer)}
        self.parts = self._make_parts(layer, seed, weights)

    def _make_parts(self, layer: str, seed: int, weights: Mapping[str, torch.Tensor] | None) -> nn.ModuleDict:
        return layers.make({name: PLAN[name] for name in up_to(layer)}, seed=seed, weights=weights)

    def operations(self, layer: str) -> list[Operation]:
        operations = []
        for name in up_to(layer):
            before, after = PLAN[name].before, PLAN[name].after
            if operations and name.endswith("_1"):
                operations.append(Operation(_pool, before, shrink=1, stride=2))
            operations.append(Operation(partial(self._convolve, name), max(before, after), shrink=2))
        return operations

    def _convolve(self, name: str, x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
        return F.relu_(mode.conv(x, self.parts[name]))


def _pool(x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
    return mode.max_pool(x, 2, padded=False)


class _OneOrientation(Vgg19):
    """2D kernels as 3D ones, their third axis along the depth of the volume.

    A later layer's kernel, copied to three positions and divided by 3, is a mean over three planes followed by the 2D
    convolution: the same numbers for a third of the operations.
    """

    def _make_parts(self, layer: str, seed: int, weights: Mapping[str, torch.Tensor]) -> nn.ModuleDict:
        flat = vgg_plan((1, 3, 3))
        plan = {name: PLAN[name] if name == "conv1_1" else flat[name] for name in up_to(layer)}
        oriented = dict(weights)
        for name in plan:
            kernel = weights[f"{name}.weight"]  # (out, in, height, width); the first layer's input is colour
            kernel = kernel.transpose(2, 3)  # the kernel's first axis goes with x, as in arrays of the authors' code
            oriented[f"{name}.weight"] = kernel[:, None] if name == "conv1_1" else kernel[:, :, None]
        return layers.make(plan, weights=oriented)

    def _convolve(self, name: str, x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
        if name != "conv1_1":
            x = F.pad(x, (0, 0, 0, 0, 1, 1)) if mode.padding == "same" else x
            x = (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) * (1 / 3)
        return super()._convolve(name, x, mode)


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
        self.network = _OneOrientation(name, layer, weights=weights)
        copies = len(ORIENTATIONS) if combine == "concatenated" else 1
        self.layers = {known: vgg_layers(copies=copies)[known] for known in up_to(layer)}

    def operations(self, layer: str) -> list[Operation]:
        """The operations of one orientation."""
        return self.network.operations(layer)

    def forward(self, x: torch.Tensor, layer: str, *, padding: str = "same") -> torch.Tensor:
        maps = []
        for axes in ORIENTATIONS.values():
            rotated = self.network(_permute(x, axes), layer, padding=padding)
            maps.append(_permute(rotated, np.argsort(axes)))
        return torch.cat(maps, 1) if self.combine == "concatenated" else torch.stack(maps).mean(0)

    def dense_into(self, views: list[torch.Tensor], x: torch.Tensor, layer: str, start: Sequence[int]) -> None:
        channels = self.network.layers[layer].channels
        for i, axes in enumerate(ORIENTATIONS.values()):
            rotated, rotated_start = _permute(x, axes), [start[axis] for axis in axes]
            if self.combine == "concatenated":
                parts_of = [
                    view[i * channels : (i + 1) * channels].permute(0, *(a + 1 for a in axes)) for view in views
                ]
                self.network.dense_into(parts_of, rotated, layer, rotated_start)
            else:
                size = [views[0].shape[1 + axis] for axis in axes]
                features = views[0].new_empty((len(views), *size, channels)).movedim(-1, 1)
                self.network.dense_into(list(features), rotated, layer, rotated_start)
                for view, part in zip(views, _permute(features, np.argsort(axes)), strict=True):
                    _ = view.copy_(part) if i == 0 else view.add_(part)
        if self.combine == "averaged":
            for view in views:
                view.mul_(1 / len(ORIENTATIONS))


def _permute(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """`(batch, channels, …)` with the spatial axes in the order `axes`."""
    return x.permute(0, 1, *(int(axis) + 2 for axis in axes))
