"""Self-similarity descriptors, an untrained yardstick: MIND (Heinrich et al. 2012), MIND-SSC (Heinrich et al. 2013)."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import torch
import torch.nn.functional as F

from deepfeatures.networks.base import Encoder, Layer, Step
from deepfeatures.networks.dense_inference import ConvolutionMode, Operation

RADII = (1, 2, 3)
DILATIONS = (1, 2, 3, 4)
VARIANCE_FLOOR = (255 / 1000) ** 2  # a thousandth of the scaled intensity range: flat regions do not amplify noise


def mind_layers() -> dict[str, Layer]:
    """`ssc_r1_d2`: self-similarity context, patches of radius 1 voxel, neighbours 2 voxels away; `mind_…` likewise."""
    layers = {}
    for kind, channels in (("ssc", 12), ("mind", 6)):
        for radius in RADII:
            for dilation in DILATIONS:
                name = f"{kind}_r{radius}_d{dilation}"
                layers[name] = Layer.after([Step(2 * (radius + dilation) + 1)], name, channels)
    return layers


class Mind(Encoder):
    """Self-similarity descriptors as a network without weights; values lie in [0, 1].

    Each channel is exp(-(D - min D) / V): D is the mean squared difference of two cubes near the voxel, V the mean of D
    over the channels. V has a fixed floor in place of the usual one relative to the whole volume, so that a voxel's
    features depend on its surroundings only. Under `"same"` padding the volume is surrounded by zeros.

    Args:
        name: Name in the catalog.
    """

    norm = "frobenius"
    full_resolution_channels = 40  # the descriptors and their temporaries, in float32 whatever the input

    def __init__(self, name: str = "mind"):
        super().__init__()
        self.name = name
        self.layers = mind_layers()
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def operations(self, layer: str) -> list[Operation]:
        kind, radius, dilation = layer.split("_")
        radius, dilation = int(radius[1:]), int(dilation[1:])
        describe = _self_similarity_context if kind == "ssc" else _neighbourhood
        run = partial(_describe, describe, radius, dilation)
        return [Operation(run, 2 * self.full_resolution_channels, shrink=2 * (radius + dilation))]


def _describe(distances_of, radius: int, dilation: int, x: torch.Tensor, mode: ConvolutionMode) -> torch.Tensor:
    image = x[:, 0].float()
    if mode.padding == "same":
        image = F.pad(image, (radius + dilation,) * 6)
    distances = distances_of(image, radius, dilation)
    variance = distances.mean(1, keepdim=True).clamp_min_(VARIANCE_FLOOR)
    distances -= distances.amin(1, keepdim=True)
    return distances.div_(variance).neg_().exp_().to(x.dtype)


def _self_similarity_context(image: torch.Tensor, radius: int, dilation: int) -> torch.Tensor:
    """Distances between the 12 pairs of adjacent neighbours among the six at `dilation` voxels.

    Opposite edges of that octahedron are parallel: one map of distances serves two channels, read at two places.
    """
    channels = []
    for i, j in combinations(range(3), 2):
        for sign in (-1, 1):
            before, after = [0, 0, 0], [0, 0, 0]
            before[i], after[j] = dilation * sign, dilation
            opposite = [-step for step in after], [-step for step in before]
            channels += _distances(image, radius, dilation, (before, opposite[0]), (after, opposite[1]))
    return torch.stack(channels, 1)


def _neighbourhood(image: torch.Tensor, radius: int, dilation: int) -> torch.Tensor:
    """Distances between the voxel and each of its six neighbours at `dilation` voxels."""
    channels = []
    for axis in range(3):
        neighbour, back, centre = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        neighbour[axis], back[axis] = dilation, -dilation
        channels += _distances(image, radius, dilation, (centre, back), (neighbour, centre))
    return torch.stack(channels, 1)


def _distances(image: torch.Tensor, radius: int, dilation: int, starts, ends) -> list[torch.Tensor]:
    """Mean squared differences of the cubes at `starts[k]` and `ends[k]` from each voxel, k = 0 and 1.

    Both pairs have the same difference vector, so that both are crops of one map.
    """
    margin = radius + dilation
    size = [n - 2 * margin for n in image.shape[1:]]
    low = [min(a, b) for a, b in zip(*starts, strict=True)]
    span = [abs(a - b) for a, b in zip(*starts, strict=True)]
    vector = [e - s for s, e in zip(starts[0], ends[0], strict=True)]

    def window(shift: list[int]) -> torch.Tensor:
        starts_at = [dilation + step for step in shift]
        lengths = [n + s + 2 * radius for n, s in zip(size, span, strict=True)]
        return _crop(image, starts_at, lengths)

    moved = [step + along for step, along in zip(low, vector, strict=True)]
    means = _box_mean((window(low) - window(moved)).square_(), radius)
    return [_crop(means, [step - first for step, first in zip(start, low, strict=True)], size) for start in starts]


def _crop(image: torch.Tensor, starts: list[int], lengths: list[int]) -> torch.Tensor:
    for axis, (start, length) in enumerate(zip(starts, lengths, strict=True), 1):
        image = image.narrow(axis, start, length)
    return image


def _box_mean(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over cubes of edge `2 * radius + 1`, valid, one axis after the other."""
    width = 2 * radius + 1
    for axis in (1, 2, 3):
        length = x.shape[axis] - width + 1
        total = x.narrow(axis, 0, length) + x.narrow(axis, 1, length)
        for step in range(2, width):
            total += x.narrow(axis, step, length)
        x = total
    return x.div_(width**3)
