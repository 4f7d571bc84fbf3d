"""How a landmark is turned, as Slicer's control points have it: a rotation from the template, and three axes.

A control point's axes are the columns of a matrix. Where nothing is turned they point to R, A and S. So in LPS they are
`rotation @ diag(-1, -1, 1)`.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from deepfeatures.data.landmarks import Rotation

UNTURNED = np.diag([-1.0, -1.0, 1.0])  # R, A and S in LPS
NOT_A_ROTATION = 1e-3  # by which a matrix may fail to be one


def axes_of(orientation: Rotation | None) -> np.ndarray:
    """Axes in LPS, `(3, 3)`, of a landmark's orientation; the unturned ones for `None`."""
    rotation = np.eye(3) if orientation is None else np.array(orientation)
    return rotation @ UNTURNED + 0.0  # no minus zero


def rotation_of(axes: np.ndarray) -> Rotation | None:
    """The orientation of axes in LPS, `(3, 3)`.

    `None` for unturned axes, since a point that nobody has turned has these, and for what is no rotation.
    """
    if not np.isfinite(axes).all():
        return None
    rotation = axes @ UNTURNED
    is_rotation = np.allclose(rotation @ rotation.T, np.eye(3), atol=NOT_A_ROTATION) and np.linalg.det(rotation) > 0
    if not is_rotation or np.allclose(rotation, np.eye(3), atol=1e-9):
        return None
    return cast(Rotation, tuple(map(tuple, rotation.tolist())))
