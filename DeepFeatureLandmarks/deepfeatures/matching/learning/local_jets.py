"""Local jets: what features look like around a place, in few numbers.

Patch individual filter layers (Eitel et al. 2019, section 3) build on this: once volumes are normalised, a place is the
same anatomy in everyone, so that filters can be learnt for each place. Here the target is resampled to the template,
and the features around a place are described by their Gaussian derivatives up to the second order. Filters for one
landmark are then learnt on these numbers from a handful of people.

What the target does not show must not tell anything: edges of a crop lie where somebody has put them. So features that
touch the edge count as if they were those of the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.block_matching import ball, blocks_at, cube

RADIUS, STEP = 6, 2  # voxels of the ball in which features are looked at, and between its offsets
SCALE = 3.0  # voxels, standard deviation of the Gaussian
MOST_CHANNELS = 12  # features of more channels are projected to so many
NEAR = 1.0  # voxels, standard deviation within which jets around a place are averaged
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class LandmarkFrame:
    """A target as it lies on the template, around the landmarks. Lengths are in voxels of its grid.

    Args:
        template_features, target_features: Of the template and of the resampled target, `(C, D, H, W)`.
        covered: 1 where the target's features are of its voxels, 0 beyond, `(D, H, W)`.
        points: Landmarks in the template, `(L, 3)`.
        found: Where the search alone has found them, from there, `(L, 3)`.
        reach: Voxels to either side that a feature is computed from.
    """

    template_features: torch.Tensor
    target_features: torch.Tensor
    covered: torch.Tensor
    points: torch.Tensor
    found: torch.Tensor
    reach: int


@dataclass(frozen=True, eq=False)
class Jets:
    """Jets at some voxels around each landmark.

    Args:
        values: `(L, P, F)`.
        places: Where they are, in voxels from the landmark in the template, `(L, P, 3)`.
    """

    values: torch.Tensor
    places: torch.Tensor


def jets_around(frame: LandmarkFrame, middles: torch.Tensor, radius: float) -> Jets:
    """Jets at the places of a lattice within a radius around `middles` `(L, 3)`, voxels from the landmarks."""
    voxels = _lattice(frame.points + middles, radius)
    patch = ball(RADIUS, STEP, voxels.device)
    template, target = _few_channels(frame.template_features), _few_channels(frame.target_features)
    references = blocks_at(template, frame.points, patch)
    target = target.movedim(0, -1).flatten(0, 2)
    seen = _seen(frame.covered, frame.reach).flatten()
    basis = _derivatives(patch)
    chunk = max(1, CHUNK_BYTES // (4 * len(patch) * target.shape[1] * voxels.shape[1]))
    values = [
        torch.einsum("kj,lpkc->lpjc", basis, _blocks(target, seen, frame.covered.shape, part, patch, reference))
        for part, reference in zip(voxels.split(chunk), references.split(chunk), strict=True)
    ]
    return Jets(torch.cat(values).flatten(2), voxels - frame.points[:, None])


def jets_near(jets: Jets, places: torch.Tensor) -> torch.Tensor:
    """Jets around places `(L, 3)`, the nearest counting most, `(L, F)`."""
    distances = (jets.places - places[:, None]).square().sum(2)
    return torch.einsum("lp,lpf->lf", torch.softmax(-distances / (2 * NEAR**2), 1), jets.values)


def _lattice(middles: torch.Tensor, radius: float) -> torch.Tensor:
    """Voxels around places `(L, 3)`, `(L, P, 3)`: a body-centred lattice, the same one in every target.

    Its places are as far apart as features that still differ: more of them teach nothing.
    """
    reach = int(radius) + 1
    steps = cube(reach, middles.device)
    near = steps.square().sum(1) <= radius * radius
    same_parity = (steps % 2 == steps[:, :1] % 2).all(1)
    return 2 * (middles / 2).round()[:, None].long() + steps[near & same_parity]


def _blocks(
    target: torch.Tensor,
    seen: torch.Tensor,
    shape: torch.Size,
    voxels: torch.Tensor,
    patch: torch.Tensor,
    references: torch.Tensor,
) -> torch.Tensor:
    """Features around voxels `(L, P, 3)` less those around the landmark in the template: `(L, P, K, C)`."""
    size = torch.tensor(tuple(shape)[::-1], device=voxels.device)
    places = voxels[:, :, None] + patch
    inside = ((places >= 0) & (places < size)).all(-1)
    x, y, z = places.clamp(min=0).minimum(size - 1).unbind(-1)
    index = (z * size[1] + y) * size[0] + x
    known = (inside & seen[index])[..., None]
    return (target[index] - references[:, None]) * known


def _seen(covered: torch.Tensor, reach: int) -> torch.Tensor:
    """Where features are computed from the target alone, `(D, H, W)`, bool."""
    beyond = (covered == 0).float()[None, None]
    if not bool(beyond.any()):
        return beyond[0, 0] == 0
    for axis in range(3):  # one after the other: much faster than a cube
        padding = [reach if one == axis else 0 for one in range(3)]
        beyond = F.max_pool3d(beyond, [2 * along + 1 for along in padding], 1, padding)
    return beyond[0, 0] == 0


def _few_channels(features: torch.Tensor) -> torch.Tensor:
    """Features `(C, D, H, W)`, projected at random, and always alike, where they have many channels."""
    channels = features.shape[0]
    if channels <= MOST_CHANNELS:
        return features
    return torch.einsum("mc,cdhw->mdhw", _projection(channels).to(features), features)


@cache
def _projection(channels: int) -> torch.Tensor:
    """Orthonormal rows, `(MOST_CHANNELS, channels)`."""
    normal = torch.randn(channels, MOST_CHANNELS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(normal)[0].T.float()


def _derivatives(patch: torch.Tensor) -> torch.Tensor:
    """A Gaussian and its derivatives up to the second order on offsets `(K, 3)`, orthonormal, `(K, 10)`."""
    x, y, z = (patch.cpu().double() / SCALE).T
    polynomials = [torch.ones_like(x), x, y, z, x * x - 1, y * y - 1, z * z - 1, x * y, x * z, y * z]
    weights = torch.exp(-(x * x + y * y + z * z) / 2)
    return torch.linalg.qr(torch.stack(polynomials, 1) * weights[:, None])[0].float().to(patch.device)
