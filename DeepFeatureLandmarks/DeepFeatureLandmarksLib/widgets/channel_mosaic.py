"""All channels of a layer in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import qt
import vtk
from vtk.util.numpy_support import numpy_to_vtk

MAX_CHANNELS = 64  # more would be too small to see
TILE = 44  # pixels


def mosaic(channels: Sequence[np.ndarray]) -> np.ndarray:
    """The middle slices of the first channels side by side, each stretched from black to white.

    Args:
        channels: Arrays of shape `(depth, height, width)`, one size.

    Returns:
        uint8, shape `(rows, columns)`, the first channel top left.
    """
    shown = channels[:MAX_CHANNELS]
    across = int(np.ceil(np.sqrt(len(shown))))
    down = int(np.ceil(len(shown) / across))
    picture = np.full((down * (TILE + 2), across * (TILE + 2)), 32, np.uint8)
    for index, channel in enumerate(shown):
        row, column = divmod(index, across)
        top, left = row * (TILE + 2) + 1, column * (TILE + 2) + 1
        picture[top : top + TILE, left : left + TILE] = _tile(channel[len(channel) // 2])
    return picture


def _tile(pixels: np.ndarray) -> np.ndarray:
    darkest, span = float(pixels.min()), float(np.ptp(pixels)) or 1.0
    nearest = [np.arange(TILE) * size // TILE for size in pixels.shape]
    return ((pixels[np.ix_(*nearest)] - darkest) / span * 255).astype(np.uint8)


def pixmap(picture: np.ndarray) -> qt.QPixmap:
    """A grey picture, uint8 of shape `(rows, columns)`, for a label."""
    image = vtk.vtkImageData()
    rows, columns = picture.shape
    image.SetDimensions(columns, rows, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).ravel(), deep=True))
    with TemporaryDirectory() as folder:  # Slicer's Qt takes no Python bytes for an image
        path = str(Path(folder) / "mosaic.png")
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(path)
        writer.SetInputData(image)
        writer.Write()
        return qt.QPixmap(path)
