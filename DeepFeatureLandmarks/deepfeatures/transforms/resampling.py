"""Volumes seen through a transform."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from deepfeatures.data.volume import Volume
from deepfeatures.transforms.grid import Grid, voxels_of_cells
from deepfeatures.transforms.samplers import centre_units, face_units, sample_by_centres, sample_by_faces
from deepfeatures.transforms.transform import Transform

Interpolation = Literal["linear", "nearest", "label"]

STEPS = (4, 2)  # voxels between the places where a transform is evaluated, where what is linear between them is exact
TOLERANCE_MM = 0.02  # by which that may differ in the middle between them
SAME_SHARE = 1e-6  # of two labels around a place
MOST_BENT = 0.2  # of the cells between them in which it is not: the next step is tried
SLICES = 16  # resampled at a time


@dataclass(frozen=True, eq=False)
class Resampled:
    """A volume on another grid.

    Args:
        volume: On the grid; 0 where nothing is known.
        covered: Which voxels lie in the volume that was resampled, bool, `(D, H, W)`.
    """

    volume: Volume
    covered: torch.Tensor

    @property
    def covered_share(self) -> float:
        """Of the grid's voxels, 0 to 1."""
        return float(self.covered.float().mean())


def resample(volume: Volume, mapping: Transform, like: Volume, interpolation: Interpolation = "linear") -> Resampled:
    """A volume on the grid of another one.

    Args:
        volume: What is resampled.
        mapping: Points of `like` to points of `volume`: the transform itself to see a target on the template's grid,
            its inverse to bring something of the template onto the target's grid.
        like: Its grid counts.
        interpolation: `"linear"` for intensities; `"nearest"` keeps every value as it is; `"label"` gives each voxel
            the label of which linear interpolation holds the most, which makes smoother borders.
    """
    places = _Places.of(mapping, like, volume)
    source = volume.voxels[None, None].float()
    found, covered = [], []
    for first in range(0, like.voxels.shape[0], SLICES):
        index = places.of_slices(first, min(first + SLICES, like.voxels.shape[0]))
        size = torch.tensor(volume.size)
        is_inside = ((index >= -0.5) & (index < size - 0.5)).all(-1)
        unit = face_units(index, source.shape)[None]
        seen = _labels(source, index) if interpolation == "label" else _sampled(source, unit, interpolation)
        found.append(torch.where(is_inside, seen, 0))
        covered.append(is_inside)
    return Resampled(like.with_voxels(torch.cat(found)), torch.cat(covered))


def _sampled(source: torch.Tensor, unit: torch.Tensor, interpolation: str) -> torch.Tensor:
    return sample_by_faces(source, unit, interpolation="nearest" if interpolation == "nearest" else "bilinear")[0, 0]


def _labels(source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The label of the largest share around each place, of equal ones the smallest; indices `(..., 3)`."""
    low = index.floor()
    beyond = index - low
    corners = [index.new_tensor(corner) for corner in itertools.product((0.0, 1.0), repeat=3)]
    labels = torch.stack(
        [_sampled(source, face_units(low + corner, source.shape)[None], "nearest") for corner in corners]
    )
    shares = torch.stack([(1 - (beyond - corner).abs()).prod(-1) for corner in corners])
    totals = torch.stack([((labels == label) * shares).sum(0) for label in labels])
    return labels.where(totals > totals.amax(0) - SAME_SHARE, torch.inf).amin(0)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the voxels of one volume lie in another, in its indices.

    Args:
        mapping: Points of `like` to points of `volume`.
        like, volume: See `resample`.
        nodes: Indices at every `step`-th voxel, `(3, D, H, W)`, float32.
        step: Voxels.
        is_bent: Cells between eight nodes in which the mapping is not linear enough, bool, `(D - 1, H - 1, W - 1)`.
    """

    mapping: Transform
    like: Volume
    volume: Volume
    nodes: torch.Tensor
    step: int
    is_bent: torch.Tensor

    @classmethod
    def of(cls, mapping: Transform, like: Volume, volume: Volume) -> _Places:
        found = None
        for step in STEPS:
            found = cls._at_every(step, mapping, like, volume, found)
            if float(found.is_bent.float().sum()) <= MOST_BENT * found.is_bent.numel():
                break
        return found

    @classmethod
    def _at_every(cls, step: int, mapping: Transform, like: Volume, volume: Volume, coarser: _Places | None) -> _Places:
        grid = Grid.of(like).every(step)
        points = grid.points()
        moved = mapping(points) if coarser is None else mapping.near(points, coarser._between(grid))
        nodes = torch.from_numpy(volume.to_index(moved)).T.reshape(3, *grid.size[::-1])
        cells = grid.middles()
        middles = np.empty((0, 3))
        if min(cells.size):
            middles = volume.to_world(F.avg_pool3d(nodes, 2, 1).reshape(3, -1).T.numpy())
        error_mm = np.linalg.norm(mapping.near(cells.points(), middles) - middles, axis=1)
        is_bent = torch.from_numpy(error_mm > TOLERANCE_MM).reshape(cells.size[::-1])
        return cls(mapping, like, volume, nodes.float(), step, is_bent)

    def _between(self, grid: Grid) -> np.ndarray:
        """About where the nodes of a finer grid with the same first voxel go, LPS mm, `(N, 3)`."""
        index = torch.from_numpy(Grid.of(self.like).to_index(grid.points()) / self.step).float()
        units = centre_units(index, self.nodes.shape)[None, None, None]
        return self.volume.to_world(sample_by_centres(self.nodes[None], units)[0, :, 0, 0].T.double().numpy())

    def of_slices(self, first: int, last: int) -> torch.Tensor:
        """Indices i, j, k of the voxels of slices, `(slices, H, W, 3)`."""
        _, height, width = self.like.voxels.shape
        low, high = first // self.step, -(-(last - 1) // self.step)
        nodes = self.nodes[None, :, low : high + 1]
        fine = F.interpolate(
            nodes, [(n - 1) * self.step + 1 for n in nodes.shape[2:]], mode="trilinear", align_corners=True
        )
        begin = first - low * self.step
        found = fine[0, :, begin : begin + last - first, :height, :width].movedim(0, -1)
        bent = self._bent_voxels(first, last)
        if len(bent):
            z, y, x = bent.T
            guess = self.volume.to_world(found[z, y, x].double().numpy())
            points = self.like.to_world((bent.flip(1) + torch.tensor([0, 0, first])).double().numpy())
            found[z, y, x] = torch.from_numpy(self.volume.to_index(self.mapping.near(points, guess))).float()
        return found

    def _bent_voxels(self, first: int, last: int) -> torch.Tensor:
        """Those within bent cells of slices, or all of a single slice, `(N, 3)`: z, y, x from the first of them."""
        _, height, width = self.like.voxels.shape
        if not self.is_bent.numel():
            return torch.ones(last - first, height, width).nonzero()
        cells = voxels_of_cells(self.is_bent[first // self.step : -(-(last - 1) // self.step)], self.step)
        begin = first % self.step
        return cells[begin : begin + last - first, :height, :width].nonzero()
