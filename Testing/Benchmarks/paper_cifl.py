"""Does the paper's CIFL give features that agree between contrasts and differ between channels? For three temperatures.

    python Testing/Benchmarks/paper_cifl.py

Trains the paper's network (`deepfeatures.training.paper_cifl`) on random shapes for each temperature of the channels'
likeness, and prints mean correlations of held-out features: of each channel with itself in another contrast of the
same shapes (1: the contrast does not matter), with itself in other shapes (what a map that shows nothing would reach,
too), and of different channels of one image (0: each tells something of its own).
"""

from __future__ import annotations

import argparse
import time

import torch

from deepfeatures.training.contrasts import ContrastSettings
from deepfeatures.training.paper_cifl import PaperCifl, Temperatures, channel_contrast, contrast_views, inner_products

GAMMAS = (1.0, 0.1, 0.01)
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


if __name__ == "__main__":
    main()
