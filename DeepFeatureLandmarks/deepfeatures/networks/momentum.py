"""Quicksilver's network: from patches of two images to the momentum that deforms one into the other.

Yang, Kwitt, Styner and Niethammer, Quicksilver: fast predictive image registration, 2017. The layers are theirs; they
have 64 features at full resolution, where 8 are the default here. One thing is added. From the two images alone their
layers learn to compare only after millions of patches. Here the push, the momentum of a single step of registration by
intensities, is given to the second encoder, and the network predicts what to add to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

PATCH = 15
STRIDE = 14
PATCHES_AT_A_TIME = 64
DROPOUT = 0.1
PRELU = 0.25  # its slope below zero at the start


class MomentumNetwork(nn.Module):
    """An encoder for each image, and a decoder for each component of the momentum.

    Args:
        features: At full resolution; twice as many below.
        scale: Momentum, in voxels, that an output of 1 means.
    """

    def __init__(self, features: int = 8, scale: float = 1.0):
        super().__init__()
        self.features = features
        self.template_encoder, self.target_encoder = _encoder(1, features), _encoder(4, features)
        self.decoders = nn.ModuleList(_decoder(4 * features) for _ in range(3))
        self.register_buffer("scale", torch.tensor(float(scale)))
        for part in self.modules():
            if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
                _draw(part)
        for decoder in self.decoders:
            nn.init.zeros_(decoder[-1].weight)  # nothing to add at first
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, template: torch.Tensor, target: torch.Tensor, push: torch.Tensor) -> torch.Tensor:
        """Momenta of patches, `(N, 3, 15, 15, 15)`: components along x, y, z, in units of `scale`.

        Args:
            template, target: Intensities from -1 to 1, `(N, 1, 15, 15, 15)`.
            push: In units of `scale`, `(N, 3, 15, 15, 15)`.
        """
        code = torch.cat([self.template_encoder(template), self.target_encoder(torch.cat([target, push], 1))], 1)
        return self.gain * push + torch.cat([decode(code) for decode in self.decoders], 1)

    def draw_dropout(self, drawn: bool) -> None:
        """Whether each prediction leaves out other features: predictions then differ as far as they are unsure."""
        for part in self.modules():
            if isinstance(part, nn.Dropout):
                part.train(drawn)


@torch.no_grad()
def predict_momentum(
    network: MomentumNetwork, template: torch.Tensor, target: torch.Tensor, push: torch.Tensor
) -> torch.Tensor:
    """The momentum of whole images, in voxels, `(3, D, H, W)`: that of overlapping patches, averaged.

    Where patches of both images are flat, there is none.

    Args:
        network: In the mode in which it should predict.
        template, target: Intensities from -1 to 1 on one grid, `(D, H, W)`.
        push: In voxels, `(3, D, H, W)`.
    """
    size = template.shape
    padding = [n for edge in reversed(size) for n in (0, max(0, PATCH - edge))]
    seen = F.pad(torch.cat([template[None], target[None], push / network.scale])[None], padding, mode="replicate")[0]
    total, count = seen.new_zeros(3, *seen.shape[1:]), seen.new_zeros(seen.shape[1:])
    places = [place for place in patch_places(seen.shape[1:]) if not _is_flat(seen[(slice(2), *place)])]
    for first in range(0, len(places), PATCHES_AT_A_TIME):
        some = places[first : first + PATCHES_AT_A_TIME]
        patches = torch.stack([seen[(slice(None), *place)] for place in some])
        for place, found in zip(some, network(patches[:, :1], patches[:, 1:2], patches[:, 2:]), strict=True):
            total[(slice(None), *place)] += found
            count[place] += 1
    return (network.scale * total / count.clamp(min=1))[:, : size[0], : size[1], : size[2]]


def patch_places(size: Sequence[int]) -> list[tuple[slice, slice, slice]]:
    """Where patches lie that cover a grid `(D, H, W)` of 15 voxels or more along each axis; the last end with it."""
    starts = [[*range(0, edge - PATCH, STRIDE), edge - PATCH] for edge in size]
    return [
        (slice(z, z + PATCH), slice(y, y + PATCH), slice(x, x + PATCH))
        for z in starts[0]
        for y in starts[1]
        for x in starts[2]
    ]


def _is_flat(patches: torch.Tensor) -> bool:
    each = patches.flatten(1)
    return bool((each.amax(1) == each.amin(1)).all())


def _draw(convolution: nn.Conv3d | nn.ConvTranspose3d) -> None:
    """Weights that keep the variance through a PReLU (He et al., 2015); with PyTorch's own, signals fade."""
    strides = math.prod(convolution.stride) if isinstance(convolution, nn.ConvTranspose3d) else 1
    inputs = convolution.in_channels * math.prod(convolution.kernel_size) / strides
    nn.init.normal_(convolution.weight, std=(2 / (1 + PRELU**2) / inputs) ** 0.5)
    nn.init.zeros_(convolution.bias)


def _encoder(channels: int, features: int) -> nn.Sequential:
    """15 voxels to 8 to 5."""
    parts: list[nn.Module] = []
    for before, after in ((channels, features), (features, 2 * features)):
        parts += [*_unit(nn.Conv3d(before, after, 3, padding=1), after)]
        parts += [*_unit(nn.Conv3d(after, after, 3, padding=1), after)]
        parts += [*_unit(nn.Conv3d(after, after, 3, padding=1), after)]
        parts += [*_unit(nn.Conv3d(after, after, 2, 2, padding=1), after)]
    return nn.Sequential(*parts)


def _decoder(width: int) -> nn.Sequential:
    """5 voxels to 8 to 15; nothing bounds the output."""
    half = width // 2
    return nn.Sequential(
        *_unit(nn.ConvTranspose3d(width, width, 2, 2, padding=1), width),
        *_unit(nn.Conv3d(width, width, 3, padding=1), width),
        *_unit(nn.Conv3d(width, width, 3, padding=1), width),
        *_unit(nn.Conv3d(width, half, 3, padding=1), half),
        *_unit(nn.ConvTranspose3d(half, half, 3, 2, padding=1), half),
        *_unit(nn.Conv3d(half, half, 3, padding=1), half),
        *_unit(nn.Conv3d(half, half, 3, padding=1), half),
        nn.Conv3d(half, 1, 3, padding=1),
    )


def _unit(convolution: nn.Module, features: int) -> tuple[nn.Module, ...]:
    return convolution, nn.PReLU(features, PRELU), nn.Dropout(DROPOUT)
