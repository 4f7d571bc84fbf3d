"""Asymmetry of pairs of landmarks: how far a right one lies from the mirror image of its left one.

The mirror is the plane that brings all pairs and the points on it nearest to their own images. It is found robustly, so
that one pair that lies apart does not turn it (object symmetry: Mardia, Bookstein and Moreton, Biometrika 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet

FEWEST = 3  # pairs and midline points together, of which one pair at least
ROUNDS = 20  # of weighing them
OUTLIER = 3.0  # typical misses beyond which one counts less
SMALLEST_MM = 0.1  # misses below count alike
MIDLINE = 0.03  # of the template's largest extent: unpaired landmarks so near the plane of the pairs are midline points


@dataclass(frozen=True, eq=False)
class SymmetryPlane:
    """The mirror of a body.

    Args:
        point: On it, LPS mm, `(3,)`.
        axes: Unit vectors as rows, `(3, 3)`: to the left, normal to the plane; backwards and upwards, in the plane.
    """

    point: np.ndarray
    axes: np.ndarray

    def mirrored(self, points: np.ndarray) -> np.ndarray:
        """Mirror images of points `(N, 3)`."""
        normal = self.axes[0]
        return points - 2 * ((points - self.point) @ normal)[..., None] * normal


@dataclass(frozen=True, eq=False)
class PairAsymmetry:
    """Of one pair.

    Args:
        left, right: Names.
        vector_mm: Mirror image of the left one minus the right one, to the left, backwards and upwards, `(3,)`.
        expected_error_mm: Of the vector's length, by the expected errors of both; `None` where they have none.
        template_mm: The vector in the template, `(3,)`; `None` where it is not known.
    """

    left: str
    right: str
    vector_mm: np.ndarray
    expected_error_mm: float | None = None
    template_mm: np.ndarray | None = None

    @property
    def length_mm(self) -> float:
        """Of the vector."""
        return float(np.linalg.norm(self.vector_mm))

    @property
    def is_within_error(self) -> bool:
        """Whether it is smaller than its expected error, and may be none."""
        return self.expected_error_mm is not None and self.length_mm < self.expected_error_mm

    def report(self) -> dict[str, Any]:
        """As JSON takes it."""
        rounded = [round(float(value), 4) for value in self.vector_mm]
        return {
            "left": self.left,
            "right": self.right,
            "vector_mm": rounded,
            "length_mm": round(self.length_mm, 4),
            "expected_error_mm": self.expected_error_mm and round(self.expected_error_mm, 4),
            "within_expected_error": self.is_within_error,
            "template_mm": None if self.template_mm is None else [round(float(value), 4) for value in self.template_mm],
        }


@dataclass(frozen=True, eq=False)
class Asymmetry:
    """Of one body.

    Args:
        plane: Its mirror.
        midline: Names of the points that helped to find it beside the pairs.
        pairs: In the order of the landmarks.
    """

    plane: SymmetryPlane
    midline: tuple[str, ...]
    pairs: tuple[PairAsymmetry, ...]

    def report(self) -> dict[str, Any]:
        """As JSON takes it, LPS mm."""
        return {
            "plane": {"point": self.plane.point.tolist(), "normal": self.plane.axes[0].tolist()},
            "axes": {"left": self.plane.axes[0].tolist(), "posterior": self.plane.axes[1].tolist()}
            | {"superior": self.plane.axes[2].tolist()},
            "midline": list(self.midline),
            "pairs": [pair.report() for pair in self.pairs],
        }


def asymmetry(template: LandmarkSet, placed: LandmarkSet, pairs: Sequence[tuple[str, str]]) -> Asymmetry | None:
    """Asymmetry of the placed landmarks beside the template's; `None` where too few of them are placed.

    Args:
        template: Names midline points by where they lie.
        placed: The same landmarks in a target.
        pairs: Names of left and right ones.
    """
    own = _body(template, pairs, _midline(template, pairs))
    found = _body(placed, pairs, _midline(template, pairs))
    if found is None:
        return None
    plane, midline, known = found
    errors = {one.name: one.expected_error_mm for one in placed}
    of_template = {} if own is None else _vectors(template, own[0], own[2])
    vectors = _vectors(placed, plane, known)
    return Asymmetry(
        plane,
        midline,
        tuple(
            PairAsymmetry(*pair, vector, _combined(errors[pair[0]], errors[pair[1]]), of_template.get(pair))
            for pair, vector in vectors.items()
        ),
    )


def fit_plane(lefts: np.ndarray, rights: np.ndarray, midline: np.ndarray) -> SymmetryPlane:
    """The mirror that brings lefts nearest to rights, `(N, 3)` each, and midline points `(M, 3)` nearest to themselves.

    Its first axis points to the lefts. The second is the backward axis of LPS, as far as that lies in the plane.
    """
    middles = np.concatenate([(lefts + rights) / 2, midline])
    across = np.concatenate([lefts - rights, np.zeros_like(midline)])
    weights = np.ones(len(middles))
    for _ in range(ROUNDS):
        share = weights / weights.sum()
        point = share @ middles
        apart = middles - point
        # A mirror misses a pair by |across|² - (across·n)² + 4 (apart·n)²: the least eigenvector has the least miss.
        table = 4 * (apart.T * share) @ apart - (across.T * share) @ across
        normal = np.linalg.eigh(table)[1][:, 0]
        off = 4 * (apart @ normal) ** 2 + (across**2).sum(1) - (across @ normal) ** 2
        off = np.sqrt(np.maximum(off, 0))
        limit = OUTLIER * max(float(np.median(off)), SMALLEST_MM)
        weights = np.minimum(1, limit / np.maximum(off, 1e-12)) ** 2
    normal = normal * (1 if across.sum(0) @ normal >= 0 else -1)
    backward = np.array([0.0, 1.0, 0.0]) - normal[1] * normal
    if np.linalg.norm(backward) < 0.1:  # a body on its side, whose left is LPS's back
        backward = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    backward /= np.linalg.norm(backward)
    return SymmetryPlane(point, np.stack([normal, backward, np.cross(normal, backward)]))


def _body(
    landmarks: LandmarkSet, pairs: Sequence[tuple[str, str]], midline: Sequence[str]
) -> tuple[SymmetryPlane, tuple[str, ...], list[tuple[str, str]]] | None:
    """The mirror of a set, and which of the midline points and pairs have a position in it."""
    places = _places(landmarks)
    known = [pair for pair in pairs if all(name in places for name in pair)]
    middle = tuple(name for name in midline if name in places)
    if not known or len(known) + len(middle) < FEWEST:
        return None
    lefts, rights = (np.array([places[pair[side]] for pair in known]) for side in (0, 1))
    return fit_plane(lefts, rights, np.array([places[name] for name in middle]).reshape(-1, 3)), middle, known


def _midline(template: LandmarkSet, pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Unpaired landmarks that lie in the mirror of the pairs; none where a single pair says too little of it."""
    of_pairs = _body(template, pairs, ())
    if of_pairs is None:
        return ()
    plane, _, known = of_pairs
    places, paired = _places(template), {name for pair in known for name in pair}
    limit = MIDLINE * np.ptp(np.array(list(places.values())), axis=0).max()
    return tuple(
        name
        for name, place in places.items()
        if name not in paired and abs((place - plane.point) @ plane.axes[0]) < limit
    )


def _vectors(
    landmarks: LandmarkSet, plane: SymmetryPlane, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], np.ndarray]:
    places = _places(landmarks)
    return {pair: plane.axes @ (plane.mirrored(places[pair[0]]) - places[pair[1]]) for pair in pairs}


def _places(landmarks: LandmarkSet) -> dict[str, np.ndarray]:
    return {one.name: np.array(one.position, float) for one in landmarks if one.is_defined}


def _combined(left: float | None, right: float | None) -> float | None:
    """Expected error of a difference of two places whose errors do not depend on one another."""
    return None if left is None or right is None else float(np.hypot(left, right))
