"""Lattices that meet given points: a thin plate spline has a kink at each landmark, which sampling rounds off."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from deepfeatures.transforms.bspline import spline_weights
from deepfeatures.transforms.thin_plate_spline import ThinPlateSplineTransform
from deepfeatures.transforms.transform import CompositeTransform, Transform

AMPLIFIED = 2.0  # change of coefficients beside what was missed; a lone anchor needs about 1
LOOSER = (1e-2, 1e-1, 3e-1)  # shares of the largest singular value below which anchors are not told apart


def anchors_of(transform: Transform) -> np.ndarray:
    """Template points, LPS mm `(N, 3)`, at which a sampled transform should be exact: the landmarks of a spline."""
    spline = _spline_of(transform)
    return np.empty((0, 3)) if spline is None else spline.control_points


def folds_beside_anchors(transform: Transform) -> np.ndarray:
    """Which of the anchors the transform folds beside, bool `(N,)`: too little space for a lattice to find it."""
    spline = _spline_of(transform)
    return np.zeros(0, bool) if spline is None else spline.folds_beside_control_points


def _spline_of(transform: Transform) -> ThinPlateSplineTransform | None:
    first = transform.parts[0] if isinstance(transform, CompositeTransform) else transform
    return first if isinstance(first, ThinPlateSplineTransform) else None


def places_around(anchors: np.ndarray, spacing: float) -> np.ndarray:
    """A lattice of a third of the spacing around each anchor, `(343 N, 3)`: where sampling is off the most."""
    steps = np.array(list(itertools.product(np.linspace(-1, 1, 7), repeat=3)))
    return (anchors[:, None] + spacing * steps).reshape(-1, 3)


def anchored(values: np.ndarray, index: np.ndarray, wanted: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients of a B-spline, changed as little as possible so that it gives at some places what is wanted.

    Args:
        values: Coefficients, `(3, D, H, W)`; of degree 1 they are the values at the nodes.
        index: Of the places along i, j, k, `(N, 3)`; those at which the lattice ends stay out of account.
        wanted: `(N, 3)`.
        degree: 3, or 1 for what is linear between nodes.
    """
    size = values.shape[:0:-1]
    inside = ((index >= degree // 2) & (index < np.array(size) - 1 - degree // 2)).all(1)
    places, wanted = torch.from_numpy(index[inside]), wanted[inside]
    if not len(places):
        return values
    nodes, shares = (one.numpy() for one in (spline_weights if degree == 3 else _linear_weights)(places, size))
    used, columns = np.unique(nodes, return_inverse=True)
    table = np.zeros((len(places), len(used)))
    np.put_along_axis(table, columns.reshape(len(places), -1), shares, axis=1)
    flat = values.reshape(3, -1).copy()
    flat[:, used] += _least_change(table, wanted - table @ flat[:, used].T).T
    return flat.reshape(values.shape)


def _least_change(table: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Of coefficients `(M, 3)`, whose weights at each anchor are a row of the table `(N, M)`.

    Anchors within one cell that part would need changes far larger than what was missed. They are met together only.
    """
    for rcond in (None, *LOOSER):
        change = table.T @ np.linalg.lstsq(table @ table.T, missed, rcond=rcond)[0]
        if np.abs(change).max() <= AMPLIFIED * np.abs(missed).max():
            break
    return change


def _linear_weights(index: torch.Tensor, size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """As `spline_weights`, of what is linear between nodes: each `(N, 8)`."""
    first, within = index.floor().long(), index % 1
    steps = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    x, y, z = (first[:, None] + steps).unbind(-1)
    return (z * size[1] + y) * size[0] + x, torch.where(steps == 1, within[:, None], 1 - within[:, None]).prod(-1)
