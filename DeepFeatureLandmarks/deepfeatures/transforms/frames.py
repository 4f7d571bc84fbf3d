"""Frames, such as those of planes and boxes, carried by a transform: they stay at right angles, as in 3D Slicer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.transforms.transform import Transform, as_points

FLAT = 1e-6  # by which lengths shrink along some axis where a transform flattens space


@dataclass(frozen=True, eq=False)
class Frame:
    """A place with three axes at right angles.

    Args:
        centre: LPS mm, `(3,)`.
        axes: Unit vectors as columns, `(3, 3)`.
    """

    centre: np.ndarray
    axes: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """Coordinates in the frame to LPS mm, `(4, 4)`."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.axes, self.centre
        return matrix


@dataclass(frozen=True, eq=False)
class CarriedFrame:
    """A frame on the other side of a transform.

    Args:
        frame: The first axis goes as the transform takes it, the third is normal to the plane of the first two.
        stretch: By how much lengths along the new axes are longer, `(3,)`, as 3D Slicer takes it for boxes.
    """

    frame: Frame
    stretch: np.ndarray


def carry_frame(transform: Transform, frame: Frame) -> CarriedFrame:
    """The frame after a transform, by its Jacobian at the centre.

    Raises:
        InputError: The transform flattens space there.
    """
    jacobian = transform.jacobian(frame.centre[None])[0]
    if np.linalg.svd(jacobian, compute_uv=False)[-1] < FLAT:
        raise InputError(
            f"the transform flattens space at {np.round(frame.centre, 1).tolist()}, where a plane or box has its"
            " centre; give a transform without folds, or leave the plane or box out"
        )
    axes, lengths = np.linalg.qr(jacobian @ frame.axes)
    axes = axes * np.where(np.diag(lengths) < 0, -1, 1)
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    back = np.linalg.pinv(jacobian) @ axes
    return CarriedFrame(Frame(transform(frame.centre[None])[0], axes), 1 / np.linalg.norm(back, axis=0))


def box_corners(frame: Frame, size: np.ndarray) -> np.ndarray:
    """Corners of a box of a size `(3,)` in mm around a frame, LPS mm, `(8, 3)`; a flat one has each corner twice."""
    halves = np.array(list(product((-0.5, 0.5), repeat=3))) * size
    return frame.centre + halves @ frame.axes.T


def corner_error_mm(transform: Transform, frame: Frame, size: np.ndarray) -> float:
    """How far the corners of the carried box lie at most from where the transform takes the box's own corners."""
    carried = carry_frame(transform, frame)
    wanted = transform(as_points(box_corners(frame, size)))
    return float(np.linalg.norm(box_corners(carried.frame, size * carried.stretch) - wanted, axis=1).max())
