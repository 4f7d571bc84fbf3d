"""Features of every voxel in one pass, tile by tile where memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch

from deepfeatures.networks.base import Encoder, Layer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WORKING_BYTES = 2 << 30  # what encoding may hold beside its result unless told otherwise
FIXED_BYTES = 160 << 20  # slabs and phases on the way, whatever the tile's size

Region = tuple[slice, slice, slice]


def receptive_offset(layer: Layer) -> int:
    """Voxels between the start of a receptive field and the voxel whose feature it is.

    An odd receptive field is centred on its voxel; an even one reaches one voxel further towards higher indices, as an
    even patch does, so that its middle lies half a voxel beyond.
    """
    return (layer.receptive_field - 1) // 2


@torch.no_grad()
def encode_dense(
    encoder: Encoder,
    layer: str,
    voxels: torch.Tensor,
    *,
    region: Region | None = None,
    precision: str = "float32",
    working_bytes: int = WORKING_BYTES,
) -> torch.Tensor:
    """Features of every voxel of a region, each centred on its voxel; beyond the volume its border is repeated.

    Args:
        encoder: Any network.
        layer: One of its layers.
        voxels: Shape `(depth, height, width)`, scaled as the network wants it.
        region: Slices along depth, height and width; all voxels where `None`.
        precision: `"float32"` or `"bfloat16"`: of the computation and of the result.
        working_bytes: Memory to hold beside the result; less means more, smaller tiles and the same numbers.

    Returns:
        Shape `(channels, d, h, w)`, on the encoder's device, in memory with the channels last.
    """
    bounds = _bounds(voxels, region)
    size = [stop - start for start, stop in bounds]
    features = torch.empty((*size, encoder.layers[layer].channels), dtype=DTYPES[precision], device=encoder.device)
    features = features.movedim(-1, 0)
    for tile in _tiles(encoder, layer, bounds, features.element_size(), working_bytes, with_result=False):
        window = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(tile, bounds, strict=True))
        encoder.dense_into(
            [features[(slice(None), *window)]], _with_halo(encoder, layer, voxels, tile, features.dtype), layer
        )
    return features


@torch.no_grad()
def encode_tiles(
    encoder: Encoder,
    layer: str,
    voxels: torch.Tensor,
    *,
    region: Region | None = None,
    precision: str = "float32",
    max_bytes: int = WORKING_BYTES,
) -> Iterator[tuple[Region, torch.Tensor]]:
    """As `encode_dense`, in tiles: pairs of a tile's region in the volume and its features `(channels, d, h, w)`.

    `max_bytes` bounds what is held at a time, a tile's features included, as long as the caller lets go of each tile.
    """
    bounds = _bounds(voxels, region)
    dtype = DTYPES[precision]
    for tile in _tiles(encoder, layer, bounds, dtype.itemsize, max_bytes, with_result=True):
        features = encoder.dense(_with_halo(encoder, layer, voxels, tile, dtype), layer)[0]
        yield tuple(slice(a, b) for a, b in tile), features


def _bounds(voxels: torch.Tensor, region: Region | None) -> list[tuple[int, int]]:
    """Start and stop along each axis."""
    region = region or (slice(None),) * 3
    return [part.indices(n)[:2] for part, n in zip(region, voxels.shape, strict=True)]


def _with_halo(encoder: Encoder, layer: str, voxels: torch.Tensor, tile, dtype: torch.dtype) -> torch.Tensor:
    """The tile and all that its features see, shape `(1, 1, d, h, w)`, on the encoder's device."""
    known = encoder.layers[layer]
    before = receptive_offset(known)
    after = known.receptive_field - 1 - before
    for axis, (start, stop) in enumerate(tile):
        index = torch.arange(start - before, stop + after, device=voxels.device).clamp_(0, voxels.shape[axis] - 1)
        voxels = voxels.index_select(axis, index)
    return voxels[None, None].to(encoder.device, dtype)


def _tiles(encoder: Encoder, layer: str, bounds, item: int, max_bytes: int, *, with_result: bool):
    """Tiles of nearly equal edges that keep within `max_bytes`, as lists of (start, stop)."""
    known = encoder.layers[layer]
    parts = [1, 1, 1]

    def edges() -> list[int]:
        return [-(-(stop - start) // n) for (start, stop), n in zip(bounds, parts, strict=True)]

    def needed() -> int:
        seen = prod(edge + known.receptive_field - 1 for edge in edges())
        result = known.channels * prod(edges()) if with_result else 0
        return FIXED_BYTES + item * (encoder.full_resolution_channels * seen + result)

    while needed() > max_bytes and max(edges()) > 1:
        parts[edges().index(max(edges()))] += 1
    if min(edges()) < 1:
        return
    steps = edges()
    for z in range(*bounds[0], steps[0]):
        for y in range(*bounds[1], steps[1]):
            for x in range(*bounds[2], steps[2]):
                starts = (z, y, x)
                yield [(s, min(s + step, stop)) for s, step, (_, stop) in zip(starts, steps, bounds, strict=True)]
