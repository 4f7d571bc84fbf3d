"""Slices that lie beside one another, as those of a tilted gantry, brought onto one upright grid."""

from __future__ import annotations

import numpy as np

ROUNDED = 3  # decimals of a pixel, so that rounding of positions mixes no pixels


def upright(voxels: np.ndarray, affine: np.ndarray, sideways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voxels where they are, on a grid wide enough for all slices; what no slice covers has the lowest value.

    Each slice is shifted within its plane by its own distance, with linear interpolation along x and y. Slices are not
    mixed with one another.

    Args:
        voxels: float32, shape `(slices, rows, columns)`.
        affine: From voxel index to LPS mm of slices that lie one upon the other, as the first lies, shape `(3, 4)`.
        sideways: Pixels along x and y by which each slice lies beside the first, shape `(slices, 2)`.

    Returns:
        Voxels, and the affine of their grid.
    """
    first = _edges(sideways)[0]
    lowest = voxels.min()
    wide = np.empty(upright_shape(voxels.shape, sideways), np.float32)
    _, rows, columns = wide.shape
    for target, source, shift in zip(wide, voxels, sideways.round(ROUNDED) - first, strict=True):
        shifted = _shift(source - lowest, 1, shift[0], columns)
        target[:] = _shift(shifted, 0, shift[1], rows) + lowest
    moved = affine.copy()
    moved[:, 3] += affine[:, :2] @ first
    return wide, moved


def upright_shape(shape: tuple[int, int, int], sideways: np.ndarray) -> tuple[int, int, int]:
    """Slices, rows and columns of what `upright` returns."""
    first, last = _edges(sideways)
    columns, rows = last - first
    return shape[0], shape[1] + int(rows), shape[2] + int(columns)


def _edges(sideways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole pixels along x and y to which the first and the last pixel are shifted at most."""
    rounded = sideways.round(ROUNDED)
    return np.floor(rounded.min(axis=0)).astype(int), np.ceil(rounded.max(axis=0)).astype(int)


def _shift(image: np.ndarray, axis: int, shift: float, length: int) -> np.ndarray:
    """The image, zero outside, so many pixels further along an axis of this new length; `shift` is not negative."""
    whole = int(shift)
    part = np.float32(shift - whole)
    before = [(0, 0), (0, 0)]
    before[axis] = (whole, length - whole - image.shape[axis])
    placed = np.pad(image, before)
    if part == 0:
        return placed
    return (1 - part) * placed + part * np.roll(placed, 1, axis)  # the last pixel is zero where there is a part
