"""Convolutions and batch norms: their shapes, drawn from a seed, or filled with weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import nn

from deepfeatures.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Convolution:
    """A convolution with biases; `make` is for three dimensions."""

    before: int
    after: int
    kernel: tuple[int, ...]
    groups: int = 1

    @property
    def shapes(self) -> Shapes:
        return {"weight": (self.after, self.before // self.groups, *self.kernel), "bias": (self.after,)}

    def make(self) -> nn.Conv3d:
        """The module, its numbers not set yet."""
        return nn.utils.skip_init(nn.Conv3d, self.before, self.after, self.kernel, groups=self.groups)


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation with Keras' defaults."""

    channels: int

    @property
    def shapes(self) -> Shapes:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (self.channels,))

    def make(self) -> nn.BatchNorm3d:
        """The module, leaving its input as it is until it is trained or filled."""
        return nn.BatchNorm3d(self.channels, eps=1e-3, momentum=0.01)


Part = Convolution | BatchNorm


def count(plan: Mapping[str, Part]) -> int:
    """Numbers in all parts, running statistics included."""
    return sum(prod(shape) for part in plan.values() for shape in part.shapes.values())


def make(
    plan: Mapping[str, Part], *, seed: int = 0, weights: Mapping[str, torch.Tensor] | None = None
) -> nn.ModuleDict:
    """The parts, drawn from `seed`, or filled with `weights` (`"<part>.weight"`, `"<part>.bias"`, …).

    Drawing is Keras' default: biases zero, kernels uniform within ±sqrt(6 / (fan in + fan out)). Every kernel has a
    generator of its own, made of the seed and the kernel's place, so that its numbers depend neither on how deep a
    network is built nor on the global random state.

    Raises:
        InputError: A weight is missing or has another shape.
    """
    modules = nn.ModuleDict({name: part.make() for name, part in plan.items()})
    if weights is None:
        kernels = [module for module in modules.values() if isinstance(module, nn.Conv3d)]
        for index, module in enumerate(kernels):
            _draw(module, seed, index)
    else:
        check(plan, weights)
        with torch.no_grad():
            for name, part in plan.items():
                for key in part.shapes:
                    getattr(modules[name], key).copy_(weights[f"{name}.{key}"])
    return modules.to(memory_format=torch.channels_last_3d)


def check(plan: Mapping[str, Part], weights: Mapping[str, torch.Tensor]) -> None:
    """Raise `InputError`, naming the part and both shapes, where `weights` do not fit the plan."""
    for name, part in plan.items():
        for key, shape in part.shapes.items():
            given = weights.get(f"{name}.{key}")
            if given is None or tuple(given.shape) != shape:
                found = "nothing" if given is None else f"shape {tuple(given.shape)}"
                raise InputError(f"The weights do not fit: {name} needs {key} of shape {shape}, but {found} was found.")


def _draw(module: nn.Conv3d, seed: int, index: int) -> None:
    state = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    kernel = module.weight
    fans = kernel[0, 0].numel() * (kernel.shape[1] + kernel.shape[0] // module.groups)
    nn.init.uniform_(kernel, -((6 / fans) ** 0.5), (6 / fans) ** 0.5, generator=generator)
    nn.init.zeros_(module.bias)
