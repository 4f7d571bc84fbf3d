"""The loss of block matching: features are trained for what a guided search does with them.

A search compares the block around a place in one view with the blocks at all displacements about a start in the other
(`matching.geometry.block_matching`). Here squared distances, of self-similarity and of the trained features together,
count as negative log-likelihoods, and the true displacement is to be the likeliest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.block_matching import ball, cube
from deepfeatures.networks.cifl import Cifl, self_similarity
from deepfeatures.training.noise import Random
from deepfeatures.training.random_deformations import sample
from deepfeatures.training.synthetic import Pairs

STEP = 2  # every other voxel of a block is compared, as in a search
BLUR = 0.6  # voxels: standard deviation of the displacements that are wanted around the true one


@dataclass(frozen=True)
class BlockSettings:
    """Lengths in voxels.

    Args:
        points: Blocks a pair.
        radius: Of a block.
        search_radius: Half the edge of the cube of displacements.
        offset: Largest distance of the start from the truth along each axis.
    """

    points: int = 40
    radius: int = 6
    search_radius: int = 3
    offset: int = 2


def block_match(
    network: Cifl, maps: torch.Tensor, pairs: Pairs, settings: BlockSettings, rng: Random
) -> dict[str, torch.Tensor]:
    """Loss of a batch of pairs, and how far off the least distances lie.

    Args:
        network: Gives sharpness and gain.
        maps: Fine features of the first and then of the second views, `(2 batch, channels, size, size, size)`.
        rng: Chooses blocks and starts.

    Returns:
        `"block"`: mean cross-entropy; `"error"`: mean distance in voxels between the best displacement and the true
        one; `"rival"`: the same for self-similarity alone.
    """
    views = torch.cat([pairs.first, pairs.second])
    similar, learned, wanted = [], [], []
    with torch.no_grad():
        context = self_similarity(views)
    batch = len(pairs.first)
    for k, (chosen, starts, shifts) in enumerate(_blocks(pairs, settings, rng)):
        if len(chosen) == 0:
            continue
        places = pairs.first_points[k, chosen], starts
        similar.append(block_distances(context[k], context[batch + k], *places, settings))
        learned.append(block_distances(maps[k].float(), maps[batch + k].float(), *places, settings))
        wanted.append(shifts)
    if not wanted:
        nothing = 0 * (maps.sum() + network.log_gain + network.log_sharpness)
        return {"block": nothing, "error": nothing.detach(), "rival": nothing.detach()}
    similar, learned, wanted = torch.cat(similar), torch.cat(learned), torch.cat(wanted)
    both = similar + network.log_gain.exp() * learned
    steps = cube(settings.search_radius, both.device).float().flip(-1)
    apart = torch.cdist(wanted.float(), steps)
    likely = torch.softmax(-apart.square() / (2 * BLUR**2), 1)
    loss = F.cross_entropy(-network.log_sharpness.exp() * both, likely)
    errors = {
        name: apart.gather(1, distances.detach().argmin(1, keepdim=True)).mean()
        for name, distances in (("error", both), ("rival", similar))
    }
    return {"block": loss, **errors}


def block_distances(
    first: torch.Tensor, second: torch.Tensor, points: torch.Tensor, starts: torch.Tensor, settings: BlockSettings
) -> torch.Tensor:
    """Squared feature distances of blocks, summed over channels, for all displacements of a cube.

    What the search's own `matching.blocks.block_distances` computes in place with all offsets alike, with gradients.

    Args:
        first, second: Maps, `(channels, size, size, size)`.
        points: Middles of the blocks in the first map, `(N, 3)` in `(z, y, x)`.
        starts: Whole voxels in the second map about which displacements are tried, `(N, 3)`.

    Returns:
        `(N, n³)` with `n = 2 search_radius + 1`, z slowest.
    """
    channels, size = first.shape[:2]
    reach, count = settings.radius // STEP, len(points)
    width, edge = 2 * reach + 1, 2 * (settings.radius + settings.search_radius) + 1
    mask = first.new_zeros((width,) * 3)
    mask[tuple((ball(settings.radius, STEP, first.device) // STEP + reach).flip(-1).T)] = 1
    grid = cube(reach, first.device).flip(-1) * STEP
    places = points[:, None] + grid - (size - 1) / 2
    blocks = sample(first[None], places.reshape(1, -1, 3).mT)[0].unflatten(1, (count, *mask.shape)).movedim(1, 0) * mask
    window = cube(settings.radius + settings.search_radius, first.device).flip(-1)
    z, y, x = (starts[:, None].long() + window).unbind(-1)
    extract_windows = second.flatten(1)[:, ((z * size + y) * size + x).flatten()].reshape(channels, count, *(edge,) * 3)
    # |a - b|² = |a|² + |b|² - 2 a·b, summed over the block by a convolution.
    squares = F.conv3d(extract_windows.square().sum(0)[:, None], mask[None, None], dilation=STEP)[:, 0]
    groups = extract_windows.movedim(1, 0).reshape(1, -1, *(edge,) * 3)
    products = F.conv3d(groups, blocks, groups=count, dilation=STEP)[0]
    own = blocks.square().sum((1, 2, 3, 4))[:, None, None, None]
    return (own + squares - 2 * products).flatten(1) / mask.sum()


def _blocks(
    pairs: Pairs, settings: BlockSettings, rng: Random
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """For each pair: which points, their starts in the second view, and the displacements from there to the truth."""
    last, margin = pairs.first.shape[-1] - 1, settings.radius + settings.search_radius
    drawn = rng.integers(2 * settings.offset + 1, *pairs.second_points.shape) - settings.offset
    starts = pairs.second_points.long() + drawn
    inside = pairs.valid & ((starts >= margin) & (starts <= last - margin)).all(-1)
    inside &= ((pairs.first_points >= settings.radius) & (pairs.first_points <= last - settings.radius)).all(-1)
    blocks = []
    for k, there in enumerate(inside):
        chosen = torch.nonzero(there)[:, 0]
        chosen = chosen[rng.permutation(len(chosen))[: settings.points]]
        blocks.append((chosen, starts[k, chosen], -drawn[k, chosen]))
    return blocks
