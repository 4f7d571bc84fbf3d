"""The automatic rater: landmarks of each scan, placed from other people's scans, or from one template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from deepfeatures.data.landmark_names import match_names
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.pipelines.place import LandmarkMatcher
from deepfeatures.quality.annotations import Annotation, stack_positions
from deepfeatures.quality.placed_pairs import place_pairs, spread_evenly

TEMPLATES = 3  # a scan; their median forgives one that went astray


def place_from_others(
    annotations: Sequence[Annotation],
    volumes: Mapping[str, Volume],
    hashes: Mapping[str, str],
    matcher: LandmarkMatcher,
    folder: str | Path,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, list[Annotation]]:
    """Place every scan's landmarks from other people's scans.

    What the folder holds is used again, see `place_pairs`.

    Args:
        annotations: One a scan: whose landmarks to carry to the others.
        volumes: Of scans, by name; those without one are left out.
        hashes: Of the content of each volume, by name, as `provenance.content_hash` gives it.
        matcher: Finds the landmarks.
        folder: For one landmark file a scan and template.
        progress: Called with the fraction done, from 0 to 1.

    Returns:
        For each scan what was placed from each template, named `TARGET_from_TEMPLATE`.
    """
    annotated = [annotation for annotation in annotations if annotation.scan in volumes]
    pairs = [pair for place in range(len(annotated)) for pair in _pairs_of_template(annotated, place)]
    placed: dict[str, list[Annotation]] = {}
    for pair in place_pairs(pairs, volumes, hashes, matcher, folder, progress):
        placed.setdefault(pair.target.scan, []).append(Annotation(pair.target.scan, pair.name, pair.landmarks))
    return placed


def place_from_template(
    template: Annotation,
    annotations: Sequence[Annotation],
    volumes: Mapping[str, Volume],
    hashes: Mapping[str, str],
    matcher: LandmarkMatcher,
    folder: str | Path,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, list[Annotation]]:
    """Place the landmarks of one template in other people's scans; other arguments as of `place_from_others`.

    Args:
        template: Its names are taken as those of the annotations where `match_names` does so.

    Returns:
        As `place_from_others`, by the annotations' names.
    """
    targets = [one for one in annotations if one.scan in volumes and one.person != template.person]
    first = {landmark.name: landmark for one in reversed(annotations) for landmark in one.landmarks}
    match = match_names(template.landmarks, LandmarkSet(tuple(first.values())))
    pairs = place_pairs([(template, one) for one in targets], volumes, hashes, matcher, folder, progress)
    return {
        pair.target.scan: [Annotation(pair.target.scan, pair.name, match.renamed(pair.landmarks))] for pair in pairs
    }


def consensus(placed: Mapping[str, Sequence[Annotation]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The median place of each landmark in each scan, LPS mm, shape `(L, 3)`, NaN where it was never placed."""
    return {
        scan: np.ma.median(np.ma.masked_invalid(stack_positions(found, names)), axis=0).filled(np.nan)
        for scan, found in placed.items()
    }


def inverse_consistency(placed: Mapping[str, Sequence[Annotation]]) -> pd.DataFrame:
    """Inverse-consistency error of each landmark: `landmark, n, mean_mm, p95_mm, largest_mm`."""
    rows = [
        (landmark.name, landmark.inverse_consistency_error_mm)
        for found in placed.values()
        for annotation in found
        for landmark in annotation.landmarks
        if landmark.inverse_consistency_error_mm is not None
    ]
    errors = pd.DataFrame(rows, columns=["landmark", "mm"]).astype({"mm": float})
    grouped = errors.groupby("landmark", sort=False).mm
    table = grouped.agg(n="count", mean_mm="mean", largest_mm="max")
    table.insert(2, "p95_mm", grouped.quantile(0.95))
    return table.reset_index()


def _pairs_of_template(annotated: Sequence[Annotation], place: int) -> list[tuple[Annotation, Annotation]]:
    """The scans for which this one is a template: the next ones of other people, spread over the whole list."""
    template = annotated[place]
    others = [other for other in annotated[place + 1 :] + annotated[:place] if other.person != template.person]
    return [(template, other) for other in spread_evenly(others, TEMPLATES)]
