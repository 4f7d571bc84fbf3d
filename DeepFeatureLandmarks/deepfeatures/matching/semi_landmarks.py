"""Semi-landmarks: points along a curve or on a surface, which slide where features leave their place open.

Features settle where a curve lies, but hardly where along it a point belongs. So each point slides along the tangent of
the curve, or in the tangent plane of the surface. All points together go where the thin plate spline from template to
target has the least bending energy (Bookstein 1997; Gunz and Mitteroecker, Hystrix 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfeatures.data.semi_landmarks import SemiLandmarks
from deepfeatures.transforms.thin_plate_spline import bending_energy_matrix

ROUNDS = 100  # of sliding, at most
SETTLED_MM = 0.01  # where it stops
SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # of a step, of which the first is taken that lowers the energy
REACH = 0.4  # of the distance to the nearest point of the shape: no point slides further in one round
SAME_PLACE_MM = 0.01  # a point of a shape so near a landmark is the landmark
STEPS = 20  # of a curve between two of its points
NEIGHBOURS = 12  # of a place on a surface, by which its tangent plane and its curvature are told
RIDGE = 1e-9  # of the energy, against sliding that changes nothing


@dataclass(frozen=True, eq=False)
class _Track:
    """What the points of one shape slide along.

    Args:
        numbers: Of its points among all.
        sliding: Which of these slide.
        settled: Where features put those that were found, LPS mm, `(F, 3)`.
        line: The smooth line through these, `(Q, 3)`; `None` for a surface.
    """

    numbers: np.ndarray
    sliding: np.ndarray
    settled: np.ndarray
    line: np.ndarray | None

    def nearest(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest places on it to places, `(N, 3)`, and directions in which each may slide, `(N, 1 or 2, 3)`."""
        return onto_surface(places, self.settled) if self.line is None else onto_line(places, self.line)


@dataclass(frozen=True, eq=False)
class _Sliding:
    """All points somewhere on their tracks.

    Args:
        places: LPS mm, `(N, 3)`.
        which, along: Numbers of points, and a direction in which each may go, `(D,)` and `(D, 3)`; a point that was
            not found has all three.
    """

    places: np.ndarray
    which: np.ndarray
    along: np.ndarray

    @classmethod
    def at(cls, places: np.ndarray, tracks: Sequence[_Track], lost: np.ndarray) -> _Sliding:
        """The points at places `(N, 3)`, those that slide moved onto their tracks."""
        places, which, along = places.copy(), [np.repeat(lost, 3)], [np.tile(np.eye(3), (len(lost), 1))]
        for track in tracks:
            if len(track.sliding):
                places[track.sliding], ways = track.nearest(places[track.sliding])
                which.append(np.repeat(track.sliding, ways.shape[1]))
                along.append(ways.reshape(-1, 3))
        return cls(places, np.concatenate(which), np.concatenate(along))

    def step(self, bending: np.ndarray) -> np.ndarray:
        """From each place towards the least energy `(N, 3)`, straight along the directions."""
        shift = np.zeros_like(self.places)
        if len(self.which):
            table = (self.along @ self.along.T) * bending[np.ix_(self.which, self.which)]
            slope = (self.along * (bending @ self.places)[self.which]).sum(1)
            np.add.at(shift, self.which, -_solved(table, slope)[:, None] * self.along)
        return shift

    def energy(self, bending: np.ndarray) -> float:
        """Of the spline from template to target."""
        return float(np.einsum("ni,nm,mi->", self.places, bending, self.places))


def slide(
    shapes: Sequence[SemiLandmarks],
    settled: Sequence[np.ndarray],
    landmarks: np.ndarray,
    places: np.ndarray,
    expected_errors_mm: Sequence[np.ndarray] | None = None,
) -> tuple[np.ndarray, ...]:
    """Where the points of all shapes lie after sliding, LPS mm of the target, `(N, 3)` for each shape.

    Points that were not found have no place of their own: they go wherever the bending is least.

    Args:
        shapes: In the template.
        settled: Where features put their points in the target, `(N, 3)` each, NaN rows where they were not found; of
            each shape as many as `semi_landmarks.FEWEST` were.
        landmarks, places: Landmarks in template and target, which do not slide, LPS mm, `(L, 3)`.
        expected_errors_mm: Of the settled points, `(N,)` each, NaN where not known. No point slides further than
            that, for so far features leave its place open; where it is not known, no further than to its neighbours.
    """
    if not shapes:
        return ()
    known = np.concatenate([landmarks, *(shape.positions for shape in shapes)])
    start = np.concatenate([places, *settled])
    firsts = len(landmarks) + np.cumsum([0, *(len(shape) for shape in shapes)])
    numbers = [np.arange(first, first + len(shape)) for shape, first in zip(shapes, firsts, strict=False)]
    is_pinned = _pin(known, start, shapes, numbers, len(landmarks))
    lost = np.flatnonzero(np.isnan(start).any(1))
    bending = bending_energy_matrix(known)
    tracks = [_track(shape, own, start, is_pinned) for shape, own in zip(shapes, numbers, strict=True)]
    start[lost] = _least_bending(start, bending, lost)
    limits = _limits(start, tracks)
    if expected_errors_mm is not None:
        errors = np.concatenate([np.full(len(landmarks), np.nan), *expected_errors_mm])
        limits = np.where(np.isnan(errors) | np.isinf(limits), limits, errors)
    now = _Sliding.at(start, tracks, lost)
    for _ in range(ROUNDS):
        before = now
        step = _shortened(now.step(bending), REACH * _limits(now.places, tracks))
        ends = (start + _shortened(before.places + share * step - start, limits) for share in SHARES)
        tries = (_Sliding.at(places, tracks, lost) for places in ends)
        now = next((one for one in tries if one.energy(bending) < before.energy(bending)), before)
        if np.linalg.norm(now.places - before.places, axis=1).max() < SETTLED_MM:
            break
    return tuple(now.places[own] for own in numbers)


def smooth_line(points: np.ndarray, is_closed: bool) -> np.ndarray:
    """Places along the cubic spline through points `(N, 3)` in order, `STEPS` between two of them, `(Q, 3)`.

    Each tangent is that of the parabola through a point and its neighbours, by their distances.
    """
    if is_closed:
        points = np.concatenate([points[-1:], points, points[:2]])
    chords = np.maximum(np.linalg.norm(np.diff(points, axis=0), axis=1), 1e-9)[:, None]
    slopes = np.diff(points, axis=0) / chords
    inner = (slopes[:-1] * chords[1:] + slopes[1:] * chords[:-1]) / (chords[:-1] + chords[1:])
    tangents = np.concatenate([2 * slopes[:1] - inner[:1], inner, 2 * slopes[-1:] - inner[-1:]])
    t = (np.arange(STEPS) / STEPS)[:, None, None]
    line = (
        (2 * t**3 - 3 * t**2 + 1) * points[:-1]
        + (t**3 - 2 * t**2 + t) * chords * tangents[:-1]
        + (3 * t**2 - 2 * t**3) * points[1:]
        + (t**3 - t**2) * chords * tangents[1:]
    )
    line = np.concatenate([line.transpose(1, 0, 2).reshape(-1, 3), points[-1:]])
    return line[STEPS:-STEPS] if is_closed else line


def _track(shape: SemiLandmarks, numbers: np.ndarray, start: np.ndarray, is_pinned: np.ndarray) -> _Track:
    """The track of a shape, through those of its points that were found."""
    found = numbers[~np.isnan(start[numbers]).any(1)]
    line = None if shape.kind == "surface" else smooth_line(start[found], shape.kind == "closed curve")
    return _Track(numbers, found[~is_pinned[found]], start[found], line)


def _pin(
    known: np.ndarray, start: np.ndarray, shapes: Sequence[SemiLandmarks], numbers: Sequence[np.ndarray], landmarks: int
) -> np.ndarray:
    """Which points do not slide; those of shapes that are landmarks are put where these lie."""
    is_pinned = np.arange(len(known)) < landmarks
    for shape, own in zip(shapes, numbers, strict=True):
        is_pinned[own[list(shape.ends)]] = True
    if landmarks:
        apart = np.linalg.norm(known[landmarks:, None] - known[:landmarks], axis=2)
        same = np.flatnonzero(apart.min(1) < SAME_PLACE_MM)
        start[landmarks + same] = start[apart[same].argmin(1)]
        is_pinned[landmarks + same] = True
    return is_pinned


def _least_bending(start: np.ndarray, bending: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Where points that were not found lie with the least energy, `(M, 3)`."""
    found = np.setdiff1d(np.arange(len(start)), lost)
    return -_solved(bending[np.ix_(lost, lost)], bending[np.ix_(lost, found)] @ start[found])


def _solved(table: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of a table `(N, N)` that may leave directions open, in which nothing moves."""
    ridge = RIDGE * max(float(np.trace(table)), 1e-12)
    return np.linalg.solve(table + ridge * np.eye(len(table)), right)


def _shortened(steps: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Steps `(N, 3)`, none of them longer than its limit, `(N,)`."""
    length = np.maximum(np.linalg.norm(steps, axis=1), 1e-12)
    return steps * np.minimum(1, limits / length)[:, None]


def _limits(places: np.ndarray, tracks: Sequence[_Track]) -> np.ndarray:
    """How far it is from each sliding point to the nearest of its shape, `(N,)`; infinite for others."""
    limits = np.full(len(places), np.inf)
    for track in tracks:
        apart = np.linalg.norm(places[track.sliding, None] - places[track.numbers], axis=2)
        apart[track.sliding[:, None] == track.numbers] = np.inf
        limits[track.sliding] = apart.min(1, initial=np.inf)
    return limits


def onto_line(places: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest places of a line of short segments `(Q, 3)`, and its directions there, `(N, 1, 3)`."""
    start, step = line[:-1], np.diff(line, axis=0)
    squared = np.maximum((step**2).sum(1), 1e-12)
    share = ((places[:, None] - start) * step).sum(2) / squared
    feet = start + np.clip(share, 0, 1)[..., None] * step
    best = np.linalg.norm(feet - places[:, None], axis=2).argmin(1)
    return feet[np.arange(len(places)), best], (step / np.sqrt(squared)[:, None])[best][:, None]


def onto_surface(places: np.ndarray, settled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places `(N, 3)` moved along the normal onto the curved surface through points `(F, 3)`, and two directions in it.

    Around each place the surface is a quadratic function over the plane through the points beside it.
    """
    apart = np.linalg.norm(places[:, None] - settled, axis=2)
    offsets = settled[np.argsort(apart, 1)[:, :NEIGHBOURS]] - places[:, None]
    weights = _nearness(offsets)
    centred = offsets - (weights * offsets).sum(1, keepdims=True)
    axes = np.linalg.svd(centred * weights**0.5, full_matrices=True)[2]
    x, y, height = np.einsum("nfi,nai->anf", offsets, axes)
    weights = _nearness(np.stack([x, y], 2))[..., 0] ** 0.5
    table = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 2) * weights[..., None]
    fitted = (np.linalg.pinv(table, rcond=1e-6) @ (weights * height)[..., None])[..., 0]
    normal = axes[:, 2]
    ways = axes[:, :2] + fitted[:, 1:3, None] * normal[:, None]
    return places + fitted[:, :1] * normal, ways


def _nearness(offsets: np.ndarray) -> np.ndarray:
    """By how much points at offsets `(N, F, D)` count, `(N, F, 1)`, in total 1: a Gaussian of half the largest."""
    distances = np.linalg.norm(offsets, axis=2, keepdims=True)
    weights = np.exp(-2 * (distances / np.maximum(distances.max(1, keepdims=True), 1e-9)) ** 2)
    return weights / weights.sum(1, keepdims=True)
