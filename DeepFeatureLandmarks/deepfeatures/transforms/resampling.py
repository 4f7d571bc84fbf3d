"""Volumes seen through a transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from deepfeatures.data.volume import Volume
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.transform import Transform

Interpolation = Literal["linear", "nearest", "label"]

STEPS = (8, 4, 2)  # voxels between the places where a transform is evaluated, the coarsest that is exact enough
TOLERANCE_MM = 0.01  # by which what is interpolated between them may differ
CHECKED = 2000  # random places at which that is measured
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
        unit = (2 * (index + 0.5) / size - 1)[None]
        seen = _labels(source, unit) if interpolation == "label" else _sampled(source, unit, interpolation)
        found.append(torch.where(is_inside, seen, 0))
        covered.append(is_inside)
    return Resampled(like.with_voxels(torch.cat(found)), torch.cat(covered))


def _sampled(source: torch.Tensor, unit: torch.Tensor, interpolation: str) -> torch.Tensor:
    mode = "nearest" if interpolation == "nearest" else "bilinear"
    return F.grid_sample(source, unit, mode=mode, padding_mode="border", align_corners=False)[0, 0]


def _labels(source: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """The label of the largest share around each place."""
    best = winner = None
    for label in source.unique():
        share = _sampled((source == label).float(), unit, "linear")
        if best is None or winner is None:
            best, winner = share, torch.full_like(share, float(label))
            continue
        winner = torch.where(share > best, label, winner)
        best = torch.maximum(share, best)
    assert winner is not None
    return winner


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the voxels of one volume lie in another, in its indices.

    Args:
        nodes: At every `step`-th voxel, `(3, D, H, W)`, float32.
        step: Voxels.
        shape: Of the whole grid, z, y, x.
    """

    nodes: torch.Tensor
    step: int
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, mapping: Transform, like: Volume, volume: Volume) -> _Places:
        for step in STEPS:
            found = cls._at_every(step, mapping, like, volume)
            if found._error_mm(mapping, like, volume) <= TOLERANCE_MM:
                return found
        return cls._at_every(1, mapping, like, volume)

    @classmethod
    def _at_every(cls, step: int, mapping: Transform, like: Volume, volume: Volume) -> _Places:
        shape = tuple(like.voxels.shape)
        size = tuple(-(-(n - 1) // step) + 1 for n in shape[::-1])
        nodes = Grid(
            np.asarray(like.origin), np.asarray(like.spacing) * step, np.asarray(like.direction), size
        ).points()
        index = torch.from_numpy(volume.to_index(mapping(nodes))).float()
        return cls(index.T.reshape(3, *size[::-1]), step, shape)

    def of_slices(self, first: int, last: int) -> torch.Tensor:
        """Indices i, j, k of the voxels of slices, `(slices, H, W, 3)`."""
        low, high = first // self.step, -(-(last - 1) // self.step)
        nodes = self.nodes[None, :, low : high + 1]
        sizes = [(n - 1) * self.step + 1 for n in nodes.shape[2:]]
        fine = F.interpolate(nodes, sizes, mode="trilinear", align_corners=True)[0] if self.step > 1 else nodes[0]
        start = first - low * self.step
        return fine[:, start : start + last - first, : self.shape[1], : self.shape[2]].movedim(0, -1)

    def _error_mm(self, mapping: Transform, like: Volume, volume: Volume) -> float:
        """The largest difference at random voxels from where the mapping puts them."""
        k, j, i = (torch.from_numpy(np.random.default_rng(0).integers(0, n, CHECKED)) for n in self.shape)
        true = mapping(like.to_world(torch.stack([i, j, k], 1).double().numpy()))
        unit = (
            torch.stack([i, j, k], 1) / (self.step * (torch.tensor(self.nodes.shape[:0:-1]) - 1).clamp(min=1)) * 2 - 1
        )
        index = F.grid_sample(self.nodes[None], unit[None, None, None].float(), align_corners=True)[0, :, 0, 0].T
        return float(np.linalg.norm(volume.to_world(index.double().numpy()) - true, axis=1).max())
