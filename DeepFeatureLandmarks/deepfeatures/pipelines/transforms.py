"""Transforms from files: fitted to landmarks of the same name, or found by a search; written, and mapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.landmark_checks import check_inside, names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.errors import InputError
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.transform_files import read_transform, write_transform
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.transforms.fitting import Fit, TransformKind, compare_with_pairs, fit_transform
from deepfeatures.transforms.folding import jacobian_map, share_text
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.pairing import LandmarkPairs, pair_by_name
from deepfeatures.transforms.transform import Transform

if TYPE_CHECKING:
    from deepfeatures.matching.geometry.mapping import PointMapping
    from deepfeatures.pipelines.place import LandmarkMatcher, LandmarkResult

# Expected of a keypoint that agrees with its neighbours, as of a landmark that is found; and the least agreement.
KEYPOINT_ERROR_MM, LEAST_WEIGHT = 2.0, 0.01
MOST_OUTSIDE = 0.5  # of the landmarks: where more lie outside their volume, something is confused


@dataclass(frozen=True, eq=False)
class TransformResult:
    """A transform that was found and written.

    Args:
        transform: Template points to target points, LPS mm.
        kind: As it was found: a lower one than asked for where the points do not settle that.
        names: Of the pairs of landmarks.
        residuals_mm: Distance of each carried landmark to its place in the target, `(N,)`.
        weights: How much each pair counted, `(N,)`, at most 1.
        folded_share: Of the template in which the transform folds, 0 to 1.
        output: The file.
        notes: What people should know of the files that were read, of the fit, and of what the output holds.
    """

    transform: Transform
    kind: str
    names: tuple[str, ...]
    residuals_mm: np.ndarray
    weights: np.ndarray
    folded_share: float
    output: Path
    notes: tuple[Note, ...] = ()

    @classmethod
    def of(cls, fit: Fit, pairs: LandmarkPairs, output: Path, notes: tuple[Note, ...]) -> TransformResult:
        """Of a fit, whose first pairs these are."""
        residuals, weights = fit.residuals_mm[: len(pairs)], fit.weights[: len(pairs)]
        notes = (*notes, *fit.notes)
        return cls(fit.transform, fit.kind, pairs.names, residuals, weights, fit.folded_share, output, notes)

    def report(self) -> dict:
        """As JSON takes it."""
        rows = zip(self.names, self.residuals_mm.tolist(), self.weights.tolist(), strict=True)
        return {
            "output": str(self.output),
            "kind": self.kind,
            "direction": "template points to target points, LPS mm",
            "mean_residual_mm": float(self.residuals_mm.mean()) if len(self.names) else None,
            "folded_share": self.folded_share,
            "landmarks": [{"name": name, "residual_mm": off, "weight": weight} for name, off, weight in rows],
            "notes": [note.as_json() for note in self.notes],
        }


def fit_transform_files(
    template: Path,
    target: Path,
    from_: Path,
    to: Path,
    kind: TransformKind,
    output: Path,
    matcher: LandmarkMatcher | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> TransformResult:
    """Fit a transform to landmarks of the same name, and write it whole or not at all.

    Args:
        template, target: Volumes.
        from_: Landmarks of the template.
        to: The same landmarks in the target; points without a position on either side are left out.
        kind: Of the transform.
        output: File to write; its suffix says for which programs, see `write_transform`.
        matcher: Searches keypoints between the volumes, which count beside the landmarks; `None` for landmarks alone.
        progress: Called with the fraction of the search that is done.

    Raises:
        InputError: A file cannot be read or written, the points do not lie in their volumes, or they are too few.
    """
    _check_output(output, template, target, from_, to)
    volume, other = read_volume(template), read_volume(target)
    points, places = _named(from_), _named(to)
    doubts = _check_sides(points, volume, places, other)
    pairs = pair_by_name(points, places)
    fitted = pairs
    if matcher is not None:
        searched = LandmarkSet(tuple(one for one in points if one.is_defined), points.name)
        fitted = with_keypoints(pairs, matcher.match(volume, searched, other, progress=progress), len(searched))
    fit = fit_transform(kind, fitted, Grid.of(volume))
    notes = (*notes_of(volume, other), *points.notes, *places.notes, *doubts)
    return _written(TransformResult.of(fit, pairs, output, notes), volume, target)


def find_transform_files(
    template: Path,
    target: Path,
    from_: Path,
    to: Path | None,
    output: Path,
    matcher: LandmarkMatcher,
    progress: Callable[[float], None],
) -> TransformResult:
    """The field that a search of the landmarks finds between two volumes, written whole or not at all.

    Args:
        template, target: Volumes.
        from_: Landmarks of the template.
        to: The same landmarks in the target, to which the field is compared; they do not change it.
        output: File to write.
        matcher: Searches.
        progress: Called with the fraction done.

    Raises:
        InputError: As of `fit_transform_files`, or the search finds no field.
    """
    _check_output(output, template, target, from_, *([to] if to else []))
    volume, other = read_within_memory(template), read_within_memory(target)
    points = _named(from_)
    check_inside(points, volume, from_, template)
    result = matcher.match(volume, points, other, progress=progress)
    found = found_transform(result, volume)
    places = _named(to) if to else result.landmarks
    pairs = pair_by_name(points, places) if len(places.missing) < len(places) else _no_pairs()
    fit = compare_with_pairs(found, pairs, Grid.of(volume))
    return _written(TransformResult.of(fit, pairs, output, (*result.notes, *points.notes)), volume, target)


def found_transform(result: object, template: Volume) -> Transform:
    """The transform that a search has found; raises `InputError` where it was one without."""
    return _mapping_of(result).transform(template)


def with_keypoints(pairs: LandmarkPairs, result: LandmarkResult, landmarks: int) -> LandmarkPairs:
    """Pairs of landmarks, and the keypoints that a search has matched.

    Args:
        pairs: Of landmarks.
        result: Of the search, between the same volumes.
        landmarks: How many landmarks it searched: what it made of these does not count.

    Raises:
        InputError: The search was of a kind that matches no keypoints, or found nothing.
    """
    mapping = _mapping_of(result)
    points, moved, weights = (one[landmarks:] for one in mapping.settled())
    errors = KEYPOINT_ERROR_MM / np.sqrt(np.maximum(weights, LEAST_WEIGHT))
    return pairs.with_keypoints(points, mapping.world_pose(moved), errors)


def _mapping_of(result: object) -> PointMapping:
    mapping = getattr(result, "mapping", None)
    if mapping is None:
        raise InputError(
            "only the default search with one template finds a transform; leave out --search, --mask and further"
            " templates"
        )
    return mapping


def write_jacobian(transform: Path, template: Path, output: Path) -> Volume:
    """Write by how much the transform of a file lets each voxel of the template grow, whole or not at all.

    Returns:
        The map: the Jacobian determinant, above 1 where the target is larger, at most 0 where the transform folds.

    Raises:
        InputError: A file cannot be read or written.
    """
    _check_output(output, transform, template)
    found = jacobian_map(read_transform(transform), read_volume(template))
    write_volume(found, output)
    return found


def folds_text(share: float) -> str:
    """How much of the template folds, for people; a share of 0 to 1."""
    return f"folds in {share_text(share)} of the template" if share else "no folds"


def description_of(template: str, target: str) -> str:
    """What a file says of its direction."""
    return (
        f"Maps points of the template {template} to points of the target {target}, LPS mm: resamples the target on the"
        " template's grid."
    )


def _written(result: TransformResult, template: Volume, target: Path) -> TransformResult:
    description = description_of(template.name, image_stem(target))
    written = write_transform(result.transform, result.output, template, description)
    return replace(result, notes=tuple(dict.fromkeys((*result.notes, *written))))


def _named(path: Path) -> LandmarkSet:
    return replace(read_landmarks(path), name=str(path))


def _check_output(output: Path, *given: Path) -> None:
    if output.resolve() in {path.resolve() for path in given}:
        raise InputError(f"the result {output} would replace a file that was given; choose another name")


def _check_sides(points: LandmarkSet, template: Volume, places: LandmarkSet, target: Volume) -> tuple[Note, ...]:
    """Notes of landmarks outside their volumes; raises `InputError` where most are, which says what is confused."""
    sides = (points, "--from", template, "template"), (places, "--to", target, "target")
    outside = [_outside(landmarks, volume) for landmarks, _, volume, _ in sides]
    for names, (landmarks, option, volume, role) in zip(outside, sides, strict=True):
        if len(names) <= MOST_OUTSIDE * (len(landmarks) - len(landmarks.missing)):
            continue
        crossed = [_outside(one, other) for one, other in ((points, target), (places, template))]
        if not any(crossed):
            raise InputError(
                f"the landmarks of --from lie in the target {target.name} and those of --to in the template"
                f" {template.name}; exchange --from and --to, or --template and --target"
            )
        raise InputError(
            f"{names_text(names)} of {option} {landmarks.name} lie outside the {role} {volume.name}; give the landmarks"
            f" of the {role}, or check that their coordinates are LPS or RAS as stated"
        )
    return tuple(
        Note(NoteKind.TRANSFORM, f"{names_text(names)} of {landmarks.name} lie outside the {role}")
        for names, (landmarks, _, _, role) in zip(outside, sides, strict=True)
        if names
    )


def _outside(landmarks: LandmarkSet, volume: Volume) -> list[str]:
    """Names of the landmarks with a position that lie outside a volume."""
    inside = volume.contains(landmarks.positions)
    return [one.name for one, is_in in zip(landmarks, inside, strict=True) if one.is_defined and not is_in]


def _no_pairs() -> LandmarkPairs:
    return LandmarkPairs((), np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
