"""A stream of pairs of synthetic volumes with known correspondence, made on the training device."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import torch

from deepfeatures.training.contrasts import ContrastSettings, contrast_pair, render, simulate_artefacts
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.random_deformations import DeformationSettings, random_geometries, sample
from deepfeatures.training.shapes import BACKGROUND, label_maps


@dataclass(frozen=True)
class SyntheticSettings:
    """The stream of pairs. Lengths in voxels.

    Args:
        batch: Pairs a step.
        size: Edge of a view; a multiple of 8.
        canonical_size: Edge of the label map that both views are cut from.
        pool: Label maps kept at hand; each is used with several contrasts, warps and crops before it is replaced.
        new_maps: Label maps replaced a step; `pool` is a multiple of it.
        objects: Shapes painted a label map.
        points: Corresponding points a pair.
        cluster: Points that lie close together, so that each has hard neighbours; `points` is a multiple of it.
        cluster_radius: Standard deviation of the points of a cluster around its centre.
    """

    batch: int = 16
    size: int = 80
    canonical_size: int = 128
    pool: int = 48
    new_maps: int = 2
    objects: int = 32
    points: int = 512
    cluster: int = 8
    cluster_radius: float = 4.0
    warp: DeformationSettings = field(default_factory=DeformationSettings)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)


@dataclass(frozen=True)
class Pairs:
    """A batch of two views with known correspondence.

    Args:
        first, second: what the network sees, shape `(batch, 1, size, size, size)`.
        first_points, second_points: voxel indices `(z, y, x)` of the same places, shape `(batch, points, 3)`; those of
            the second view are whole numbers.
        valid: whether a point lies inside of both views, shape `(batch, points)`.
    """

    first: torch.Tensor
    second: torch.Tensor
    first_points: torch.Tensor
    second_points: torch.Tensor
    valid: torch.Tensor


class PairStream:
    """Endless pairs; batch number `step` of a seed is always the same one, so that training can go on after a stop."""

    def __init__(self, settings: SyntheticSettings, seed: int, device: torch.device | str):
        self.settings, self.seed, self.device = settings, seed, torch.device(device)
        self._chunks: OrderedDict[int, torch.Tensor] = OrderedDict()

    def _maps(self, step: int) -> torch.Tensor:
        """The pool of label maps at a step: those of the last `pool / new_maps` steps."""
        window = range(step, step + self.settings.pool // self.settings.new_maps)
        for chunk in window:
            if chunk not in self._chunks:
                rng = Random(self.device, self.seed, 1, chunk)
                self._chunks[chunk] = label_maps(
                    rng, self.settings.new_maps, self.settings.canonical_size, self.settings.objects
                )
        for chunk in [c for c in self._chunks if c not in window]:
            del self._chunks[chunk]
        return torch.cat([self._chunks[chunk] for chunk in window])

    @torch.no_grad()
    def batch(self, step: int) -> Pairs:
        """Pairs number `step`."""
        s = self.settings
        pool = self._maps(step)
        rng = Random(self.device, self.seed, 2, step)
        chosen = rng.permutation(len(pool))[: s.batch]
        labels = pool[chosen]
        return _views(rng, labels, s)


def _views(rng: Random, labels: torch.Tensor, s: SyntheticSettings) -> Pairs:
    batch = len(labels)
    wavelength = rng.number(2.0, 10.0)
    texture = smooth_noise(rng, batch, 1, s.canonical_size, wavelength)[:, 0]
    body = (labels != BACKGROUND)[:, None].float()
    geometries = random_geometries(rng, batch, s.size, s.canonical_size, s.warp)
    contrasts = contrast_pair(rng, batch, s.contrast)
    views, bodies, grids = [], [], []
    for geometry, contrast in zip(geometries, contrasts, strict=True):
        grid = geometry.canonical_grid(s.size)
        both = sample(torch.cat([render(labels, texture, contrast), body], 1), grid)
        bodies.append(both[:, 1:])
        grids.append(grid)
        views.append(simulate_artefacts(rng, both[:, :1], both[:, 1:], s.contrast))
    points, valid = _points(rng, bodies[1], s)
    places = grids[1].flatten(2).gather(2, _flat(points, s.size)[:, None].expand(-1, 3, -1)).mT
    first_points = geometries[0].from_canonical(places) + (s.size - 1) / 2
    inside = ((first_points >= 1) & (first_points <= s.size - 2)).all(-1)
    return Pairs(views[0], views[1], first_points, points.float(), valid & inside)


def _flat(points: torch.Tensor, size: int) -> torch.Tensor:
    return (points[..., 0] * size + points[..., 1]) * size + points[..., 2]


def _points(rng: Random, body: torch.Tensor, s: SyntheticSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole-number points in clusters, most of them within the body, and whether they lie inside of the view."""
    batch, clusters = len(body), s.points // s.cluster
    candidates = rng.uniform(2, s.size - 3, batch, 3 * clusters, 3)
    inside = body.flatten(1).gather(1, _flat(candidates.round().long(), s.size))
    order = (inside + 0.3 * rng.uniform(0, 1, *inside.shape)).topk(clusters, dim=1).indices
    centres = candidates.gather(1, order[..., None].expand(-1, -1, 3))
    spread = rng.normal(batch, clusters, s.cluster, 3) * s.cluster_radius
    spread[:, :, 0] = 0
    points = (centres[:, :, None] + spread).flatten(1, 2).round()
    valid = ((points >= 1) & (points <= s.size - 2)).all(-1)
    points = points.clamp(0, s.size - 1).long()
    # In an empty background nothing tells places apart; a few points there teach that, most would only be noise.
    near = body.flatten(1).gather(1, _flat(points, s.size)) > 0.5
    return points, valid & (near | rng.chance(0.05, *valid.shape))


def draw_picture(pairs: Pairs, path: Path, rows: int = 8) -> None:
    """Save a picture of a batch: middle slices of both views with a few corresponding points in the same colours."""
    import matplotlib  # only the picture needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = min(rows, len(pairs.first))
    figure, axes = plt.subplots(2, rows, figsize=(2 * rows, 4.2), squeeze=False)
    for row in range(rows):
        kept = torch.nonzero(pairs.valid[row])[:, 0][:1]
        middle = pairs.first.shape[-1] // 2
        point_pair = (pairs.first_points[row], pairs.second_points[row])
        for axis, view, points in zip(axes[:, row], (pairs.first, pairs.second), point_pair, strict=True):
            slice_index = int(points[kept[0], 0].round()) if len(kept) else middle
            axis.imshow(view[row, 0, slice_index].float().cpu(), cmap="gray", vmin=-0.2, vmax=1.2)
            axis.axis("off")
            for point in points[kept].cpu():
                axis.plot(float(point[2]), float(point[1]), "+", color="tab:red", markersize=10)
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=80)
    plt.close(figure)
