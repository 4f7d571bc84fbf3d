"""CIFL as its paper has it: features whose channels agree between contrasts and differ from one another.

After "Contrast Invariant Feature Representations for Segmentation and Registration of Medical Images" (Chua and Dalca),
in 3D. It is here to compare with; what the package uses contrasts positions instead (`deepfeatures.training.cifl`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.training.contrasts import ContrastSettings, contrast_pair, degrade, render
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.shapes import BACKGROUND, label_maps

LAYERS = 8


class PaperCifl(nn.Sequential):
    """Eight convolutions with kernel 3; every channel of the output is a unit vector over the voxels, of mean zero.

    The paper says that an l2 normalisation puts the features on a unit hypersphere, not along which axis. Its loss
    compares whole channels by their inner products, which are bounded, as its temperatures need it, where each channel
    has length one. Taking the mean off first is ours: without it, and with gamma = 1, all channels became one constant
    map and its negative. Inner products are thereby correlations.

    Args:
        channels: Of the features; the paper does not say how many.
        width: Of the hidden layers.
    """

    def __init__(self, channels: int = 8, width: int = 16):
        layers: list[nn.Module] = []
        for index in range(LAYERS):
            before, after = 1 if index == 0 else width, channels if index == LAYERS - 1 else width
            layers.append(nn.Conv3d(before, after, 3, padding=1, padding_mode="replicate"))
            if index < LAYERS - 1:
                layers.append(nn.LeakyReLU(0.2))
        super().__init__(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features `(batch, channels, d, h, w)` of images `(batch, 1, d, h, w)`."""
        found = super().forward(x)
        flat = found.flatten(2)
        return F.normalize(flat - flat.mean(2, keepdim=True), dim=2).view_as(found)


@dataclass(frozen=True)
class Temperatures:
    """Of the loss: of the agreement above (alpha) and below (beta) the line, and of the channels' likeness (gamma).

    The paper varies gamma alone and does not say what the others are. With 1, gamma = 1 weighs agreement and difference
    alike.
    """

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.1


def channel_contrast(first: torch.Tensor, second: torch.Tensor, temperatures: Temperatures) -> torch.Tensor:
    """The paper's loss: channels agree between two contrasts, and differ from one another within the first.

    Args:
        first, second: Features of two contrasts of one geometry, shape `(batch, channels, d, h, w)`.
        temperatures: Of its three terms.
    """
    agreement, likeness = inner_products(first, second)
    below = torch.cat([agreement / temperatures.beta, likeness / temperatures.gamma], 1)
    # logsumexp, because exp(1 / 0.01) is more than float32 can hold
    return (below.logsumexp(1) - (agreement / temperatures.alpha).logsumexp(1)).mean()


def inner_products(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How channels agree between contrasts, `(batch, C)`, and with other channels, `(batch, C * (C - 1))`."""
    first, second = first.flatten(2), second.flatten(2)
    agreement = (first * second).sum(2)
    others = ~torch.eye(first.shape[1], dtype=torch.bool, device=first.device)
    return agreement, (first @ first.mT)[:, others]


def contrast_views(
    seed: int, step: int, batch: int, size: int, settings: ContrastSettings, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two contrasts of the same random shapes, voxel by voxel, shape `(batch, 1, size, size, size)` each."""
    draw = Random(device, seed, 5, step)
    labels = label_maps(draw, batch, size, objects=16)
    texture = smooth_noise(draw, batch, 1, size, draw.number(2.0, 10.0))[:, 0]
    body = (labels != BACKGROUND)[:, None].float()
    first, second = (
        degrade(draw, render(labels, texture, contrast), body, settings)
        for contrast in contrast_pair(draw, batch, settings)
    )
    return first, second
