"""Supervised heat-map regression, the peer that users know: a small 3D U-Net trained on a few annotated people.

    python Testing/Benchmarks/heat_maps.py --train 6 --steps 300 900    # error on 40 crops of others, and seconds

Each landmark has a map of its own. The loss is the cross-entropy between the softmax over all voxels and a Gaussian
around the landmark (Payer et al., Integrating spatial configuration into heatmap regression based CNNs, 2019, learn the
width; here it is fixed). The place is the mean of the map near its highest voxel (a local soft-argmax). Every step sees
one scan, turned, scaled, shifted and of other intensities at random, on a grid of its own size. The network sees the
faces of the crop, as such networks do.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from cases import Case, data_folder, errors, person, read_case
from doubt_sets import hippocampi
from torch import nn

SPACING_MM = 1.0
CHANNELS = (16, 32, 64)
STEPS = 900
LEARNING_RATE = 2e-3
WIDTH = 1.5  # standard deviation of the Gaussian, in voxels
TURN_DEGREES, SCALE, SHIFT_VOXELS, GAIN, GAMMA = 10.0, 0.1, 3.0, 0.2, 0.3
REACH = 3  # voxels around the highest one over which the place is averaged


class UNet(nn.Module):
    """Maps `(1, 1, D, H, W)` to one map of logits a landmark; edges are multiples of 4."""

    def __init__(self, landmarks: int):
        super().__init__()
        inner = (1, *CHANNELS)
        self.down = nn.ModuleList(_convolutions(a, b) for a, b in itertools.pairwise(inner))
        self.up = nn.ModuleList(_convolutions(CHANNELS[i] + CHANNELS[i + 1], CHANNELS[i]) for i in (1, 0))
        self.head = nn.Conv3d(CHANNELS[0], landmarks, 1)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        kept, features = [], volume
        for level, block in enumerate(self.down):
            features = block(F.max_pool3d(features, 2) if level else features)
            kept.append(features)
        for block, finer in zip(self.up, reversed(kept[:-1]), strict=True):
            features = block(torch.cat([finer, F.interpolate(features, scale_factor=2.0, mode="nearest")], 1))
        return self.head(features)


def _convolutions(inside: int, outside: int) -> nn.Sequential:
    """Two, each with its normalisation."""
    layers: list[nn.Module] = []
    for channels in (inside, outside):
        layers += [nn.Conv3d(channels, outside, 3, padding=1), nn.InstanceNorm3d(outside, affine=True), nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True, eq=False)
class Sample:
    """A scan as the network sees it.

    Args:
        voxels: `(1, 1, D, H, W)`, mean 0 and deviation 1, edges multiples of 4; the outermost voxels are repeated.
        places: Indices x, y, z of the landmarks in them, `(L, 3)`.
    """

    voxels: torch.Tensor
    places: torch.Tensor


def sample_of(case: Case) -> Sample:
    volume = case.volume.canonical().resampled(SPACING_MM)
    voxels = volume.voxels[None, None]
    missing = [-size % 4 for size in volume.size]
    padded = F.pad(voxels, [number for size in missing for number in (0, size)], mode="replicate")
    places = torch.from_numpy(volume.to_index(case.landmarks.positions)).float()
    return Sample((padded - voxels.mean()) / voxels.std(), places)


def trained(cases: Sequence[Case], steps: int = STEPS, seed: int = 0) -> UNet:
    """A network that has seen nothing but these scans, which have the same landmarks in the same order."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    samples = [sample_of(case) for case in cases]
    network = UNet(len(cases[0].landmarks)).train()
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps)
    for _ in range(steps):
        sample = changed(samples[random.integers(len(samples))], random)
        loss = cross_entropy(_maps(network, sample), sample.places)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def place(network: UNet, target: Case) -> np.ndarray:
    """LPS mm of the landmarks in a target, `(L, 3)`."""
    sample = sample_of(target)
    with torch.no_grad():
        indices = expected_places(_maps(network, sample))
    return target.volume.canonical().resampled(SPACING_MM).to_world(indices.numpy())


def _maps(network: UNet, sample: Sample) -> torch.Tensor:
    """Logits `(L, D, H, W)`; half precision makes it twice as quick on a CPU."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(sample.voxels)[0].float()


def changed(sample: Sample, random: np.random.Generator) -> Sample:
    """Another pose, size and contrast; landmarks follow."""
    shape = np.array(sample.voxels.shape[:1:-1], float)  # along x, y, z
    centre = (shape - 1) / 2
    matrix = _rotation(random.uniform(-TURN_DEGREES, TURN_DEGREES, 3)) * random.uniform(1 - SCALE, 1 + SCALE, 3)
    shift = random.uniform(-SHIFT_VOXELS, SHIFT_VOXELS, 3)
    places = (sample.places.numpy() - centre) @ matrix.T + centre + shift
    back = np.linalg.inv(matrix)  # from places in the changed scan to those in the scan, from its centre
    half = shape / 2
    theta = np.column_stack([back * half / half[:, None], -back @ shift / half])
    grid = F.affine_grid(torch.from_numpy(theta)[None].float(), list(sample.voxels.shape), align_corners=False)
    voxels = F.grid_sample(sample.voxels, grid, padding_mode="border", align_corners=False)
    low, high = voxels.amin(), voxels.amax()
    bent = ((voxels - low) / (high - low)) ** float(np.exp(random.uniform(-GAMMA, GAMMA))) * (high - low) + low
    bent = bent * random.uniform(1 - GAIN, 1 + GAIN) + random.uniform(-GAIN, GAIN)
    return Sample(bent, torch.from_numpy(places).float())


def _rotation(degrees: np.ndarray) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, (i, j) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turned = turned @ one
    return turned


def cross_entropy(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Of the softmax of each map `(L, D, H, W)` and a Gaussian around its place."""
    along = [torch.arange(size, dtype=torch.float32) for size in logits.shape[:0:-1]]
    x, y, z = (
        torch.exp(-0.5 * ((positions - places[:, axis, None]) / WIDTH) ** 2) for axis, positions in enumerate(along)
    )
    wanted = (z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, :]).flatten(1)
    wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1e-6)
    return -(wanted * logits.flatten(1).log_softmax(1)).sum(1).mean()


def expected_places(logits: torch.Tensor) -> torch.Tensor:
    """Indices x, y, z, `(L, 3)`: the mean of each map near its highest voxel."""
    found = []
    for chart in logits:
        highest = np.unravel_index(int(chart.argmax()), chart.shape)
        first = [max(0, index - REACH) for index in highest]
        near = chart[tuple(slice(a, index + REACH + 1) for a, index in zip(first, highest, strict=True))]
        weights = near.flatten().softmax(0).reshape(near.shape)
        axes = [torch.arange(size) + a for size, a in zip(near.shape, first, strict=True)]
        z, y, x = (
            (weights.sum([other for other in range(3) if other != axis]) * axes[axis]).sum() for axis in range(3)
        )
        found.append(torch.stack([x, y, z]))
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=6, help="people to train on")
    parser.add_argument("--steps", type=int, nargs="+", default=[STEPS])
    parser.add_argument("--targets", type=int, default=40)
    arguments = parser.parse_args()
    # settings are chosen on odd people alone, as those of the search were
    names = np.random.default_rng(1).permutation([name for name in hippocampi() if person(name) % 2])
    chosen = list({person(name): name for name in names}.values())
    cases = [read_case(data_folder() / "hippocampus" / f"{name}.nii.gz") for name in chosen]
    for steps in arguments.steps:
        started = time.perf_counter()
        network = trained(cases[: arguments.train], steps)
        learnt = time.perf_counter()
        targets = cases[-arguments.targets :]
        found = np.concatenate([errors(place(network, target), target) for target in targets])
        each = (time.perf_counter() - learnt) / len(targets)
        print(
            f"{arguments.train} people, {steps} steps ({learnt - started:.0f} s): mean {found.mean():.2f}, median"
            f" {np.median(found):.2f}, 95th percentile {np.percentile(found, 95):.2f} mm, {each:.2f} s a target",
            flush=True,
        )


if __name__ == "__main__":
    main()
