"""How good a template is: its landmarks, placed in other annotated scans, against what people have placed there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.errors import InputError
from deepfeatures.io.provenance import content_hash
from deepfeatures.pipelines.place import LandmarkMatcher
from deepfeatures.quality.annotated_scans import AnnotatedScans
from deepfeatures.quality.annotations import Annotation
from deepfeatures.quality.placed_pairs import place_pairs, spread_evenly
from deepfeatures.quality.template_comparison import TemplateCheck, compare

TARGETS = 12  # a template; more change little in the order of templates


def pairs_to_place(
    annotations: Sequence[Annotation], candidates: Sequence[str] = ()
) -> list[tuple[Annotation, Annotation]]:
    """Each candidate with its targets: the same scans of other people for all, at most `TARGETS`.

    They are taken evenly from the scans that are no candidates where these are enough, else from all.

    Args:
        annotations: One a scan.
        candidates: Scans that may become the template; all where none is named.

    Raises:
        InputError: A candidate is not annotated, or there is no scan of another person.
    """
    known = {annotation.scan: annotation for annotation in annotations}
    for name in candidates:
        if name not in known:
            raise InputError(f"there is no annotated scan {name!r} to check; choose one of {names_text(list(known))}")
    templates = {name: known[name] for name in candidates or known}
    others = [annotation for annotation in annotations if annotation.scan not in templates]
    targets = spread_evenly(others if len(others) >= TARGETS else annotations, TARGETS)
    pairs = [(one, target) for one in templates.values() for target in targets if target.person != one.person]
    if not pairs:
        raise InputError("the annotated scans are all of one person; add an annotated scan of another person")
    return pairs


def check_templates(
    scans: AnnotatedScans,
    matcher: LandmarkMatcher,
    folder: str | Path,
    candidates: Sequence[str] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> TemplateCheck:
    """Place each candidate's landmarks in other annotated scans, and compare.

    Args:
        scans: With points of people.
        matcher: Finds the landmarks.
        folder: For what is placed, which is used again; see `place_pairs`.
        candidates: See `pairs_to_place`.
        progress: Called with the fraction done, from 0 to 1.

    Raises:
        InputError: See `pairs_to_place` and `compare`.
    """
    pairs = pairs_to_place(scans.annotations, candidates)
    hashes = {scan: content_hash(scans.paths[scan]) for scan in {one.scan for pair in pairs for one in pair}}
    return compare(place_pairs(pairs, scans.volumes, hashes, matcher, folder, progress), scans.notes)
