"""Lattices that meet given points: a thin plate spline has a kink at each landmark, which sampling rounds off."""

from __future__ import annotations

import itertools

import numpy as np

from deepfeatures.transforms.thin_plate_spline import ThinPlateSplineTransform
from deepfeatures.transforms.transform import CompositeTransform, Transform


def anchors_of(transform: Transform) -> np.ndarray:
    """Template points, LPS mm `(N, 3)`, at which a sampled transform should be exact: the landmarks of a spline."""
    first = transform.parts[0] if isinstance(transform, CompositeTransform) else transform
    return first.control_points if isinstance(first, ThinPlateSplineTransform) else np.empty((0, 3))


def anchored(values: np.ndarray, index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Coefficients of a cubic B-spline, changed as little as possible so that it gives at some places what is wanted.

    Args:
        values: Coefficients, `(3, D, H, W)`.
        index: Of the places along i, j, k, `(N, 3)`; those at which the lattice ends stay out of account.
        wanted: `(N, 3)`.
    """
    size = np.array(values.shape[:0:-1])
    first = np.floor(index).astype(int) - 1
    weights = _cubic(index % 1)
    inside = ((first >= 0) & (first + len(weights) <= size)).all(1)
    first, weights, wanted = first[inside], weights[:, inside], wanted[inside]
    if not len(first):
        return values
    nodes, shares = [], []
    for i, j, k in itertools.product(range(len(weights)), repeat=3):
        nodes.append(np.ravel_multi_index((first + np.array([i, j, k])).T[::-1], values.shape[1:]))
        shares.append(weights[i, :, 0] * weights[j, :, 1] * weights[k, :, 2])
    used, columns = np.unique(np.stack(nodes, 1), return_inverse=True)
    table = np.zeros((len(first), len(used)))
    np.put_along_axis(table, columns.reshape(len(first), -1), np.stack(shares, 1), axis=1)
    flat = values.reshape(3, -1).copy()
    missed = wanted - table @ flat[:, used].T
    flat[:, used] += (table.T @ np.linalg.lstsq(table @ table.T, missed, rcond=None)[0]).T
    return flat.reshape(values.shape)


def _cubic(share: np.ndarray) -> np.ndarray:
    """Weights of the four nodes around places so far behind the second, `(4, N, 3)`."""
    rest = 1 - share
    inner = (3 * share**3 - 6 * share**2 + 4) / 6
    return np.stack([rest**3 / 6, inner, 1 - rest**3 / 6 - inner - share**3 / 6, share**3 / 6])
