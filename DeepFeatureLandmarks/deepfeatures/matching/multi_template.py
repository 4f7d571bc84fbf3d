"""Several annotated templates at once: each finds the landmarks in the target, and a robust consensus is kept.

One template's landmarks bring the habits of one annotator and the anatomy of one person into every target. Those of
several average out, and where the templates disagree, that says how far off the consensus may be
(`uncertainty.multi_template_model`). Known in the field as multi-atlas matching.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepfeatures.data.landmark_checks import check_unique_names
from deepfeatures.data.landmark_names import match_names
from deepfeatures.data.landmark_scores import SCORES
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import TOO_FEW
from deepfeatures.data.notes import Note, joined
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching.matcher import Matcher
from deepfeatures.matching.result import Alternative, MatchResult, reported
from deepfeatures.matching.search_interface import Progress, ignore
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.uncertainty.multi_template_model import load_multi_template_model

FLOOR_MM = 0.1  # keeps the weights of proposals that coincide finite
STEPS = 50
RADII = "radius_50_mm", "radius_90_mm"
FIRST = "the first template"
OF_EACH = ("template", "pose", "consistent_share", "alternatives")  # in a report


@dataclass(frozen=True, eq=False)
class MultiTemplateResult:
    """The consensus of several templates in one target.

    Args:
        landmarks: As of `MatchResult`.
        results: Of each template alone, the first one's first.
        name_notes: What people should know of the landmarks' names, which tell the same landmarks in all templates.
    """

    landmarks: LandmarkSet
    results: tuple[MatchResult, ...]
    name_notes: tuple[Note, ...] = ()

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """None of all together; each of the results may have its own."""
        return ()

    @property
    def notes(self) -> tuple[Note, ...]:
        """On names, and as of `MatchResult` on all volumes."""
        return (*self.name_notes, *_notes_of(self.results))

    @property
    def seconds(self) -> dict[str, float]:
        """Of all templates together, by stage."""
        stages = sorted({stage for result in self.results for stage in result.seconds})
        return {stage: sum(result.seconds.get(stage, 0.0) for result in self.results) for stage in stages}

    def report(self) -> dict[str, Any]:
        """As of `MatchResult`; template, pose, consistent share and alternatives are lists, one entry a template."""
        reports = [result.report() for result in self.results]
        return {
            **reports[0],
            **{key: [report[key] for report in reports] for key in OF_EACH},
            "seconds": {stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            "notes": [note.as_json() for note in self.notes],
            "landmarks": [reported(landmark) for landmark in self.landmarks],
        }


class MultiTemplateMatcher:
    """Finds landmarks in a target by a template and others beside it; used like a `Matcher`.

    Args:
        others: More volumes and their landmarks. Landmarks are the same where they have the same name, or names that
            `match_names` takes as the same; names that the first template does not know are left out.
        settings: Of the matchers; each template has its own, which keeps what it knows of the template.
    """

    def __init__(self, others: Sequence[tuple[Volume, LandmarkSet]], settings: MatchSettings | None = None):
        self._others = tuple(others)
        self._matchers = [Matcher(settings) for _ in range(1 + len(self._others))]
        self.settings = self._matchers[0].settings

    def match(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        *,
        mask: Volume | None = None,
        progress: Progress = ignore,
    ) -> MultiTemplateResult:
        """The consensus of all templates in the target; see `Matcher.match`.

        Raises:
            InputError: What `Matcher.match` raises; or a name occurs twice, or a template shares none with the first.
        """
        check_unique_names(landmarks, template.name)
        others = [_known(other, landmarks, template) for other in self._others]
        templates = [(template, landmarks), *((volume, known) for volume, known, _ in others)]
        count, results = len(templates), []
        for number, ((volume, known), matcher) in enumerate(zip(templates, self._matchers, strict=True)):
            results.append(
                matcher.match(
                    volume, known, target, mask=mask, progress=lambda done, n=number: progress((n + done) / count)
                )
            )
        found = consensus(landmarks, [one.landmarks for one in results])
        notes = joined(_notes_of(results)) or ""
        noted = tuple(replace(landmark, note=notes) for landmark in found)
        name_notes = tuple(note for *_, notes in others for note in notes)
        return MultiTemplateResult(replace(found, landmarks=noted), tuple(results), name_notes)


def _known(
    other: tuple[Volume, LandmarkSet], wanted: LandmarkSet, template: Volume
) -> tuple[Volume, LandmarkSet, tuple[Note, ...]]:
    """Another template, those of its landmarks that are wanted, by the wanted names, and notes on names."""
    volume, landmarks = other
    check_unique_names(landmarks, volume.name)
    match = match_names(landmarks, wanted)
    kept = tuple(one for one in match.renamed(landmarks) if one.name not in match.unknown)
    if not any(landmark.is_defined for landmark in kept):
        raise InputError(
            f"{volume.name} has no landmark that {template.name} has by the same name; give the same landmarks the"
            " same names."
        )
    return volume, replace(landmarks, landmarks=kept), tuple(note.of(volume.name) for note in match.notes(FIRST))


def _notes_of(results: Sequence[MatchResult]) -> tuple[Note, ...]:
    """Of all results, each once, in order."""
    return tuple(dict.fromkeys(note for result in results for note in result.notes))


def consensus(names: LandmarkSet, proposals: Sequence[LandmarkSet]) -> LandmarkSet:
    """What most proposals agree on: for each landmark their geometric median, which a few wild ones do not move.

    A landmark is missing where at least half of those that know its name did not find it, and ambiguous where most of
    those that did say so. Its scores are the medians of the proposals that were found; its expected error,
    its radii and its probability within 3 mm depend on their disagreement, too.

    Args:
        names: The landmarks wanted, in order.
        proposals: One set a template.
    """
    placed = []
    for wanted in names:
        known = [landmark for proposal in proposals for landmark in proposal if landmark.name == wanted.name]
        found = [landmark for landmark in known if landmark.is_defined]
        if 2 * len(found) <= len(known):
            reasons = {landmark.reason for landmark in known}
            reason = reasons.pop() if len(reasons) == 1 else TOO_FEW
            placed.append(Landmark(wanted.name, None, "missing", wanted.description, reason=reason))
            continue
        position = geometric_median(np.array([landmark.position for landmark in found]))
        scores = {score.name: median_of(found, score.name) for score in SCORES} | _doubt(found, position)
        is_ambiguous = 2 * sum(landmark.ambiguous for landmark in found) > len(found)
        placed.append(
            Landmark(
                wanted.name,
                tuple(position.tolist()),
                "defined",
                wanted.description,
                **scores,
                ambiguous=is_ambiguous,
            )
        )
    return replace(names, landmarks=tuple(placed))


def geometric_median(points: np.ndarray) -> np.ndarray:
    """The place from which the distances to all points `(N, 3)` add up to the least (Weiszfeld's iteration)."""
    place = points.mean(0)
    for _ in range(STEPS):
        weights = 1 / (np.linalg.norm(points - place, axis=1) + FLOOR_MM)
        place = weights @ points / weights.sum()
    return place


def spread_mm(found: Sequence[Landmark], position: np.ndarray) -> float:
    """Root mean square distance of places from their consensus `(3,)`, of one degree of freedom less; two or more."""
    squares = [np.sum((np.array(landmark.position) - position) ** 2) for landmark in found]
    return math.sqrt(sum(squares) / (len(found) - 1))


def median_of(found: Sequence[Landmark], score: str) -> float | None:
    """Of one score, leaving out those that have none."""
    values = [value for landmark in found if (value := getattr(landmark, score)) is not None and math.isfinite(value)]
    return float(np.median(values)) if values else None


def _doubt(found: list[Landmark], position: np.ndarray) -> dict[str, float | None]:
    """How far off the consensus may be, where that follows from how far its proposals are apart."""
    expected, radii = median_of(found, "expected_error_mm"), [median_of(found, name) for name in RADII]
    if len(found) == 1 or expected is None:  # one cannot disagree, and some features have nothing to expect
        return {}
    model, known = load_multi_template_model(), (expected, spread_mm(found, position), len(found))
    scores = {"expected_error_mm": model.error_mm(*known), "probability_within_3mm": model.probability(*known)}
    return scores if None in radii else scores | dict(zip(RADII, model.radii_mm(radii, *known), strict=True))
