"""Spatial normalisation: scans resampled to the grid of a template by what the matcher found, with their landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from deepfeatures.data.intensity import HALF_RANGE, scale_percentiles
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.matching.matcher import Matcher
from deepfeatures.matching.preprocessing import on_common_grid
from deepfeatures.transforms.samplers import sample, voxel_coordinates

CLOSE_MM = 1e-3
ROUNDS = 50  # at most, to find where a point of a scan lies in the template
ANCHORS = 6  # along each axis of the template, to which an affine transform is fitted

Mapping = Callable[[np.ndarray], np.ndarray]
"""Template points to points of a scan, LPS mm, both `(N, 3)`."""


@dataclass(frozen=True, eq=False)
class TemplateFrame:
    """A template, and the grid to which scans are resampled.

    Args:
        template: Where the landmarks lie.
        landmarks: The template's, all with a position.
        spacing_mm: Edge of the grid's cubic voxels.
    """

    template: Volume
    landmarks: LandmarkSet
    spacing_mm: float

    @classmethod
    def of(cls, template: Volume, landmarks: LandmarkSet, spacing_mm: float) -> TemplateFrame:
        """The same, without the landmarks that have no position."""
        kept = tuple(landmark for landmark in landmarks if landmark.is_defined)
        return cls(template, replace(landmarks, landmarks=kept), spacing_mm)

    @cached_property
    def grid(self) -> Volume:
        """The template on the grid."""
        return on_common_grid(self.template, self.spacing_mm)

    @property
    def points(self) -> np.ndarray:
        """The template's landmarks, `(x, y, z)` in voxels of the grid, `(L, 3)`."""
        return self.grid.to_index(self.landmarks.positions)


@dataclass(frozen=True, eq=False)
class NormalisedScan:
    """A scan as it looks in the template's frame.

    Args:
        name: Of the scan.
        voxels: Intensities from -1 to 1 on the frame's grid, `(depth, height, width)`; beyond the scan its border is
            repeated.
        inside: Which of the voxels the scan shows.
        mapping: From the template to the scan.
    """

    name: str
    voxels: torch.Tensor
    inside: torch.Tensor
    mapping: Mapping


def normalise(frame: TemplateFrame, scan: Volume, matcher: Matcher) -> NormalisedScan | None:
    """The scan in the template's frame; `None` where the matcher did not find the template's anatomy in it.

    Args:
        frame: Of the template.
        scan: Any volume of the same anatomy.
        matcher: With a guided search, which maps every point of the template.
    """
    result = matcher.match(frame.template, frame.landmarks, scan)
    if result.mapping is None or all(landmark.position is None for landmark in result.landmarks):
        return None
    grid = frame.grid
    shape = tuple(grid.voxels.shape)
    centres = grid.to_world(voxel_coordinates(shape).reshape(-1, 3).numpy())
    places = centres + result.mapping.displacements_on(grid).reshape(-1, 3)
    source = on_common_grid(scan, frame.spacing_mm)
    intensities = scale_percentiles(source.voxels)[None] / HALF_RANGE
    voxels = sample(intensities, torch.from_numpy(source.to_index(places)).float())[:, 0]
    inside = torch.from_numpy(scan.contains(places))
    return NormalisedScan(scan.name, voxels.reshape(shape), inside.reshape(shape), result.mapping)


def points_in_frame(frame: TemplateFrame, mapping: Mapping, landmarks: LandmarkSet) -> np.ndarray:
    """Where the landmarks of a scan lie in the template's frame, in the order of the template's.

    Args:
        frame: Of the template.
        mapping: From the template to the scan.
        landmarks: The scan's, known by their names.

    Returns:
        `(x, y, z)` in voxels of the grid, `(L, 3)`; NaN where the scan has no such landmark, or the mapping does not
        reach it.
    """
    there = {landmark.name: landmark.position for landmark in landmarks if landmark.is_defined}
    wanted = np.array([there.get(landmark.name, (np.nan,) * 3) for landmark in frame.landmarks], float)
    steps = np.stack(np.meshgrid(*(np.linspace(0, n - 1, ANCHORS) for n in frame.grid.size)), -1)
    return frame.grid.to_index(inverse(mapping, wanted, frame.grid.to_world(steps.reshape(-1, 3))))


def inverse(mapping: Mapping, points: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Template points that a smooth mapping carries to given points, LPS mm; NaN where none is found.

    The affine transform that fits the mapping best gives a first guess, and tells in each round how far to go.

    Args:
        mapping: From the template to a scan.
        points: Of the scan, `(N, 3)`; NaN stays NaN.
        anchors: Template points all over the template, `(A, 3)`.
    """
    columns = np.c_[anchors, np.ones(len(anchors))]
    affine = np.linalg.lstsq(columns, mapping(anchors), rcond=None)[0]
    back = np.linalg.inv(affine[:3])
    found = (points - affine[3]) @ back
    for _ in range(ROUNDS):
        off = points - mapping(found)
        if not (np.linalg.norm(off, axis=1) > CLOSE_MM).any():
            break
        found = found + off @ back
    return np.where(np.linalg.norm(off, axis=1, keepdims=True) <= CLOSE_MM, found, np.nan)
