"""What every transform does: points forward and back, its Jacobian, and one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEP_MM = 1e-3  # for differences where a transform has no Jacobian of its own
ITERATIONS = 50  # of Newton's method, at most
CLOSE_ENOUGH_MM = 1e-6  # where it stops


@dataclass(frozen=True, eq=False)
class InversePoints:
    """Points carried back by a transform.

    Args:
        points: LPS mm, `(N, 3)`, float64.
        errors_mm: How far each one, carried forward again, lies from where it came from, `(N,)`.
    """

    points: np.ndarray
    errors_mm: np.ndarray


class Transform(ABC):
    """Maps points of the template to points of the target, LPS mm, as ITK's resampling transforms do.

    Called with `(N, 3)`, it returns `(N, 3)`, float64.
    """

    @abstractmethod
    def __call__(self, points: np.ndarray) -> np.ndarray: ...

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """Derivatives of target by template coordinates at points `(N, 3)`, `(N, 3, 3)`: rows belong to the target."""
        points = as_points(points)
        steps = STEP_MM * np.eye(3)
        columns = [(self(points + step) - self(points - step)) / (2 * STEP_MM) for step in steps]
        return np.stack(columns, -1)

    def jacobian_determinant(self, points: np.ndarray) -> np.ndarray:
        """By how much volumes grow at points `(N, 3)`, `(N,)`; at or below zero the transform folds."""
        return np.linalg.det(self.jacobian(points))

    def inverse(self, points: np.ndarray) -> InversePoints:
        """Where points of the target `(N, 3)` lie in the template, by Newton's method with halved steps.

        Where the transform folds there may be several such places or none; the errors tell of it.
        """
        wanted = as_points(points)
        found = self.first_guess_of_inverse(wanted)
        missed = self(found) - wanted
        error = np.linalg.norm(missed, axis=1)
        for _ in range(ITERATIONS):
            open_ = np.flatnonzero(error > CLOSE_ENOUGH_MM)
            if not len(open_):
                break
            step = _solved(self.jacobian(found[open_]), missed[open_])
            better = _line_search(self, found[open_], step, wanted[open_], error[open_])
            moved, still_missed = better
            new_error = np.linalg.norm(still_missed, axis=1)
            is_better = new_error < error[open_]
            if not is_better.any():
                break
            kept = open_[is_better]
            found[kept], missed[kept], error[kept] = moved[is_better], still_missed[is_better], new_error[is_better]
        return InversePoints(found, error)

    def first_guess_of_inverse(self, points: np.ndarray) -> np.ndarray:
        """From where the inverse of points `(N, 3)` is searched: their mirror of one step, `(N, 3)`."""
        return points - (self(points) - points)

    def inverted(self) -> Transform:
        """Target points to template points."""
        return InverseTransform(self)

    def then(self, following: Transform) -> Transform:
        """This transform first, the other one after it."""
        return CompositeTransform((self, following))


@dataclass(frozen=True, eq=False)
class InverseTransform(Transform):
    """A transform the other way round, point by point; see `Transform.inverse` for its error."""

    forward: Transform

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.forward.inverse(points).points

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        return np.linalg.inv(self.forward.jacobian(self(points)))

    def inverse(self, points: np.ndarray) -> InversePoints:
        return InversePoints(self.forward(points), np.zeros(len(as_points(points))))

    def inverted(self) -> Transform:
        return self.forward


@dataclass(frozen=True, eq=False)
class CompositeTransform(Transform):
    """Several transforms, one after another.

    Args:
        parts: In the order in which points go through them. ITK's files list them the other way round.
    """

    parts: tuple[Transform, ...]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        points = as_points(points)
        for part in self.parts:
            points = part(points)
        return points

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        points = as_points(points)
        total = np.broadcast_to(np.eye(3), (len(points), 3, 3))
        for part in self.parts:
            total = part.jacobian(points) @ total
            points = part(points)
        return total

    def inverse(self, points: np.ndarray) -> InversePoints:
        found = as_points(points)
        for part in reversed(self.parts):
            found = part.inverse(found).points
        return InversePoints(found, np.linalg.norm(self(found) - as_points(points), axis=1))

    def then(self, following: Transform) -> Transform:
        return CompositeTransform((*self.parts, following))


def as_points(points: np.ndarray | Sequence) -> np.ndarray:
    """Points `(N, 3)` as float64."""
    return np.asarray(points, np.float64).reshape(-1, 3)


def _solved(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Newton steps; where a matrix has no inverse, the shortest vector that comes nearest."""
    return (np.linalg.pinv(matrices) @ vectors[..., None])[..., 0]


def _line_search(
    transform: Transform, found: np.ndarray, step: np.ndarray, wanted: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points after the step, halved where it does not bring them nearer, and by how much they miss."""
    share = np.ones((len(found), 1))
    for _ in range(6):
        moved = found - share * step
        missed = transform(moved) - wanted
        is_worse = np.linalg.norm(missed, axis=1) >= error
        if not is_worse.any():
            break
        share[is_worse] /= 2
    return moved, missed
