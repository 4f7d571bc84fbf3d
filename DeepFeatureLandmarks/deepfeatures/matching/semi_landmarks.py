"""Semi-landmarks: points along a curve or on a surface, which slide where features leave their place open.

Features settle where a curve lies, but hardly where along it a point belongs. So each point slides along the tangent of
the curve, or in the tangent plane of the surface, to where all points together bend the template least: the bending
energy of the thin plate spline from template to target (Bookstein 1997; Gunz and Mitteroecker, Hystrix 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfeatures.data.semi_landmarks import SemiLandmarkKind, SemiLandmarks
from deepfeatures.transforms.thin_plate_spline import bending_energy_matrix

ROUNDS = 100  # of sliding, at most
SETTLED_MM = 0.01  # where it stops
REACH = 0.5  # of the distance to the nearest point of the shape: no point slides further in one round
SAME_PLACE_MM = 0.01  # a point of a shape so near a landmark is the landmark
STEPS = 20  # of a curve between two of its points
NEIGHBOURS = 8  # of a point of a surface, through which its tangent plane goes
RIDGE = 1e-9  # of the energy, against sliding that changes nothing


@dataclass(frozen=True, eq=False)
class _Shape:
    """One of the shapes among all points.

    Args:
        kind: Of the shape.
        numbers: Of its points among all.
        settled: Where features put those that were found, LPS mm, `(F, 3)`.
    """

    kind: SemiLandmarkKind
    numbers: np.ndarray
    settled: np.ndarray

    def tangents(self, places: np.ndarray, number: int) -> np.ndarray:
        """Directions in which its point of a number may slide, `(1, 3)` or `(2, 3)`, from the places of all of them."""
        if self.kind == "surface":
            return _tangent_plane(places[number], places)[1][:2]
        count = len(places)
        before, after = (
            ((number - 1) % count, (number + 1) % count)
            if self.kind == "closed curve"
            else (max(number - 1, 0), min(number + 1, count - 1))
        )
        chord = places[after] - places[before]
        return (chord / max(float(np.linalg.norm(chord)), 1e-9))[None]

    def nearest(self, places: np.ndarray) -> np.ndarray:
        """The places of the curve or surface through what was settled that lie nearest to places, `(N, 3)`."""
        if self.kind == "surface":
            return np.array([_onto_surface(place, self.settled) for place in places]).reshape(-1, 3)
        return _onto_line(places, smooth_line(self.settled, self.kind == "closed curve"))


def slide(
    shapes: Sequence[SemiLandmarks], settled: Sequence[np.ndarray], landmarks: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Where the points of all shapes lie after sliding, LPS mm of the target, `(N, 3)` for each shape.

    Points that were not found have no place of their own: they go wherever the bending is least.

    Args:
        shapes: In the template.
        settled: Where features put their points in the target, `(N, 3)` each, NaN rows where they were not found.
        landmarks, places: Landmarks in template and target, which do not slide, LPS mm, `(L, 3)`.
    """
    known = np.concatenate([landmarks, *(shape.positions for shape in shapes)])
    moved = np.concatenate([places, *settled])
    is_pinned = _pin(known, moved, shapes, len(landmarks))
    found = ~np.isnan(moved).any(1)
    energy = bending_energy_matrix(known)
    _complete(moved, energy, found)
    firsts = len(landmarks) + np.cumsum([0, *(len(shape.positions) for shape in shapes)])
    parts = [
        _Shape(shape.kind, numbers, moved[numbers[found[numbers]]])
        for shape, first in zip(shapes, firsts, strict=False)
        for numbers in [np.arange(first, first + len(shape.positions))]
    ]
    reach = np.concatenate([np.zeros(len(landmarks)), *(_reach(moved[part.numbers]) for part in parts)])
    for _ in range(ROUNDS):
        before = moved.copy()
        moved = _slid(moved, energy, parts, is_pinned, found, reach)
        for part in parts:
            on_track = part.numbers[(found & ~is_pinned)[part.numbers]]
            moved[on_track] = part.nearest(moved[on_track])
        if np.linalg.norm(moved - before, axis=1).max() < SETTLED_MM:
            break
    return tuple(moved[part.numbers] for part in parts)


def smooth_line(points: np.ndarray, is_closed: bool) -> np.ndarray:
    """Places along the Catmull-Rom spline through points `(N, 3)` in order, `STEPS` between two of them, `(Q, 3)`."""
    if is_closed:
        around = np.concatenate([points[-1:], points, points[:2]])
    else:
        around = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    share = (np.arange(STEPS) / STEPS)[:, None, None]
    a, b, c, d = around[:-3], around[1:-2], around[2:-1], around[3:]
    line = 0.5 * (2 * b + share * (c - a) + share**2 * (2 * a - 5 * b + 4 * c - d) + share**3 * (3 * b - a - 3 * c + d))
    return np.concatenate([line.transpose(1, 0, 2).reshape(-1, 3), around[-2:-1]])


def _pin(known: np.ndarray, moved: np.ndarray, shapes: Sequence[SemiLandmarks], landmarks: int) -> np.ndarray:
    """Which points do not slide; those of shapes that are landmarks are put where these lie."""
    is_pinned = np.arange(len(known)) < landmarks
    first = landmarks
    for shape in shapes:
        is_pinned[[first + end for end in shape.ends]] = True
        first += len(shape.positions)
    if landmarks:
        apart = np.linalg.norm(known[landmarks:, None] - known[:landmarks], axis=2)
        same = np.flatnonzero(apart.min(1) < SAME_PLACE_MM)
        moved[landmarks + same] = moved[apart[same].argmin(1)]
        is_pinned[landmarks + same] = True
    return is_pinned & ~np.isnan(moved).any(1)


def _complete(moved: np.ndarray, energy: np.ndarray, found: np.ndarray) -> None:
    """Puts points that were not found where the bending is least."""
    lost = ~found
    if lost.any():
        inner = energy[np.ix_(lost, lost)]
        ridge = RIDGE * np.trace(inner) * np.eye(len(inner))
        moved[lost] = -np.linalg.solve(inner + ridge, energy[np.ix_(lost, found)] @ moved[found])


def _slid(
    moved: np.ndarray,
    energy: np.ndarray,
    parts: Sequence[_Shape],
    is_pinned: np.ndarray,
    found: np.ndarray,
    reach: np.ndarray,
) -> np.ndarray:
    """All points after one step to the least bending energy along the directions in which each may go."""
    points, directions = [], []
    for part in parts:
        places = moved[part.numbers]
        for index, number in enumerate(part.numbers):
            if is_pinned[number]:
                continue
            ways = part.tangents(places, index) if found[number] else np.eye(3)
            points += [number] * len(ways)
            directions.append(ways)
    if not points:
        return moved
    which, along = np.array(points), np.concatenate(directions)
    table = (along @ along.T) * energy[np.ix_(which, which)]
    slope = (along * (energy @ moved)[which]).sum(1)
    step = -np.linalg.solve(table + RIDGE * np.trace(table) * np.eye(len(table)), slope)
    shift = np.zeros_like(moved)
    np.add.at(shift, which, step[:, None] * along)
    length = np.linalg.norm(shift, axis=1)
    shift *= np.where(found & (length > reach), reach / np.maximum(length, 1e-12), 1.0)[:, None]
    return moved + shift


def _reach(places: np.ndarray) -> np.ndarray:
    """How far each of the points of a shape may slide in one round, `(N,)`."""
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(apart, np.inf)
    return REACH * apart.min(1)


def _onto_line(places: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The nearest places of a line of short segments `(Q, 3)`."""
    start, step = line[:-1], np.diff(line, axis=0)
    share = ((places[:, None] - start) * step).sum(2) / np.maximum((step**2).sum(1), 1e-12)
    feet = start + np.clip(share, 0, 1)[..., None] * step
    best = np.linalg.norm(feet - places[:, None], axis=2).argmin(1)
    return feet[np.arange(len(places)), best]


def _onto_surface(place: np.ndarray, settled: np.ndarray) -> np.ndarray:
    """A place moved onto the tangent plane of a surface through points `(F, 3)` beside it."""
    middle, axes = _tangent_plane(place, settled)
    return place - ((place - middle) @ axes[2]) * axes[2]


def _tangent_plane(place: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A point of the plane through the points nearest to a place, nearer ones counting more, and its axes as rows.

    The third axis is the normal.
    """
    apart = np.linalg.norm(points - place, axis=1)
    near = np.argsort(apart)[: NEIGHBOURS + 1]
    weights = np.exp(-((apart[near] / max(float(apart[near].max()), 1e-9)) ** 2) * 2)
    weights /= weights.sum()
    middle = weights @ points[near]
    return middle, np.linalg.svd((points[near] - middle) * weights[:, None] ** 0.5, full_matrices=True)[2]
