"""Does the paper's CIFL give features that agree between contrasts and differ between channels? For three temperatures.

    python Testing/Benchmarks/paper_cifl.py

Trains the network of "Contrast Invariant Feature Representations for Segmentation and Registration of Medical Images"
(Chua and Dalca), in 3D, on random shapes: its channels are to agree between contrasts and to differ from one another.
What the package trains contrasts positions instead (`deepfeatures.training.cifl`). For each temperature of the
channels' similarity it prints mean correlations of held-out features: of each channel with itself in another contrast
of the same shapes (1: the contrast does not matter), with itself in other shapes (what a map that shows nothing would
reach, too), and of different channels of one image (0: each tells something of its own).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.training.contrasts import ContrastSettings, contrast_pair, render, simulate_artefacts
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.shapes import BACKGROUND, label_maps

GAMMAS = (1.0, 0.1, 0.01)
LAYERS = 8
HELD_OUT_SEED = 999_983


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, default=20, help="edge of the volumes in voxels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    settings = ContrastSettings(similar_fraction=0)  # every pair is of two contrasts
    held_out = contrast_views(HELD_OUT_SEED, 0, 8, arguments.size, settings, arguments.device)
    print("| τγ | same channel, other contrast | same channel, other shapes | other channels, absolute | seconds |")
    print("|---|---|---|---|---|")
    for gamma in (None, *GAMMAS):
        started = time.monotonic()
        network = trained(gamma, arguments, settings)
        print(f"| {gamma or 'untrained'} | {row(network, *held_out)} | {time.monotonic() - started:.0f} |", flush=True)


def trained(gamma: float | None, arguments: argparse.Namespace, settings: ContrastSettings) -> PaperCifl:
    """The network after its steps; untrained where `gamma` is `None`."""
    torch.manual_seed(arguments.seed)
    network = PaperCifl().to(arguments.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(0 if gamma is None else arguments.steps):
        first, second = contrast_views(
            arguments.seed, step, arguments.batch, arguments.size, settings, arguments.device
        )
        loss = channel_contrast(network(first), network(second), Temperatures(gamma=gamma))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return network


@torch.no_grad()
def row(network: PaperCifl, first: torch.Tensor, second: torch.Tensor) -> str:
    """The figures of one network as cells of a table."""
    features, others = network(first), network(second)
    agreement, likeness = inner_products(features, others)
    elsewhere, _ = inner_products(features, others.roll(1, 0))
    return " | ".join(f"{float(v.mean()):.2f}" for v in (agreement, elsewhere, likeness.abs()))


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
    rng = Random(device, seed, 5, step)
    labels = label_maps(rng, batch, size, objects=16)
    texture = smooth_noise(rng, batch, 1, size, rng.number(2.0, 10.0))[:, 0]
    body = (labels != BACKGROUND)[:, None].float()
    first, second = (
        simulate_artefacts(rng, render(labels, texture, contrast), body, settings)
        for contrast in contrast_pair(rng, batch, settings)
    )
    return first, second


if __name__ == "__main__":
    main()
