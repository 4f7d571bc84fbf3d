"""The geometry of a voxel grid: whether it is rectangular, where two grids differ, whether its size is likely."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from deepfeatures.data.notes import Note, NoteKind

LARGEST_COSINE = 0.01  # between two axes of a grid that is called rectangular: less is rounding, more is shear
# Of the second longest edge, mm: bores of scanners are narrower than 1 m; and of the longest: no organ is so small.
LARGEST_LIKELY_MM, SMALLEST_LIKELY_MM = 1000.0, 0.5
LONGEST_LIKELY_MM, FLATTEST_LIKELY = 5000.0, 1e-4  # no scan is longer; and none is so thin, as a part of its length
FARTHEST_LIKELY_MM = 1e6  # of a first voxel from 0, 0, 0: a kilometre


def is_rectangular(affine: np.ndarray) -> bool:
    """Whether the axes of a `(3, 4)` matrix are finite, not zero, and at right angles but for rounding."""
    lengths = np.linalg.norm(affine[:, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        return False
    axes = affine[:, :3] / lengths
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= LARGEST_COSINE)


def largest_distance_mm(first: np.ndarray, second: np.ndarray, size: Sequence[int]) -> float:
    """How far apart two `(3, 4)` matrices place one voxel at most; `size` are voxels along x, y, z."""
    corners = np.array(list(itertools.product(*((0, length - 1) for length in size))), float)
    difference = first - second
    return float(np.linalg.norm(corners @ difference[:, :3].T + difference[:, 3], axis=1).max())


def size_mm(size: Sequence[int], spacing: np.ndarray) -> np.ndarray:
    """Edges of the whole grid along x, y, z in mm, shape `(3,)`."""
    return np.asarray(size, float) * spacing


def mean_edge_mm(size: Sequence[int], spacing: np.ndarray) -> float:
    """Edge of a cube of the same volume as the whole grid, mm: one number for its size."""
    return float(np.prod(size_mm(size, spacing))) ** (1 / 3)


def likelihood_notes(edges_mm: np.ndarray, origin_mm: np.ndarray) -> tuple[Note, ...]:
    """Notes where the size or the position of a grid suggests that a number or a unit is wrong."""
    return (*size_note(edges_mm), *position_note(origin_mm))


def size_note(edges_mm: np.ndarray) -> tuple[Note, ...]:
    """A note where edges of this length along x, y, z, in mm, suggest that the unit is wrong; else none."""
    thinnest, middle, longest = np.sort(edges_mm)
    is_likely = middle <= LARGEST_LIKELY_MM and SMALLEST_LIKELY_MM <= longest <= LONGEST_LIKELY_MM
    if is_likely and thinnest >= FLATTEST_LIKELY * longest:
        return ()
    text = f"the volume measures {edges_text(edges_mm)} mm, which is unlikely: check whether its unit is millimetres"
    return (Note(NoteKind.UNIT, text),)


def position_note(origin_mm: np.ndarray) -> tuple[Note, ...]:
    """A note where the position of the first voxel is so far away that it, or its unit, must be wrong; else none."""
    farthest = float(np.abs(origin_mm).max())
    if farthest <= FARTHEST_LIKELY_MM:
        return ()
    text = f"the volume lies {farthest:.3g} mm away from 0, 0, 0, which is unlikely: check its position"
    return (Note(NoteKind.UNIT, text),)


def edges_text(edges_mm: np.ndarray) -> str:
    """Lengths for people: `"180 × 220 × 160"`."""
    return " × ".join(f"{edge:.0f}" if 1000 <= edge < 1e6 else f"{edge:.3g}" for edge in edges_mm)
