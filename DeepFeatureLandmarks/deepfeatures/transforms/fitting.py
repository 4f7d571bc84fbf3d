"""Transforms of every kind, fitted to pairs of landmarks: robust, and weighted by each one's expected error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.transforms.anchoring import folds_beside_anchors
from deepfeatures.transforms.bspline import fit_bspline
from deepfeatures.transforms.cpab import fit_cpab
from deepfeatures.transforms.folding import folded_share, share_text
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.linear import LinearTransform, fit_affine, fit_similarity
from deepfeatures.transforms.pairing import LandmarkPairs
from deepfeatures.transforms.thin_plate_spline import fit_thin_plate_spline
from deepfeatures.transforms.transform import Transform

TransformKind = Literal["rigid", "similarity", "affine", "tps", "bspline", "cpab"]
KINDS: tuple[str, ...] = get_args(TransformKind)
ELASTIC = ("tps", "bspline", "cpab")
FIELD = "field"  # the kind that a search finds

FEWEST = 3  # pairs from which a rotation follows
FLAT = 0.02  # of the longest extent: points that leave a line or a plane by less do not settle what lies across it
ROUNDS = 10  # of weighing pairs by their residuals
OUTLIER = 3.0  # median residuals beyond which a pair counts less
MEAN_LENGTH = 1.596  # of a Gaussian error in 3D, in standard deviations along one axis
MIRRORED = 0.5  # of the residual: a mirror image that leaves less is taken for the truth
MIRRORED_FROM = 0.1  # of the points' extent: no residual below this is suspected
MISSED_MM = 5.0  # by which a field must pass a point that it is said to miss
MARGIN = 0.1  # of the longest edge by which the box around the points is larger


@dataclass(frozen=True, eq=False)
class Fit:
    """A transform from template points to target points, and how near it comes.

    Args:
        transform: LPS mm.
        kind: What was fitted: a lower kind than asked for where the points do not settle that; a note says so. `FIELD`
            of what a search has found.
        residuals_mm: Distance of each carried point to its target, `(N,)`.
        weights: How much each pair counts beside the others, `(N,)`, at most 1; less where it contradicts them.
        folded_share: Of the box in which the Jacobian determinant is not positive, 0 to 1.
        notes: What people should know.
    """

    transform: Transform
    kind: str
    residuals_mm: np.ndarray
    weights: np.ndarray
    folded_share: float
    notes: tuple[Note, ...] = ()


def fit_transform(kind: TransformKind, pairs: LandmarkPairs, box: Grid | None = None) -> Fit:
    """The transform of a kind that brings the template's points near their targets.

    Least squares, where pairs of a large expected error count less. A pair counts less, too, where its residual is more
    than three times the median. A thin plate spline meets what persons have placed, and smooths what a search has found
    by its expected error.

    Args:
        kind: Which.
        pairs: At least three, not all on one line.
        box: In which the transform is to be used, most often of the template's voxels; around the points where `None`.

    Raises:
        InputError: Too few pairs, all on one line, or mirrored.
    """
    box = box or _box_around(pairs.points)
    _check(pairs)
    fitted, notes = _fitting_kind(kind, pairs)
    linear, weights = _robust_linear(fitted if fitted not in ELASTIC else "affine", pairs)
    transform: Transform = linear
    if fitted == "tps":
        transform, weights = fit_thin_plate_spline(pairs.points, pairs.targets, _variances(pairs))
    elif fitted in ELASTIC:
        transform, weights = _elastic(fitted, pairs, linear, box)
    residuals = np.linalg.norm(transform(pairs.points) - pairs.targets, axis=1)
    folded = folded_share(transform, box)
    folds = _folds(fitted, folded, _folded_names(transform, pairs))
    notes = (*pairs.notes, *notes, *_doubts(pairs, residuals, weights), *folds)
    return Fit(transform, fitted, residuals, weights, folded, notes)


def compare_with_pairs(found: Transform, pairs: LandmarkPairs, box: Grid) -> Fit:
    """What a search has found, beside pairs that had no part in it.

    Args:
        found: Template points to target points.
        pairs: Any number, or none.
        box: As of `fit_transform`.
    """
    residuals = np.linalg.norm(found(pairs.points) - pairs.targets, axis=1)
    notes = (*pairs.notes, *_missed(pairs, residuals))
    return Fit(found, FIELD, residuals, np.ones(len(pairs)), folded_share(found, box), notes)


def _elastic(kind: str, pairs: LandmarkPairs, linear: LinearTransform, box: Grid) -> tuple[Transform, np.ndarray]:
    """What is left after the affine part, bent within the template."""
    _, weights = fit_thin_plate_spline(pairs.points, pairs.targets, _variances(pairs))
    trust = weights / (_variances(pairs) + 1.0)
    before = linear.inverted()(pairs.targets)
    corners = np.concatenate([box.to_world(_corners(box)), pairs.points, before])
    fit: Callable[..., Transform] = fit_bspline if kind == "bspline" else fit_cpab
    bent = fit(pairs.points, before, trust / trust.max(), corners.min(0), corners.max(0))
    return bent.then(linear), weights


def _robust_linear(kind: str, pairs: LandmarkPairs) -> tuple[LinearTransform, np.ndarray]:
    """Least squares among the pairs that agree, and how much each counts."""
    points, targets = pairs.points, pairs.targets
    trust = agreement = np.ones(len(pairs))
    for _ in range(ROUNDS):
        transform = _linear(kind, points, targets, trust * agreement)
        residuals = np.linalg.norm(transform(points) - targets, axis=1)
        typical = float(np.median(residuals))
        trust = 1 / (3 * _variances(pairs) + typical**2 + 1e-6)
        trust = trust / trust.max()
        agreement = np.minimum(1.0, (OUTLIER * typical + 1e-3) / np.maximum(residuals, 1e-9)) ** 2
    return transform, trust * agreement


def _linear(kind: str, points: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> LinearTransform:
    if kind == "affine":
        return fit_affine(points, targets, weights)
    return fit_similarity(points, targets, weights, with_scale=kind == "similarity")


def _variances(pairs: LandmarkPairs) -> np.ndarray:
    """Expected squared error of each target along one axis, mm², `(N,)`."""
    return (pairs.expected_errors_mm / MEAN_LENGTH) ** 2


def _check(pairs: LandmarkPairs) -> None:
    if len(pairs) < FEWEST:
        raise InputError(
            f"A transform needs at least {FEWEST} landmarks that have a place in both volumes, and there are"
            f" {len(pairs)}; place more of them."
        )
    for points, where in ((pairs.points, "template"), (pairs.targets, "target")):
        extents = _extents(points)
        if extents[1] <= FLAT * extents[0]:
            raise InputError(
                f"All landmarks lie on one line in the {where}, so that no rotation about it is known; place one more"
                " beside it."
            )
    _check_mirrored(pairs)


def _check_mirrored(pairs: LandmarkPairs) -> None:
    if not _settles_affine(pairs):
        return
    even = np.ones(len(pairs))
    turned, mirrored = (
        fit_similarity(points, pairs.targets, even)(points) - pairs.targets
        for points in (pairs.points, pairs.points * (-1, 1, 1))
    )
    off, off_mirrored = (float(np.median(np.linalg.norm(one, axis=1))) for one in (turned, mirrored))
    if off > MIRRORED_FROM * _extents(pairs.targets)[0] and off_mirrored < MIRRORED * off:
        raise InputError(
            "The landmarks of the target are a mirror image of the template's; check whether left and right names are"
            " exchanged, or in which frame (LPS or RAS) the files are."
        )


def _fitting_kind(kind: TransformKind, pairs: LandmarkPairs) -> tuple[TransformKind, tuple[Note, ...]]:
    """The kind that the points settle."""
    if kind in ("rigid", "similarity") or _settles_affine(pairs):
        return kind, ()
    why = f"{len(pairs)} landmarks" if len(pairs) == FEWEST else "landmarks in one plane"
    text = f"{why} do not settle a transform of the kind {kind}: it is a similarity; place landmarks across the plane"
    return "similarity", (Note(NoteKind.TRANSFORM, text),)


def _settles_affine(pairs: LandmarkPairs) -> bool:
    return len(pairs) > FEWEST and all(
        extents[2] > FLAT * extents[0] for extents in (_extents(pairs.points), _extents(pairs.targets))
    )


def _doubts(pairs: LandmarkPairs, residuals: np.ndarray, weights: np.ndarray) -> tuple[Note, ...]:
    """A note of the pairs that contradict the others."""
    usual = float(np.median(residuals))
    is_odd = (weights < 0.25 * np.median(weights)) & (residuals > OUTLIER * usual)
    odd = np.flatnonzero(is_odd[: pairs.landmarks])  # a search's keypoints may contradict each other
    if not len(odd):
        return ()
    names = ", ".join(
        f"{pairs.names[index]} ({residuals[index]:.1f} mm)" for index in odd[np.argsort(-residuals[odd])][:3]
    )
    return (Note(NoteKind.TRANSFORM, f"some pairs contradict the others and count less, look at them: {names}"),)


def _folded_names(transform: Transform, pairs: LandmarkPairs) -> str:
    """Of landmarks beside which a thin plate spline folds."""
    return ", ".join(pairs.names[index] for index in np.flatnonzero(folds_beside_anchors(transform))[:3])


def _missed(pairs: LandmarkPairs, residuals: np.ndarray) -> tuple[Note, ...]:
    """A note of the pairs that a field passes far away, farther than it passes the others."""
    if not len(pairs):
        return ()
    missed = np.flatnonzero((residuals > MISSED_MM) & (residuals > OUTLIER * np.median(residuals))).tolist()
    if not missed:
        return ()
    text = (
        f"the field of the search passes {names_text([pairs.names[index] for index in missed])} by up to"
        f" {residuals[missed].max():.0f} mm: points that a person moves or gives count in the other kinds only"
    )
    return (Note(NoteKind.TRANSFORM, text),)


def _folds(kind: str, folded: float, beside: str) -> tuple[Note, ...]:
    if not folded:
        return ()
    advice = "look at pairs that lie near each other and point apart" + ("; cpab never folds" if kind != "cpab" else "")
    where = f"in {share_text(folded)} of the box" + (f", beside {beside}," if beside else "")
    return (Note(NoteKind.TRANSFORM, f"the transform folds {where} and has no inverse there: {advice}"),)


def _extents(points: np.ndarray) -> np.ndarray:
    """Along the principal axes, the longest first, `(3,)`."""
    return np.linalg.svd(points - points.mean(0), compute_uv=False)


def _box_around(points: np.ndarray) -> Grid:
    low, high = points.min(0), points.max(0)
    margin = MARGIN * float((high - low).max())
    edges = np.maximum(high - low + 2 * margin, 1.0)
    return Grid(low - margin, edges, np.eye(3), (2, 2, 2))


def _corners(box: Grid) -> np.ndarray:
    last = np.array(box.size, float) - 1
    return np.array([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
