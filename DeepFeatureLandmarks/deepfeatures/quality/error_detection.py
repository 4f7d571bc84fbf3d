"""Faults in the landmarks of one scan: missing, mirrored, swapped, mislabelled or misplaced points."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from deepfeatures.quality.reference_distribution import Norm
from deepfeatures.quality.shape import align

CLEARLY = 0.6  # of the misfit is what a mirrored set may keep when it is mirrored back
ACCUSED = 4  # points with the worst scores, of which the one is set aside without which the rest fits best
LEFT = 3  # points that must remain to judge by
MIRRORS = {
    "left and right": (-1, 1, 1),
    "front and back": (1, -1, 1),
    "top and bottom": (1, 1, -1),
    "left and right, and front and back (RAS read as LPS?),": (-1, -1, 1),
}


@dataclass(frozen=True)
class Fault:
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


def find_faults(norm: Norm, points: np.ndarray, opinion: np.ndarray | None = None) -> list[Fault]:
    """Everything in one set of landmarks that does not look like good annotation.

    Args:
        norm: Learned from other people.
        points: LPS mm, shape `(L, 3)`, in the order of `norm.names`; NaN where not defined.
        opinion: Where others have them in the same scan, LPS mm, shape `(L, 3)`, NaN or `None` where there are none.
    """
    opinion = np.full_like(points, np.nan) if opinion is None else opinion
    faults = [
        Fault(name, "missing", expected=_place(norm.expect(points, opinion, index)[0]))
        for index, name in enumerate(norm.names)
        if norm.usual[index] and not np.isfinite(points[index]).all()
    ]
    mirror = _mirror(norm, points)
    if mirror:
        faults.append(Fault("", "mirrored", other=mirror))
        centre = np.nanmean(points, axis=0)
        points, opinion = (points - centre) * MIRRORS[mirror] + centre, np.full_like(points, np.nan)
    order = _unswapped(norm, points, opinion)
    good = points[order]
    for index in _misplaced(norm, good, opinion):
        good[index] = np.nan
    for index, name in enumerate(norm.names):
        if not np.isfinite(points[index]).all():
            continue
        expected, spread = norm.expect(good, opinion, index)
        distance = float(np.linalg.norm(points[index] - expected))
        found = distance, distance / spread, _place(expected)
        if order[index] != index:
            faults.append(Fault(name, "swapped", *found, other=norm.names[np.flatnonzero(order == index)[0]]))
        elif not np.isfinite(good[index]).all():
            other = _whose_place(norm, good, opinion, points[index], index)
            faults.append(Fault(name, "mislabelled" if other else "misplaced", *found, other=other))
    return faults


def scores(norm: Norm, points: np.ndarray, opinion: np.ndarray) -> np.ndarray:
    """Distances from where the landmarks are expected, in spreads of good points; shape `(L,)`, NaN where unknown."""
    found = np.full(len(points), np.nan)
    for index in np.flatnonzero(np.isfinite(points).all(axis=1)):
        expected, spread = norm.expect(points, opinion, index)
        found[index] = np.linalg.norm(points[index] - expected) / spread
    return found


def _mirror(norm: Norm, points: np.ndarray) -> str:
    """Which axes are exchanged: that whose mirror image fits the mean shape clearly better, `""` where none does."""
    there = np.isfinite(points + norm.shapes.mean).all(axis=1)
    if there.sum() <= LEFT:
        return ""
    mean = norm.shapes.mean[there] - norm.shapes.mean[there].mean(axis=0)
    centred = points[there] - points[there].mean(axis=0)
    misfits = {name: np.linalg.norm(centred * signs - mean, axis=1) for name, signs in MIRRORS.items()}
    best = min(misfits, key=lambda name: np.median(misfits[name]))
    as_is = np.linalg.norm(centred - mean, axis=1)
    return best if np.median(misfits[best]) < CLEARLY * np.median(as_is) else ""


def _unswapped(norm: Norm, points: np.ndarray, opinion: np.ndarray) -> np.ndarray:
    """The order of the points in which every swapped pair is put right, shape `(L,)`."""
    order = np.arange(len(points))
    cost = _cost(norm, scores(norm, points, opinion))
    while pair := _likeliest_swap(norm, points[order]):
        tried = order.copy()
        tried[list(pair)] = order[list(pair[::-1])]
        found = scores(norm, points[tried], opinion)
        # both points must be good at each other's place, or they are no pair
        if _cost(norm, found) >= cost or max(found[list(pair)]) > norm.threshold:
            break
        order, cost = tried, _cost(norm, found)
    return order


def _likeliest_swap(norm: Norm, points: np.ndarray) -> tuple[int, int] | None:
    """The pair whose exchange brings the set closest to the mean shape; `None` where none does."""
    there = np.flatnonzero(np.isfinite(points + norm.shapes.mean).all(axis=1))
    mean, spreads = norm.shapes.mean[there], norm.shape_spreads_mm[there]

    def misfit(candidate: np.ndarray) -> float:
        distances = np.linalg.norm(align(candidate, mean).forward(candidate) - mean, axis=1) / spreads
        return float(np.minimum(distances, 2 * norm.threshold).sum())

    best, least = None, misfit(points[there])
    for first, second in itertools.combinations(range(len(there)), 2):
        exchanged = points[there]
        exchanged[[first, second]] = exchanged[[second, first]]
        if (found := misfit(exchanged)) < least:
            best, least = (int(there[first]), int(there[second])), found
    return best


def _misplaced(norm: Norm, points: np.ndarray, opinion: np.ndarray) -> list[int]:
    """Points that lie too far from where the others put them: set aside one by one, so that none blames another."""
    kept, aside = points.copy(), []
    while np.isfinite(kept).all(axis=1).sum() > LEFT:
        found = np.nan_to_num(scores(norm, kept, opinion))
        accused = [index for index in np.argsort(-found)[:ACCUSED] if found[index] > norm.threshold]
        if not accused:
            break
        worst = min(accused, key=lambda index: _unlikelihood(norm, _without(kept, index), opinion))
        kept = _without(kept, worst)
        aside.append(int(worst))
    guilty = []
    for index in aside:  # judged again by those that are above suspicion
        expected, spread = norm.expect(kept, opinion, index)
        if np.linalg.norm(points[index] - expected) > norm.threshold * spread:
            guilty.append(index)
    return guilty


def _cost(norm: Norm, found: np.ndarray) -> float:
    """How badly a set fits, a single point counting no more than twice the threshold."""
    return float(np.nansum(np.minimum(found, 2 * norm.threshold) ** 2))


def _unlikelihood(norm: Norm, points: np.ndarray, opinion: np.ndarray) -> float:
    """How unlikely a set is, by the normal distribution: what fits only as little is known of it, is not likely."""
    total = 0.0
    for index in np.flatnonzero(np.isfinite(points).all(axis=1)):
        expected, spread = norm.expect(points, opinion, index)
        score = np.linalg.norm(points[index] - expected) / spread
        total += np.nan_to_num(min(score, 2 * norm.threshold) ** 2 + 6 * np.log(spread))
    return float(total)


def _without(points: np.ndarray, index: int) -> np.ndarray:
    fewer = points.copy()
    fewer[index] = np.nan
    return fewer


def _whose_place(norm: Norm, good: np.ndarray, opinion: np.ndarray, point: np.ndarray, index: int) -> str:
    """The other landmark at whose expected place the point lies; `""` where there is none."""
    nearest, name = norm.threshold, ""
    for other in range(len(norm.names)):
        expected, spread = norm.expect(good, opinion, other)
        score = np.linalg.norm(point - expected) / spread
        if other != index and score < nearest:
            nearest, name = score, norm.names[other]
    return name


def _place(expected: np.ndarray) -> tuple[float, float, float] | None:
    return tuple(float(value) for value in expected) if np.isfinite(expected).all() else None
