"""Where the feature map of a patch lies in dense features."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import torch

from deepfeatures.features.patch import anchor
from deepfeatures.networks.base import Layer, first_centre

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # start and stop along depth, height, width


@dataclass(frozen=True)
class ReceptiveWindow:
    """The entries of a patch's map, along each axis, in voxels from the landmark's voxel.

    Args:
        first: Voxel of the first entry, usually negative.
        count: Entries.
        stride: Voxels between entries.
    """

    first: int
    count: int
    stride: int

    @classmethod
    def of_patch(cls, layer: Layer, patch_size: int) -> ReceptiveWindow:
        """Entries where `layer` has them, with the paper's padding, in a patch of `patch_size` voxels."""
        half = (layer.receptive_field - 1) % 2 / 2  # a dense feature with an even field is centred half a voxel beyond
        first = floor(first_centre(layer, patch_size) - half)
        return cls(first - anchor(patch_size), map_length(layer, patch_size), layer.stride)

    @property
    def span(self) -> int:
        """Voxels from the first entry to the last, both included."""
        return (self.count - 1) * self.stride + 1

    def seen_from(self, box: Box) -> Box:
        """The voxels whose features the landmarks in a box of voxels need."""
        return tuple((start + self.first, stop - 1 + self.first + self.span) for start, stop in box)


def map_length(layer: Layer, patch_size: int) -> int:
    """Entries of the layer's "same" map along each edge of a patch."""
    size = patch_size
    for step in layer.steps:
        size = -(-size // step.stride) if step.padded else (size - min(step.kernel, size)) // step.stride + 1
    return size


def within(box: Box, shape: tuple[int, int, int]) -> Box:
    """The part of a box that lies in a volume of `shape`, at least the nearest voxel along each axis."""
    return tuple((min(max(a, 0), n - 1), min(max(b, 1), n)) for (a, b), n in zip(box, shape, strict=True))


def crop_with_margins(features: torch.Tensor, held: Box, wanted: Box) -> tuple[torch.Tensor, Box]:
    """What is held of the box `wanted`, and by how many voxels its border is to be repeated before and after each axis.

    Arguments are those of `crop`.
    """
    inner = tuple((max(a, low), min(b, high)) for (a, b), (low, high) in zip(wanted, held, strict=True))
    if any(a >= b for a, b in inner):
        return crop(features, held, wanted), ((0, 0), (0, 0), (0, 0))
    margins = tuple((a - start, stop - b) for (a, b), (start, stop) in zip(inner, wanted, strict=True))
    return crop(features, held, inner), margins


def crop(features: torch.Tensor, held: Box, wanted: Box) -> torch.Tensor:
    """Features of the box `wanted` out of those of the box `held`; beyond it, its border is repeated.

    Args:
        features: Shape `(channels, d, h, w)`.
        held: Where they lie.
        wanted: What is asked for.
    """
    if all(a >= low and b <= high for (a, b), (low, high) in zip(wanted, held, strict=True)):
        part = (slice(a - low, b - low) for (a, b), (low, _) in zip(wanted, held, strict=True))
        return features[(slice(None), *part)]
    for axis, ((a, b), (low, high)) in enumerate(zip(wanted, held, strict=True), 1):
        index = torch.arange(a, b, device=features.device).clamp_(low, high - 1) - low
        features = features.index_select(axis, index)
    return features
