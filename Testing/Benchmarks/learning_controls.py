"""Controls of `learning.py`: what else than anatomy could make places better.

The crops of a set are cut around what is annotated, so that the distances to a crop's faces tell something of where the
landmarks lie. A corrector that sees nothing else shows how much; landmarks far from every face show what is gained
where no face can be seen. Features that are exchanged between the people who teach must teach nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from cases import Case

from deepfeatures.data.volume import Volume

DEEP_VOXELS = 8.0
MOST_CUT, MARGIN = 5, 2  # voxels
PENALTY = 10.0  # in people: so many count against each slope


def face_distances(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Voxels from LPS mm points `(N, 3)` to the six faces of the volume, `(N, 6)`."""
    indices = volume.to_index(points)
    return np.concatenate([indices + 0.5, np.array(volume.size) - 0.5 - indices], axis=1)


def by_faces(seen: np.ndarray, moved: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How far to move landmarks by their distances to the faces alone: ridge regression for each landmark.

    Args:
        seen: Of those who teach, `(people, L, 6)`.
        moved: How far they were moved, `(people, L, 3)`; NaN where they were not placed.
        wanted: Of the scans to correct, `(scans, L, 6)`.

    Returns:
        `(scans, L, 3)`, in the units of `moved`.
    """
    found = np.zeros((*wanted.shape[:2], 3))
    for landmark in range(wanted.shape[1]):
        known = np.isfinite(moved[:, landmark, 0]) & np.isfinite(seen[:, landmark, 0])
        if known.sum() < 3:
            continue
        faces, residuals = seen[known, landmark], moved[known, landmark]
        middle, width, offset = faces.mean(0), faces.std(0) + 1e-6, residuals.mean(0)
        x = (faces - middle) / width
        slopes = np.linalg.solve(x.T @ x + PENALTY * np.eye(6), x.T @ (residuals - offset))
        found[:, landmark] = offset + (wanted[:, landmark] - middle) / width @ slopes
    return found


def trimmed(case: Case, random: np.random.Generator) -> Case:
    """The scan cut anew: up to five voxels less at each face, all landmarks still inside."""
    volume = case.volume
    indices = volume.to_index(case.landmarks.positions)
    first = np.minimum(random.integers(0, MOST_CUT + 1, 3), np.maximum(indices.min(0).astype(int) - MARGIN, 0))
    room = np.array(volume.size) - 1 - np.ceil(indices.max(0)).astype(int) - MARGIN
    last = np.array(volume.size) - np.minimum(random.integers(0, MOST_CUT + 1, 3), np.maximum(room, 0))
    x, y, z = (slice(a, b) for a, b in zip(first, last, strict=True))
    origin = volume.to_world(first[None].astype(float))[0]
    return replace(case, volume=replace(volume.with_voxels(volume.voxels[z, y, x].contiguous()), origin=origin))
