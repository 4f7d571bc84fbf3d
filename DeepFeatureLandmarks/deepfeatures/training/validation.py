"""How well features find corresponding places in synthetic pairs that training never sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from deepfeatures.training.losses import interpolate
from deepfeatures.training.synthetic import Pairs

TOLERANCE = 2.0  # voxels


@torch.no_grad()
def matching_accuracy(
    pairs: Pairs, encode: Callable[[torch.Tensor], torch.Tensor], stride: int = 1, points: int = 128
) -> float:
    """Share of points whose nearest entry in the whole other view lies within `TOLERANCE` voxels.

    Half a stride more is granted where the map is strided.

    Args:
        encode: maps views `(batch, 1, size, size, size)` to feature maps `(batch, channels, d, h, w)`.
        points: Points tried a pair.
    """
    hits = tries = 0
    for k in range(len(pairs.first)):
        kept = torch.nonzero(pairs.valid[k])[:, 0][:points]
        wanted, source = pairs.second_points[k, kept], pairs.first_points[k, kept]
        query = interpolate(encode(pairs.first[k : k + 1]).float(), source[None], stride)[0]
        found = encode(pairs.second[k : k + 1]).float()[0]
        candidates = found.flatten(1)
        # The nearest in Euclidean distance; the query's own length plays no part.
        best = (query @ candidates - candidates.square().sum(0) / 2).argmax(1)
        place = torch.stack(torch.unravel_index(best, found.shape[1:]), 1) * stride + (stride - 1) / 2
        error = (place - wanted).norm(dim=1)
        hits += int((error <= TOLERANCE + (stride - 1) / 2).sum())
        tries += len(kept)
    return hits / max(tries, 1)


def raw_patches(views: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """Centred intensities of the cube around each voxel: what the features have to beat first."""
    edge = 2 * radius + 1
    padded = F.pad(views, (radius,) * 6, mode="replicate")
    cubes = padded.unfold(2, edge, 1).unfold(3, edge, 1).unfold(4, edge, 1).flatten(5).movedim(5, 2)[:, 0]
    return F.normalize(cubes - cubes.mean(1, keepdim=True), dim=1)
