"""Scans of a body: its solids painted on a grid, in a contrast, with texture, bias field and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.phantom.body import Body, turned
from deepfeatures.phantom.deformation import Warp
from deepfeatures.phantom.shapes import Waves
from deepfeatures.phantom.tissues import signals

Shape = tuple[int, int, int]
SHIFTED = 0.4  # of the scans of a body that repeats are shifted along it


@dataclass(frozen=True, eq=False)
class View:
    """Where a scan lies: a grid, and the way from its voxels into the body.

    Args:
        volume: An empty grid.
        turn: Rotation from the body to the scanner, shape `(3, 3)`.
        shift: Then this is added, mm, shape `(3,)`.
        warp: Takes places of the turned-back scan into the body, so that people differ smoothly everywhere.
    """

    volume: Volume
    turn: np.ndarray
    shift: np.ndarray
    warp: Warp

    @property
    def shape(self) -> Shape:
        """Depth, height and width of the grid in voxels."""
        width, height, depth = self.volume.size
        return depth, height, width

    @property
    def index_to_unwarped(self) -> np.ndarray:
        """Homogeneous `(4, 4)` matrix from `(x, y, z)` voxel index to mm before the warp."""
        back = np.eye(4)
        back[:3, :3], back[:3, 3] = self.turn.T, -self.turn.T @ self.shift
        return back @ self.volume.index_to_world

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Where places of the body, mm, shape `(N, 3)`, lie in the scan, LPS mm, exactly."""
        return self.warp.inverse(torch.from_numpy(points.T)).numpy().T @ self.turn.T + self.shift


def view_of(body: Body, warp: Warp, spacing_mm: np.ndarray, random: np.random.Generator) -> View:
    """A field of view a little turned and moved; bodies that repeat are sometimes shifted by half to one and a half."""
    middle, extent = (body.lower + body.upper) / 2, body.upper - body.lower
    turn = turned(*random.uniform(-5, 5, 3))
    moved = random.uniform(-0.02, 0.02, 3) * extent
    if random.random() < SHIFTED:
        moved = moved + random.uniform(0.5, 1.5) * body.repeat
    centre = random.uniform(-40, 40, 3)
    size = np.maximum(np.round(extent / spacing_mm).astype(int), 1)
    grid = Volume(torch.zeros(tuple(size[::-1].tolist())), centre - spacing_mm * (size - 1) / 2, spacing_mm)
    return View(grid, turn, centre - turn @ (middle + moved), warp)


def scan(body: Body, view: View, contrast: str, random: np.random.Generator) -> tuple[Volume, LandmarkSet]:
    """The volume that a scan of the body gives, and the landmarks that lie in it."""
    level = signals(contrast, random)
    seeds = random.integers(2**31, size=4).tolist()
    picture = _painted(body, view, level)
    grid, shape = torch.from_numpy(view.index_to_unwarped), view.shape
    extent = float(np.max(body.upper - body.lower))
    mottle = 0.01 if contrast == "ct" else 0.04
    picture *= 1 + mottle * Waves(extent / 12, seeds[0]).on_grid(grid, shape)
    picture *= 1 + 0.6 * mottle * Waves(extent / 30, seeds[1]).on_grid(grid, shape)
    noise = torch.Generator().manual_seed(seeds[3])
    if contrast == "ct":
        voxels = 1000 * (picture + 0.02 * torch.randn(picture.shape, generator=noise) - 1)
    else:
        bias = torch.exp(0.15 * Waves(1.2 * extent, seeds[2], count=5).on_grid(grid, shape))
        voxels = float(random.uniform(200, 1500)) * with_rician_noise(picture * bias, 0.025, noise)
    modality = "CT" if contrast == "ct" else "MR"
    volume = Volume(voxels, view.volume.origin, view.volume.spacing, view.volume.direction, modality=modality)
    places = view.to_world(np.array(list(body.landmarks.values())))
    seen = view.volume.contains(places)
    marks = zip(body.landmarks, places.tolist(), seen.tolist(), strict=True)
    return volume, LandmarkSet(tuple(Landmark(name, tuple(place)) for name, place, inside in marks if inside))


def with_rician_noise(intensity: torch.Tensor, sigma: float, random: torch.Generator) -> torch.Tensor:
    """The magnitude of a complex signal with Gaussian noise in both of its parts."""
    real, imaginary = sigma * torch.randn(2, *intensity.shape, generator=random)
    return ((intensity + real).square() + imaginary.square()).sqrt()


def _painted(body: Body, view: View, level: dict[str, float]) -> torch.Tensor:
    """The signal at each voxel, float32 of shape `(depth, height, width)`; each solid only within its own box."""
    matrix = view.index_to_unwarped
    shape = view.shape
    places = _grid(torch.from_numpy(matrix), shape) + view.warp.on_grid(torch.from_numpy(matrix), shape)
    blur = float(view.volume.spacing.mean())
    to_index = np.linalg.inv(matrix)
    picture = torch.full(shape, level["air"])
    for solid in body.solids:
        lower, upper = solid.bounds
        box = _box(to_index, lower - view.warp.reach_mm - blur, upper + view.warp.reach_mm + blur, shape)
        part = picture[box]
        if part.numel():
            distance = solid.distance(places[(slice(None), *box)].flatten(1)).reshape(part.shape)
            cover = (0.5 - distance / blur).clamp_(0, 1)
            part.lerp_(torch.full_like(part, level[solid.tissue]), cover)
    return picture


def _grid(matrix: torch.Tensor, shape: Shape) -> torch.Tensor:
    """mm of every voxel, float32 of shape `(3, depth, height, width)`."""
    z, y, x = (torch.arange(count, dtype=torch.float64) for count in shape)
    columns, rows = matrix[:3, 0, None] * x + matrix[:3, 3:], matrix[:3, 1, None] * y
    slices = matrix[:3, 2, None] * z
    across = (slices[:, :, None] + rows[:, None]).float()
    return across[..., None] + columns.float()[:, None, None]


def _box(to_index: np.ndarray, lower: np.ndarray, upper: np.ndarray, shape: Shape) -> tuple[slice, slice, slice]:
    """Voxels, along z, y and x, that may lie within a box of the body."""
    middle, reach = (lower + upper) / 2, (upper - lower) / 2
    centre = to_index[:3, :3] @ middle + to_index[:3, 3]
    spread = np.abs(to_index[:3, :3]) @ reach
    first = np.clip(np.floor(centre - spread), 0, shape[::-1]).astype(int)[::-1]
    last = np.clip(np.ceil(centre + spread) + 1, 0, shape[::-1]).astype(int)[::-1]
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return z, y, x
