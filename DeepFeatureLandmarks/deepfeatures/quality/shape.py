"""Where a landmark should lie, judged by the other landmarks of the same scan and by how they lie in other people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ROUNDS = 4  # of aligning all shapes with their mean; it no longer moves then
UPRIGHT = 0.1  # pull towards no rotation: patients lie alike, and points on a line leave the turn around it open
RIDGE = 0.1  # of the mean variance along one sample's direction
SMOOTHING_MM = 10.0  # of the displacement between two people
FEWEST = 2  # points that fix a pose, given that patients lie alike


@dataclass(frozen=True, eq=False)
class Shapes:
    """Landmarks of several people in one frame.

    Args:
        mean: mm, shape `(L, 3)`; NaN where nobody has the landmark.
        people: As they lie, LPS mm, shape `(N, L, 3)`; where a landmark is not defined, where the mean has it.
    """

    mean: np.ndarray
    people: np.ndarray


@dataclass(frozen=True, eq=False)
class Similarity:
    """`points @ turn * scale + shift`, mm to mm; shapes `(..., 3, 3)`, `(..., 1, 1)` and `(..., 1, 3)`."""

    turn: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    def forward(self, points: np.ndarray) -> np.ndarray:
        return points @ self.turn * self.scale + self.shift

    def back(self, points: np.ndarray) -> np.ndarray:
        return (points - self.shift) @ self.turn.swapaxes(-1, -2) / self.scale


def align(points: np.ndarray, onto: np.ndarray, upright: float = UPRIGHT) -> Similarity:
    """The similarity that brings `points` closest to `onto`, shapes `(..., N, 3)` and `(N, 3)`, mm without NaN.

    Args:
        points: To be moved.
        onto: Where to.
        upright: Pull towards no rotation, in parts of what the points themselves pull.
    """
    first, second = points.mean(axis=-2, keepdims=True), onto.mean(axis=0)
    a, b = points - first, onto - second
    size_a = np.maximum(np.linalg.norm(a, axis=(-2, -1), keepdims=True), 1e-9)
    size_b = np.linalg.norm(b)
    left, _, right = np.linalg.svd(a.swapaxes(-1, -2) @ b + upright * size_a * size_b * np.eye(3))
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[..., None]  # a turn, never a reflection
    turn, scale = left @ right, size_b / size_a
    return Similarity(turn, scale, second - first @ turn * scale)


def learn_shapes(positions: np.ndarray) -> Shapes:
    """Shapes of people whose landmarks lie at `positions`, LPS mm, shape `(N, L, 3)`, NaN where not defined."""
    defined = np.isfinite(positions).all(axis=2)
    usable = positions[defined.sum(axis=1) >= FEWEST]
    defined = np.isfinite(usable).all(axis=2)
    mean = usable[np.argmax(defined.sum(axis=1))]
    for _ in range(ROUNDS):
        poses = [_pose(points, mean) for points in usable]
        posed = np.stack([pose.forward(points) for pose, points in zip(poses, usable, strict=True)])
        mean = np.ma.masked_invalid(posed).mean(axis=0).filled(np.nan)  # nobody may have one of the landmarks
    filled = [
        np.where(np.isfinite(points), points, pose.back(mean)) for pose, points in zip(poses, usable, strict=True)
    ]
    return Shapes(mean, np.array(filled))


def _pose(points: np.ndarray, mean: np.ndarray) -> Similarity:
    both = np.isfinite(points + mean).all(axis=1)
    return align(points[both], mean[both])


def expected_positions(shapes: Shapes, points: np.ndarray, index: int) -> np.ndarray:
    """Where landmark `index` should lie, judged in two ways by the other `points`, LPS mm, shape `(L, 3)`.

    Returns:
        LPS mm, shape `(2, 3)`: by a thin-plate spline from the mean, and by how the landmarks move together in the
        other people (ridge regression). NaN where fewer than two other points are defined.
    """
    from scipy.interpolate import RBFInterpolator

    others = np.isfinite(points + shapes.mean).all(axis=1)
    others[index] = False
    if others.sum() < FEWEST:
        return np.full((2, 3), np.nan)
    pose = align(points[others], shapes.mean[others])
    moved = pose.forward(points[others]) - shapes.mean[others]
    # -r is what bends least in three dimensions, as r^2 log r does in two
    spline = RBFInterpolator(shapes.mean[others], moved, kernel="linear", smoothing=SMOOTHING_MM, degree=0)
    bent = spline(shapes.mean[[index]])[0]
    learned = _regression(shapes, tuple(others.tolist())).predict(moved, index)
    return pose.back(shapes.mean[index] + np.stack([bent, learned]))


def uncertainty_without(shapes: Shapes, lacking: np.ndarray, index: int) -> float:
    """How many times as far the people's landmark `index` is from where regression puts it when others are lacking.

    Args:
        shapes: Of the people, each left out in turn.
        lacking: Landmarks that are not known, bools, shape `(L,)`.
        index: Of the landmark, which is never among those that predict it.
    """
    others = np.isfinite(shapes.mean).all(axis=1)
    others[index] = False
    fewer = others & ~lacking
    if fewer.sum() < FEWEST or fewer.sum() == others.sum():
        return 1.0
    errors = [_regression(shapes, tuple(known.tolist())).error_mm(index) for known in (fewer, others)]
    return max(1.0, errors[0] / errors[1])


@dataclass(frozen=True, eq=False)
class _Regression:
    """How landmarks of people, posed by the known ones, move together; displacements from the mean shape, mm.

    Args:
        known: Which landmarks are, bools, shape `(L,)`.
        middle: Mean displacement, shape `(L, 3)`.
        around: Of each person from that, shape `(N, L, 3)`.
        inverse: Of the products of the people's known displacements, with the ridge, shape `(N, N)`.
    """

    known: np.ndarray
    middle: np.ndarray
    around: np.ndarray
    inverse: np.ndarray

    def predict(self, moved: np.ndarray, index: int) -> np.ndarray:
        """Displacement of a landmark, shape `(3,)`, by those of the known ones, shape `(K, 3)`."""
        alike = self.around[:, self.known].reshape(len(self.around), -1) @ (moved - self.middle[self.known]).ravel()
        return self.middle[index] + self.inverse @ alike @ self.around[:, index]

    def error_mm(self, index: int) -> float:
        """Root mean square error of predicting the landmark of each person by all other people."""
        residuals = self.inverse @ self.around[:, index] / self.inverse.diagonal()[:, None]
        return float(np.sqrt((residuals**2).sum(axis=1).mean())) + 1e-9


@lru_cache(maxsize=1024)  # a scan without errors asks for the same again and again
def _regression(shapes: Shapes, known: tuple[bool, ...]) -> _Regression:
    known = np.array(known)
    posed = align(shapes.people[:, known], shapes.mean[known]).forward(shapes.people)
    moved = posed - shapes.mean
    middle = moved.mean(axis=0)
    around = moved - middle
    flat = around[:, known].reshape(len(around), -1)
    kernel = flat @ flat.T
    ridge = RIDGE * max(np.trace(kernel), 1e-9) / len(kernel)
    return _Regression(known, middle, around, np.linalg.inv(kernel + ridge * np.eye(len(kernel))))
