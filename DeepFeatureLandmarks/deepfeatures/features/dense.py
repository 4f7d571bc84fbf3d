"""Features of every voxel in one pass, tile by tile where memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import torch

from deepfeatures.networks.base import Encoder, Layer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WORKING_BYTES = 2 << 30  # what encoding may hold beside its result unless told otherwise
SMALLEST_TILE = 16  # voxels: smaller tiles save little memory and compute mostly halo
FIXED_BYTES = 256 << 20  # slabs and phases on the way, whatever the tile's size

Region = tuple[slice, slice, slice]
Tile = list[tuple[int, int]]  # start and stop along depth, height and width


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
    """Features of every voxel of a region, each centred on its voxel (`receptive_offset`).

    Near the border of the volume, every operation of the network repeats the border of what it is given; further
    inside, a voxel's feature is exactly that of the patch around it with `"valid"` padding.

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
    volume = _readable(encoder, voxels, features.dtype)
    for tile in _tiles(encoder, layer, volume, bounds, working_bytes, with_result=False):
        window = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(tile, bounds, strict=True))
        encoder.dense_into([features[(slice(None), *window)]], volume, layer, _first_seen(encoder, layer, tile))
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

    `max_bytes` bounds what is held beside the volume in that precision, a tile's features included, as long as
    the caller lets go of each tile and a tile of 16 voxels along each edge fits.
    """
    bounds = _bounds(voxels, region)
    volume = _readable(encoder, voxels, DTYPES[precision])
    for tile in _tiles(encoder, layer, volume, bounds, max_bytes, with_result=True):
        shape = *(stop - start for start, stop in tile), encoder.layers[layer].channels
        features = torch.empty(shape, dtype=DTYPES[precision], device=volume.device).movedim(-1, 0)
        encoder.dense_into([features], volume, layer, _first_seen(encoder, layer, tile))
        yield tuple(slice(a, b) for a, b in tile), features


def _readable(encoder: Encoder, voxels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The volume as the encoder reads it, `(1, 1, depth, height, width)`."""
    return voxels[None, None].to(encoder.device, torch.float32 if encoder.reads_float32 else dtype)


def _bounds(voxels: torch.Tensor, region: Region | None) -> Tile:
    """Start and stop along each axis."""
    region = region or (slice(None),) * 3
    return [part.indices(n)[:2] for part, n in zip(region, voxels.shape, strict=True)]


def _first_seen(encoder: Encoder, layer: str, tile: Tile) -> list[int]:
    """Where the receptive field of the tile's first voxel starts."""
    return [start - receptive_offset(encoder.layers[layer]) for start, _ in tile]


def _tiles(
    encoder: Encoder, layer: str, volume: torch.Tensor, bounds: Tile, max_bytes: int, *, with_result: bool
) -> Iterator[Tile]:
    """Tiles of nearly equal edges that keep within `max_bytes`."""
    if any(start >= stop for start, stop in bounds):
        return
    channels = encoder.layers[layer].channels if with_result else 0
    middle = [n // 2 for n in volume.shape[2:]]
    parts = [1, 1, 1]

    def edges() -> list[int]:
        return [-(-(stop - start) // n) for (start, stop), n in zip(bounds, parts, strict=True)]

    def needed() -> int:
        first = [centre - edge // 2 for centre, edge in zip(middle, edges(), strict=True)]
        seen_from = _first_seen(encoder, layer, [(start, start) for start in first])
        seen = encoder.dense_voxels(layer, seen_from, edges(), volume.shape[2:])
        return FIXED_BYTES + volume.element_size() * (
            encoder.full_resolution_channels * seen + channels * prod(edges())
        )

    while needed() > max_bytes and max(edges()) > SMALLEST_TILE:
        parts[edges().index(max(edges()))] += 1
    steps = edges()
    for corner in product(*(range(start, stop, step) for (start, stop), step in zip(bounds, steps, strict=True))):
        yield [(a, min(a + step, stop)) for a, step, (_, stop) in zip(corner, steps, bounds, strict=True)]
