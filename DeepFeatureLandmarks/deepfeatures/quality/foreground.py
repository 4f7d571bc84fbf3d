"""Points outside the head, or whatever else the scan shows in front of air."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepfeatures.data.volume import Volume

BEYOND_MM = 10.0  # outside the foreground: less may be skin, a stripped skull or fluid that opens to it


def outside_mm(volume: Volume, points: np.ndarray) -> np.ndarray:
    """How far points lie outside the scan's foreground, mm, shape `(N,)`: 0 within it, NaN where not defined.

    The foreground is the largest bright part (Otsu's threshold) with its cavities filled.

    Args:
        volume: The scan.
        points: LPS mm, shape `(N, 3)`.
    """
    from scipy import ndimage

    indices = volume.to_index(points)[:, ::-1]  # (depth, height, width)
    spacing = volume.spacing[::-1]
    nearest = np.clip(np.nan_to_num(indices), 0, np.array(volume.voxels.shape) - 1)
    beyond_grid = np.linalg.norm((indices - nearest) * spacing, axis=1)
    distances = ndimage.distance_transform_edt(~foreground(volume), sampling=spacing)
    return distances[tuple(np.rint(nearest).astype(int).T)] + beyond_grid


def foreground(volume: Volume) -> np.ndarray:
    """Bools of the voxels' shape."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.voxels.numpy())
    bright = sitk.OtsuThreshold(image, 0, 1, 128)
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(bright), sortByObjectSize=True)
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(parts == 1)).astype(bool)
