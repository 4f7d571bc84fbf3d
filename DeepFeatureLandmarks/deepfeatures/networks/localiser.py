"""A small network that finds where a target lies: places of two volumes are told by what lies around them.

It is the localisation net of a spatial transformer (Jaderberg et al., Spatial transformer networks, 2015) for a pair of
volumes. A net that states rotations outright fails beyond some 45 degrees. So this one describes places instead, in a
way that no rotation changes, and a similarity transform is fitted to the places that look alike.

All that it computes is the same after a rotation: sums over channels, smoothing that is alike in all directions, and
the products of two channels' slopes. The latter are invariants as of Florack et al. (Scale and the differential
structure of images, 1992).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

EDGE = 40  # voxels of the cubes that it looks at
STRIDE = 4  # voxels between the places that it describes, along each axis
WIDTHS = (16, 32, 48, 48)  # channels of its blocks, the first at cells of two voxels, the others at four
CHANNELS = 32  # of a description
FIRST_SHARPNESS = 10.0  # of the choice among places, before training
ROUNDS = 20  # of looking for the matches that agree
REFITS = 8  # without the matches that the last fit contradicts
MISS = 0.75  # of the distance between places: a match that a fit misses by so much counts a quarter
SIZES = (0.7, 1.4)  # of one volume in the other; matches that are wrong must not make it vanish


class _Block(nn.Module):
    """Each channel, smoothed and not, and products of slopes, mixed at every voxel."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.slopes_of = nn.Conv3d(before, after, 1, bias=False)
        known = 2 * before + after // 2
        self.norm = nn.GroupNorm(known, known)  # each channel by itself, since products are of another size
        self.mix = nn.Conv3d(known, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        smooth = _smoothed(x)
        first, second = self.slopes_of(smooth).chunk(2, 1)
        products = sum(_slope_along(first, axis) * _slope_along(second, axis) for axis in (2, 3, 4))
        return F.relu(self.mix(self.norm(torch.cat([x, smooth, torch.asinh(products)], 1))))


class Localiser(nn.Module):
    """Describes places of cubes of `EDGE` voxels, and fits a similarity transform to the places that look alike."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.layers = nn.Sequential(
            _Block(4, first),
            nn.AvgPool3d(2),
            _Block(first, second),
            _Block(second, third),
            _Block(third, fourth),
            _Block(fourth, fourth),
            nn.Conv3d(fourth, CHANNELS, 1),
        )
        self.log_sharpness = nn.Parameter(torch.tensor(FIRST_SHARPNESS).log())

    def describe(self, views: torch.Tensor) -> torch.Tensor:
        """Descriptions of length 1, `(batch, CHANNELS, d, h, w)`; entry k lies at voxel `4 k + 1.5` of its axis.

        Args:
            views: `(batch, 2, D, H, W)`: intensities, about 0 to 1, and where there are any: 1, else 0.
        """
        intensities, covered = views.split(1, 1)
        shown = intensities * covered
        smooth = _smoothed(shown)
        edges = sum(_slope_along(smooth, axis).square() for axis in (2, 3, 4)).sqrt()
        halved = F.avg_pool3d(torch.cat([shown, (shown - smooth).abs(), edges, covered], 1), 2)
        return F.normalize(self.layers(halved), dim=1)

    def log_likeness(self, queries: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Log probabilities that each query is the same place as each of the others, `(batch, N, M)`.

        Args:
            queries: Descriptions, `(batch, N, CHANNELS)`.
            places: The same, `(batch, M, CHANNELS)`.
        """
        return (self.log_sharpness.exp() * queries @ places.mT).log_softmax(2)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Template to target, `(batch, 3, 4)`: x, y, z from -1 to 1 between the outer faces of the cubes.

        Args:
            pairs: The template's view and the target's, `(batch, 4, D, H, W)`; see `describe`.
        """
        template, target = (self.describe(views).flatten(2).mT for views in pairs.split(2, 1))
        shown, shown_there = (F.avg_pool3d(pairs[:, k : k + 1], STRIDE).flatten(1) for k in (1, 3))
        step, places = 2 * STRIDE / max(pairs.shape[2:]), place_coordinates(pairs.shape[2:], pairs.device, pairs.dtype)
        likeness = self.log_likeness(template, target).exp()
        trust, best = likeness.max(2)
        likeness = likeness * (torch.cdist(places, places) < 1.5 * step)[best]
        matches = likeness @ places / likeness.sum(2, keepdim=True)
        points = places.expand(len(pairs), -1, -1)
        agreed = agreement(points, matches, trust * shown * shown_there.gather(1, best), step)
        return fit_similarity(points, matches, agreed, MISS * step)


def place_coordinates(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Where the described places of cubes lie, `(N, 3)`: x, y, z from -1 to 1 between the outer faces."""
    axes = [(torch.arange(n // STRIDE, device=device, dtype=dtype) * STRIDE + STRIDE / 2) * 2 / n - 1 for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((x, y, z), -1).reshape(-1, 3)


def agreement(points: torch.Tensor, matches: torch.Tensor, trust: torch.Tensor, tolerance: float) -> torch.Tensor:
    """How far each match agrees with the others, `(batch, N)`, though most may be wrong.

    Two matches agree where they lie as far apart in one volume as in the other. The matches that agree most with one
    another are the first eigenvector of the table of agreements (Leordeanu and Hebert, ICCV 2005).

    Args:
        points, matches: `(batch, N, 3)`.
        trust: In each match, before it is compared with others, `(batch, N)`.
        tolerance: By how much two distances may differ, at most, and a tenth of the distance beyond.
    """
    apart, apart_there = torch.cdist(points, points), torch.cdist(matches, matches)
    table = (1 - ((apart - apart_there) / (tolerance + 0.1 * apart)).square()).clamp(min=0)
    table = table * trust[:, :, None] * trust[:, None]
    agreed = trust
    for _ in range(ROUNDS):
        agreed = F.normalize((table @ agreed[..., None])[..., 0], dim=1)
    return agreed


def fit_similarity(points: torch.Tensor, matches: torch.Tensor, trust: torch.Tensor, miss: float) -> torch.Tensor:
    """Rotation, scale and shift that most matches agree on, `(batch, 3, 4)`; differentiable.

    Args:
        points, matches: `(batch, N, 3)`.
        trust: In each match, `(batch, N)`.
        miss: A match that is missed by so much counts a quarter.
    """
    weights = trust
    for _ in range(REFITS + 1):
        share = (weights / weights.sum(1, keepdim=True).clamp(min=1e-12))[..., None]
        mean, there = (share * points).sum(1, keepdim=True), (share * matches).sum(1, keepdim=True)
        centred, centred_there = points - mean, matches - there
        u, _, vt = torch.linalg.svd((share * centred_there).mT @ centred)
        sign = torch.cat([torch.ones_like(u[:, 0, :2]), torch.det(u @ vt).sign()[:, None]], 1)  # never a reflection
        spread, spread_there = ((share * one.square()).sum((1, 2)) for one in (centred, centred_there))
        scale = (spread_there / spread.clamp(min=1e-12)).sqrt().clamp(*SIZES)
        linear = scale[:, None, None] * (u * sign[:, None]) @ vt
        shift = there.mT - linear @ mean.mT
        missed = (matches - points @ linear.mT - shift.mT).norm(dim=2)
        weights = trust / (1 + (missed / miss).square()).square()
    return torch.cat([linear, shift], 2)


def _smoothed(x: torch.Tensor) -> torch.Tensor:
    """Weights 1, 2, 1 of neighbours along each axis; the ends are repeated."""
    for axis in (2, 3, 4):
        before, after = _neighbours(x, axis)
        x = (before + after) / 4 + x / 2
    return x


def _slope_along(x: torch.Tensor, axis: int) -> torch.Tensor:
    before, after = _neighbours(x, axis)
    return (after - before) / 2


def _neighbours(x: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    last = x.shape[axis] - 1
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, last)], axis)
    return before, torch.cat([x.narrow(axis, 1, last), x.narrow(axis, last, 1)], axis)
