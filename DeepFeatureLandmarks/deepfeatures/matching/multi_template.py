"""Several annotated templates at once: each places the landmarks in the target, and a robust consensus is kept.

One template's landmarks carry the habits of one annotation and the anatomy of one person into every target. Those of
several average out, and where the templates disagree, that says how far off the consensus may be (`disagreement`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import TOO_FEW
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching.matcher import Matcher, reported
from deepfeatures.matching.uncertainty import multi_template_model

FLOOR_MM = 0.1  # keeps the weights of proposals that coincide finite
STEPS = 50


class Panel:
    """Finds landmarks in a target by a template and others beside it; used like a `Matcher`.

    Args:
        others: More volumes and their landmarks. Landmarks are the same where they have the same name; names that the
            first template does not know are left out.
        make: Makes a matcher; each template has its own, which keeps what it knows of the template.

    Attributes:
        last_report: As of a `Matcher`; times are sums over all templates.
    """

    def __init__(self, others: Sequence[tuple[Volume, LandmarkSet]], make: Callable[[], Matcher] = Matcher):
        self._others = tuple(others)
        self._matchers = [make() for _ in range(1 + len(self._others))]
        self.last_report: dict = {}

    def match(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        *,
        mask: Volume | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> LandmarkSet:
        """The consensus of all templates in the target; see `Matcher.match`.

        Raises:
            InputError: What `Matcher.match` raises; or a name occurs twice, or a template shares none with the first.
        """
        templates = [(template, landmarks), *(self._known(other, landmarks, template) for other in self._others)]
        progress, count, proposals = progress or (lambda _: None), len(templates), []
        for number, ((volume, known), matcher) in enumerate(zip(templates, self._matchers, strict=True)):
            proposals.append(
                matcher.match(
                    volume, known, target, mask=mask, progress=lambda done, n=number: progress((n + done) / count)
                )
            )
        placed = consensus(landmarks, proposals)
        self.last_report = _summary([matcher.last_report for matcher in self._matchers], placed)
        return placed

    @staticmethod
    def _known(other: tuple[Volume, LandmarkSet], wanted: LandmarkSet, template: Volume) -> tuple[Volume, LandmarkSet]:
        """The other template with those of its landmarks that are wanted."""
        volume, landmarks = other
        for owner, points in ((template, wanted), other):
            if points.duplicate_names:
                raise InputError(
                    f"Several landmarks of {owner.name} are called {points.duplicate_names[0]}; templates are compared"
                    " by name, so rename them."
                )
        names = {landmark.name for landmark in wanted}
        kept = tuple(landmark for landmark in landmarks if landmark.name in names)
        if not any(landmark.is_defined for landmark in kept):
            raise InputError(
                f"{volume.name} has no landmark that {template.name} has by the same name; give the same landmarks the"
                " same names."
            )
        return volume, replace(landmarks, landmarks=kept)


def consensus(names: LandmarkSet, proposals: Sequence[LandmarkSet]) -> LandmarkSet:
    """What most proposals agree on: for each landmark their geometric median, which a few wild ones do not move.

    A landmark is missing where at least half of those that know its name did not find it. Its feature
    distance and inverse-consistency error are the medians of the proposals that were found; its expected error depends
    on their disagreement, too.

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
        scores = {score: median_of(found, score) for score in ("feature_distance", "inverse_consistency_error_mm")}
        scores |= _doubt(found, position)
        placed.append(Landmark(wanted.name, tuple(position.tolist()), "defined", wanted.description, **scores))
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
    """How far off the consensus may be."""
    expected = median_of(found, "expected_error_mm")
    if len(found) == 1 or expected is None:  # one cannot disagree, and some features have nothing to expect
        return {
            "expected_error_mm": expected,
            "probability_within_3mm": median_of(found, "probability_within_3mm"),
        }
    predicted, told = multi_template_model.calibrated(), (expected, spread_mm(found, position), len(found))
    return {"expected_error_mm": predicted.error_mm(*told), "probability_within_3mm": predicted.chance(*told)}


def _summary(reports: list[dict], placed: LandmarkSet) -> dict:
    """One report of all templates' own."""
    stages = {stage for report in reports for stage in report["seconds"]}
    return {
        **reports[0],
        "template": [report["template"] for report in reports],
        "pose": [report["pose"] for report in reports],
        "agreement": [report["agreement"] for report in reports],
        "seconds": {stage: round(sum(r["seconds"].get(stage, 0.0) for r in reports), 4) for stage in sorted(stages)},
        "landmarks": [reported(landmark) for landmark in placed],
    }
