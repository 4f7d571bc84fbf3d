"""ResNeXt-50 in three dimensions, the ResNet of networks 4 and 5 of the paper.

The architecture is that of ANTsRNet's `createResNetModel3D` with blocks (3, 4, 6, 3), lowest resolution 64 and
cardinality 64. There, every grouped convolution is 64 convolutions of slices; here it is one, with true groups.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import torch
import torch.nn.functional as F

from deepfeatures.networks import layers
from deepfeatures.networks.base import Encoder, Layer, Step
from deepfeatures.networks.dense_inference import ConvolutionMode, Operation
from deepfeatures.networks.layers import BatchNorm, Convolution, Part

STEM = 64
BLOCKS = (3, 4, 6, 3)
GROUPS = 64
CLASSES = 1000
LEAK = 0.3  # Keras' default slope of a leaky ReLU
INNER = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")

ALIASES = {"6": "stage1_block1_bn1", "140": "stage1_block1_conv3", "1290": "stage3_block3_conv2"}
"""Keras' layer numbers in the paper. 1290 is one 8-channel slice of a grouped convolution there: here the whole."""


def block_names() -> list[str]:
    """All residual blocks, `"stage1_block1"` first."""
    return [f"stage{stage}_block{i}" for stage, count in enumerate(BLOCKS, 1) for i in range(1, count + 1)]


def geometry_of(block: str) -> tuple[int, int, int]:
    """Input channels, inner channels and stride of a block; it puts out twice its inner channels."""
    stage, index = (int(word.removeprefix("stage").removeprefix("block")) for word in block.split("_"))
    inner = STEM * 2**stage
    before = 2 * inner if index > 1 else (STEM if stage == 1 else inner)
    return before, inner, 2 if stage > 1 and index == 1 else 1


def has_shortcut_convolution(block: str) -> bool:
    """Whether the block's shortcut is a convolution, as in the first block of each stage."""
    return block.endswith("block1")


def resnext_plan() -> dict[str, Part]:
    """Every convolution and batch norm by name, in the order of the layers."""
    plan = {"stem_conv": Convolution(1, STEM, (7, 7, 7)), "stem_bn": BatchNorm(STEM)}
    for block in block_names():
        before, inner, _ = geometry_of(block)
        if has_shortcut_convolution(block):
            plan[f"{block}_shortcut"] = Convolution(before, 2 * inner, (1, 1, 1))
            plan[f"{block}_shortcut_bn"] = BatchNorm(2 * inner)
        plan[f"{block}_conv1"] = Convolution(before, inner, (1, 1, 1))
        plan[f"{block}_bn1"] = BatchNorm(inner)
        plan[f"{block}_conv2"] = Convolution(inner, inner, (3, 3, 3), GROUPS)
        plan[f"{block}_bn2"] = BatchNorm(inner)
        plan[f"{block}_conv3"] = Convolution(inner, 2 * inner, (1, 1, 1))
        plan[f"{block}_bn3"] = BatchNorm(2 * inner)
    return plan


PLAN = resnext_plan()
LAST = block_names()[-1]


def parameter_count(classes: int = CLASSES) -> int:
    """Numbers of the whole network with its classifier: 25,851,112 with 1000 classes, running statistics included."""
    features = 2 * geometry_of(LAST)[1]
    return layers.count(PLAN) + features * classes + classes


def resnext_layers(available: Collection[str] | None = None) -> dict[str, Layer]:
    """All convolutions, batch norms and block outputs by name; one is available where all parts on its way are."""
    layers, steps, usable = {}, [], True

    def add(name: str, channels: int, path: list[Step]) -> None:
        nonlocal usable
        usable = usable and (available is None or name in available or name in block_names())
        layers[name] = Layer.after(path, name, channels, available=usable)

    steps.append(Step(7, 2))
    add("stem_conv", STEM, steps)
    add("stem_bn", STEM, steps)
    steps.append(Step(3, 2))
    for block in block_names():
        _, inner, stride = geometry_of(block)
        if has_shortcut_convolution(block):
            for name in ("shortcut", "shortcut_bn"):
                add(f"{block}_{name}", 2 * inner, [*steps, Step(1, stride)])
        for name in INNER:
            if name == "conv2":
                steps.append(Step(3, stride))
            add(f"{block}_{name}", inner if name[-1] in "12" else 2 * inner, steps)
        add(block, 2 * inner, steps)
    return layers


class ResNext50(Encoder):
    """ResNeXt-50-3D up to a layer, without its classifier.

    A convolution's layer is what it puts out, before batch norm; a block's layer is its sum with the shortcut, after
    the ReLU. Without padding, the shortcut of a stride meets the first voxel of the 3³ kernel's window, as it does
    under Keras' "same" padding of even sizes.

    Args:
        name: Name in the catalog.
        layer: The deepest layer to build.
        seed: Draws the kernels, as Keras does by default.
        weights: `"stem_conv.weight"` of shape `(64, 1, 7, 7, 7)`, … in place of drawn ones.
    """

    norm = "euclidean"

    def __init__(
        self, name: str, layer: str = LAST, *, seed: int = 0, weights: Mapping[str, torch.Tensor] | None = None
    ):
        super().__init__()
        self.name = name
        known = resnext_layers()
        wanted = list(known)[: list(known).index(layer) + 1]
        self.layers = {key: known[key] for key in wanted}
        self.parts = layers.make({key: PLAN[key] for key in wanted if key in PLAN}, seed=seed, weights=weights)

    def operations(self, layer: str) -> list[Operation]:
        operations = [Operation(partial(self._stem, layer), STEM, shrink=6, stride=2)]
        if layer.startswith("stem"):
            return operations
        operations.append(Operation(_pool, STEM, shrink=2, stride=2))
        for block in block_names():
            before, inner, stride = geometry_of(block)
            inside = layer.removeprefix(f"{block}_") if layer.startswith(f"{block}_") else ""
            if inside in ("conv1", "bn1"):
                shrink, stride = 0, 1
            else:
                shrink = 0 if inside.startswith("shortcut") else 2
            operations.append(Operation(partial(self._block, block, inside), max(before, 2 * inner), shrink, stride))
            if layer.startswith(block):
                return operations
        raise AssertionError(layer)

    def _stem(self, layer: str, x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
        x = mode.conv(x, self.parts["stem_conv"], stride=2)
        if layer == "stem_conv":
            return x
        x = self.parts["stem_bn"](x)
        return x if layer == "stem_bn" else F.leaky_relu_(x, LEAK)

    def _block(self, block: str, until: str, x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
        """The block, or what it holds at `until`."""
        stride = geometry_of(block)[2]
        shortcut = x
        if until.startswith("shortcut"):
            x = mode.conv(x, self.parts[f"{block}_shortcut"], stride=stride)
            return x if until == "shortcut" else self.parts[f"{block}_shortcut_bn"](x)
        for part in INNER:
            module = self.parts[f"{block}_{part}"]
            if part.startswith("bn"):
                x = module(x)
            else:
                x = mode.conv(x, module, stride=stride if part == "conv2" else 1)
            if part == until:
                return x
            if part in ("bn1", "bn2"):
                x = F.leaky_relu_(x, LEAK)
        if mode.padding == "valid" and stride == 1:
            shortcut = shortcut[:, :, 1:, 1:, 1:]
        step = stride if mode.strided else 1
        depth, height, width = x.shape[2:]
        shortcut = shortcut[:, :, ::step, ::step, ::step][:, :, :depth, :height, :width]
        if has_shortcut_convolution(block):
            shortcut = mode.conv(shortcut, self.parts[f"{block}_shortcut"])
            shortcut = self.parts[f"{block}_shortcut_bn"](shortcut)
        return F.leaky_relu_(x + shortcut, LEAK)


def _pool(x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
    return mode.max_pool(x, 3, padded=True)
