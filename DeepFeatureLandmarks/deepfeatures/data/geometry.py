"""The geometry of a voxel grid: whether it is rectangular, where two grids differ, whether its size is likely."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from deepfeatures.data.notes import Note, NoteKind

LARGEST_COSINE = 0.01  # between two axes of a grid that is called rectangular: less is rounding, more is shear
# Of the second longest edge, mm: bores of scanners are narrower than 1 m; and of the longest: no organ is so small.
LARGEST_LIKELY_MM, SMALLEST_LIKELY_MM = 1000.0, 0.5


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


def size_note(edges_mm: np.ndarray) -> tuple[Note, ...]:
    """A note where edges of this length along x, y, z, in mm, suggest that the unit is wrong; else none."""
    if np.sort(edges_mm)[1] <= LARGEST_LIKELY_MM and edges_mm.max() >= SMALLEST_LIKELY_MM:
        return ()
    text = f"the volume measures {edges_text(edges_mm)} mm, which is unlikely: check whether its unit is millimetres"
    return (Note(NoteKind.UNIT, text),)


def edges_text(edges_mm: np.ndarray) -> str:
    """Lengths for people: `"180 × 220 × 160"`."""
    return " × ".join(f"{edge:.3g}" if edge < 1000 else f"{edge:.0f}" for edge in edges_mm)
