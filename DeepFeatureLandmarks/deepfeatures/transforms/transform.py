"""What every transform does: points forward and back, its Jacobian, and one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Steps = Callable[[np.ndarray, np.ndarray], np.ndarray]  # places and by how much they miss, to steps; (N, 3) each

STEP_MM = 1e-3  # for differences where a transform has no Jacobian of its own
ITERATIONS = 50  # towards an inverse, at most
CLOSE_ENOUGH_MM = 1e-5  # where they stop
SHARES = (1.0, 0.5, 0.25, 0.125)  # of a step that are tried
ENOUGH = 0.9  # of the error before: if no point comes nearer than this, another kind of step is due
MEAN_OF = 500  # points


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

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        """Where points of the target `(N, 3)` lie in the template.

        Steps by one matrix for all points, the mean Jacobian, bring most of them home; Newton's method the rest. Where
        the transform folds there may be several such places or none; the errors tell of it.

        Args:
            points: LPS mm, `(N, 3)`.
            start: About where they lie, `(N, 3)`; `None` where nobody knows.
        """
        wanted = as_points(points)
        if not len(wanted):
            return InversePoints(wanted, np.zeros(0))
        back = np.linalg.pinv(self._mean_jacobian(wanted if start is None else start))
        found = wanted - (self(wanted) - wanted) @ back.T if start is None else as_points(start).copy()
        missed = self(found) - wanted
        for steps in (_mean_steps(back), self._newton_steps):
            for _ in range(ITERATIONS):
                open_ = np.flatnonzero(np.linalg.norm(missed, axis=1) > CLOSE_ENOUGH_MM)
                if not len(open_) or not self._improve(found, missed, open_, wanted, steps):
                    break
        return InversePoints(found, np.linalg.norm(missed, axis=1))

    def near(self, points: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """The same as calling it, for who knows about where the points `(N, 3)` go: saves an inverse the search."""
        return self(points)

    def _mean_jacobian(self, points: np.ndarray) -> np.ndarray:
        """Over at most so many of the points, `(3, 3)`."""
        return self.jacobian(points[:: -(-len(points) // MEAN_OF)]).mean(0)

    def _newton_steps(self, places: np.ndarray, missed: np.ndarray) -> np.ndarray:
        return (np.linalg.pinv(self.jacobian(places)) @ missed[..., None])[..., 0]

    def _improve(
        self, found: np.ndarray, missed: np.ndarray, open_: np.ndarray, wanted: np.ndarray, steps: Steps
    ) -> bool:
        """One step, halved where it leads no nearer, of those that are still open; whether any came much nearer."""
        step, came_nearer = steps(found[open_], missed[open_]), False
        for share in SHARES:
            moved = found[open_] - share * step
            off = self(moved) - wanted[open_]
            before, now = np.linalg.norm(missed[open_], axis=1), np.linalg.norm(off, axis=1)
            is_nearer = now < before
            came_nearer |= bool((now < ENOUGH * before).any())
            found[open_[is_nearer]], missed[open_[is_nearer]] = moved[is_nearer], off[is_nearer]
            open_, step = open_[~is_nearer], step[~is_nearer]
            if not len(open_):
                break
        return came_nearer

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
        return np.linalg.pinv(self.forward.jacobian(self(points)))  # 0 across where the transform flattens space

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        return InversePoints(self.forward(points), np.zeros(len(as_points(points))))

    def near(self, points: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return self.forward.inverse(points, guess).points

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

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        if start is not None:
            return super().inverse(points, start)
        found = as_points(points)
        for part in reversed(self.parts):
            found = part.inverse(found).points
        return InversePoints(found, np.linalg.norm(self(found) - as_points(points), axis=1))

    def then(self, following: Transform) -> Transform:
        return CompositeTransform((*self.parts, following))


def as_points(points: np.ndarray | Sequence) -> np.ndarray:
    """Points `(N, 3)` as float64."""
    return np.asarray(points, np.float64).reshape(-1, 3)


def _mean_steps(back: np.ndarray) -> Steps:
    return lambda _, missed: missed @ back.T
