"""Annotation errors in the landmarks of one scan: missing, mirrored, swapped, mislabelled or misplaced points."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from deepfeatures.quality.reference_model import ReferenceModel
from deepfeatures.quality.shape import align

CLEARLY = 0.6  # of the misfit is what a mirrored set may keep when it is mirrored back
SUSPECTS = 4  # points with the worst scores, of which the one is set aside without which the rest fits best
LEFT = 3  # points that must remain to judge by
MIRRORS = {
    "left and right": (-1, 1, 1),
    "front and back": (1, -1, 1),
    "top and bottom": (1, 1, -1),
    "left and right, and front and back (RAS read as LPS?),": (-1, -1, 1),
}


@dataclass(frozen=True)
class AnnotationError:
    """Something that a person should look at.

    Args:
        landmark: Its name; `""` where the whole set is meant.
        kind: `"missing"`, `"mirrored"`, `"swapped"`, `"mislabelled"`, `"misplaced"` or `"outside"`.
        distance_mm: From where the landmark is expected; NaN where that cannot be said.
        score: That distance in spreads of good points; NaN likewise.
        expected: Where it should lie, LPS mm, or `None`.
        other: The landmark with which it was swapped, or at whose place it lies; `""` where none.
    """

    landmark: str
    kind: str
    distance_mm: float = float("nan")
    score: float = float("nan")
    expected: tuple[float, float, float] | None = None
    other: str = ""

    @property
    def sentence(self) -> str:
        """What is wrong, for a reader."""
        if self.kind == "missing":
            return f"{self.landmark} is missing"
        if self.kind == "outside":
            return f"{self.landmark} lies {self.distance_mm:.1f} mm outside the head"
        if self.kind == "mirrored":
            return f"{self.other} are exchanged in the whole set"
        if self.kind == "swapped":
            return f"{self.landmark} and {self.other} are swapped"
        if self.kind == "mislabelled":
            return f"{self.landmark} lies where {self.other} belongs, {self.distance_mm:.1f} mm from its own place"
        return f"{self.landmark} lies {self.distance_mm:.1f} mm from where it is expected ({self.score:.1f} spreads)"


def find_annotation_errors(
    model: ReferenceModel, points: np.ndarray, estimate: np.ndarray | None = None
) -> list[AnnotationError]:
    """Everything in one set of landmarks that does not look like good annotation.

    Args:
        model: Learned from other people.
        points: LPS mm, shape `(L, 3)`, in the order of `model.names`; NaN where not defined.
        estimate: Where others have them in the same scan, LPS mm, shape `(L, 3)`, NaN or `None` where there are none.
    """
    estimate = np.full_like(points, np.nan) if estimate is None else estimate
    annotation_errors = [
        AnnotationError(name, "missing", expected=_place(model.expect(points, estimate, index)[0]))
        for index, name in enumerate(model.names)
        if model.is_common[index] and not np.isfinite(points[index]).all()
    ]
    mirror = exchanged_axes(points, model.shapes.mean)
    if mirror:
        annotation_errors.append(AnnotationError("", "mirrored", other=mirror))
        centre = np.nanmean(points, axis=0)
        points, estimate = (points - centre) * MIRRORS[mirror] + centre, np.full_like(points, np.nan)
    order = _unswapped(model, points, estimate)
    good = points[order]
    for index in _misplaced(model, good, estimate):
        good[index] = np.nan
    for index, name in enumerate(model.names):
        if not np.isfinite(points[index]).all():
            continue
        expected, spread = model.expect(good, estimate, index)
        distance = float(np.linalg.norm(points[index] - expected))
        found = distance, distance / spread, _place(expected)
        if order[index] != index:
            annotation_errors.append(
                AnnotationError(name, "swapped", *found, other=model.names[np.flatnonzero(order == index)[0]])
            )
        elif not np.isfinite(good[index]).all():
            other = _whose_place(model, good, estimate, points[index], index)
            annotation_errors.append(
                AnnotationError(name, "mislabelled" if other else "misplaced", *found, other=other)
            )
    return annotation_errors


def scores(model: ReferenceModel, points: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Distances from where the landmarks are expected, in spreads of good points; shape `(L,)`, NaN where unknown."""
    found = np.full(len(points), np.nan)
    for index in np.flatnonzero(np.isfinite(points).all(axis=1)):
        expected, spread = model.expect(points, estimate, index)
        found[index] = np.linalg.norm(points[index] - expected) / spread
    return found


def exchanged_axes(points: np.ndarray, onto: np.ndarray) -> str:
    """Which axes are exchanged: that whose mirror image fits other points clearly better, `""` where none does.

    Args:
        points: LPS mm, shape `(L, 3)`, NaN where not defined.
        onto: The same landmarks, as they usually lie or as another rater has them; where they lie does not matter.
    """
    there = np.isfinite(points + onto).all(axis=1)
    if there.sum() <= LEFT:
        return ""
    mean = onto[there] - onto[there].mean(axis=0)
    centred = points[there] - points[there].mean(axis=0)
    misfits = {name: np.linalg.norm(centred * signs - mean, axis=1) for name, signs in MIRRORS.items()}
    best = min(misfits, key=lambda name: np.median(misfits[name]))
    as_is = np.linalg.norm(centred - mean, axis=1)
    return best if np.median(misfits[best]) < CLEARLY * np.median(as_is) else ""


def _unswapped(model: ReferenceModel, points: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """The order of the points in which every swapped pair is put right, shape `(L,)`."""
    order = np.arange(len(points))
    cost = _cost(model, scores(model, points, estimate))
    while pair := _likeliest_swap(model, points[order]):
        tried = order.copy()
        tried[list(pair)] = order[list(pair[::-1])]
        found = scores(model, points[tried], estimate)
        # both points must be good at each other's place, or they are no pair
        if _cost(model, found) >= cost or max(found[list(pair)]) > model.threshold:
            break
        order, cost = tried, _cost(model, found)
    return order


def _likeliest_swap(model: ReferenceModel, points: np.ndarray) -> tuple[int, int] | None:
    """The pair whose exchange brings the set closest to the mean shape; `None` where none does."""
    there = np.flatnonzero(np.isfinite(points + model.shapes.mean).all(axis=1))
    mean, spreads = model.shapes.mean[there], model.shape_spreads_mm[there]

    def misfit(candidate: np.ndarray) -> float:
        distances = np.linalg.norm(align(candidate, mean).forward(candidate) - mean, axis=1) / spreads
        return float(np.minimum(distances, 2 * model.threshold).sum())

    best, least = None, misfit(points[there])
    for first, second in itertools.combinations(range(len(there)), 2):
        exchanged = points[there]
        exchanged[[first, second]] = exchanged[[second, first]]
        if (found := misfit(exchanged)) < least:
            best, least = (int(there[first]), int(there[second])), found
    return best


def _misplaced(model: ReferenceModel, points: np.ndarray, estimate: np.ndarray) -> list[int]:
    """Points that lie too far from where the others put them; set aside one by one, so that no error is
    attributed to another point."""
    kept, aside = points.copy(), []
    while np.isfinite(kept).all(axis=1).sum() > LEFT:
        found = np.nan_to_num(scores(model, kept, estimate))
        suspects = [index for index in np.argsort(-found)[:SUSPECTS] if found[index] > model.threshold]
        if not suspects:
            break
        worst = min(suspects, key=lambda index: _unlikelihood(model, _without(kept, index), estimate))
        kept = _without(kept, worst)
        aside.append(int(worst))
    misplaced = []
    for index in aside:  # judged again by the points that were kept
        expected, spread = model.expect(kept, estimate, index)
        if np.linalg.norm(points[index] - expected) > model.threshold * spread:
            misplaced.append(index)
    return misplaced


def _cost(model: ReferenceModel, found: np.ndarray) -> float:
    """How badly a set fits, a single point counting no more than twice the threshold."""
    return float(np.nansum(np.minimum(found, 2 * model.threshold) ** 2))


def _unlikelihood(model: ReferenceModel, points: np.ndarray, estimate: np.ndarray) -> float:
    """How unlikely a set is, by the normal distribution: what fits only as little is known of it, is not likely."""
    total = 0.0
    for index in np.flatnonzero(np.isfinite(points).all(axis=1)):
        expected, spread = model.expect(points, estimate, index)
        score = np.linalg.norm(points[index] - expected) / spread
        total += np.nan_to_num(min(score, 2 * model.threshold) ** 2 + 6 * np.log(spread))
    return float(total)


def _without(points: np.ndarray, index: int) -> np.ndarray:
    fewer = points.copy()
    fewer[index] = np.nan
    return fewer


def _whose_place(model: ReferenceModel, good: np.ndarray, estimate: np.ndarray, point: np.ndarray, index: int) -> str:
    """The other landmark at whose expected place the point lies; `""` where there is none."""
    nearest, name = model.threshold, ""
    for other in range(len(model.names)):
        expected, spread = model.expect(good, estimate, other)
        score = np.linalg.norm(point - expected) / spread
        if other != index and score < nearest:
            nearest, name = score, model.names[other]
    return name


def _place(expected: np.ndarray) -> tuple[float, float, float] | None:
    return tuple(float(value) for value in expected) if np.isfinite(expected).all() else None
