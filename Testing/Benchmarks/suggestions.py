"""In which order scans are best reviewed: what k of them teach when chosen by `cohort --suggest`, or otherwise.

    python Testing/Benchmarks/suggestions.py OUT                       # OUT as of learning.py: scans placed there serve
    python Testing/Benchmarks/suggestions.py OUT --sets hippocampus --draws 20

A cohort is 40 people of the set, or all, one scan each. Printed is the mean error in the scans that were not reviewed,
relative to that without learning: reviewed at random (mean of four), as suggested, the most doubtful first, and the
surest first. Written to OUT/suggestions.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from doubt_sets import person_of
from learning_lessons import lessons_of
from learning_sets import learning_sets

from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.landmark_head import fit_head, lessons
from deepfeatures.matching.learning.suggestion import order_of_review
from deepfeatures.matching.learning.taught_scan import TaughtScan

COHORT, BY_CHANCE = 40, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="*", choices=learning_sets(), default=list(learning_sets()))
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.sets:
        one = learning_sets()[name]
        for template in one.templates:
            scans = [lesson.exact for lesson in lessons_of(one, template, arguments.out).values()]
            for count in (3, 5, 10):
                ratios = [
                    compared(scans, count, np.random.default_rng([count, draw])) for draw in range(arguments.draws)
                ]
                if ratios[0]:
                    means = {order: round(float(np.mean([row[order] for row in ratios])), 3) for order in ratios[0]}
                    figures[f"{template}, {count}"] = means
                    print(f"{template}, {count} reviewed: {means}", flush=True)
    (arguments.out / "suggestions.json").write_text(json.dumps(figures, indent=1) + "\n")


def compared(scans: Sequence[TaughtScan], count: int, random: np.random.Generator) -> dict[str, float]:
    """Relative errors of one cohort, by the order of review; nothing where it is too small."""
    people = random.permutation(sorted({person_of(scan.name) for scan in scans}))[:COHORT]
    everyone = [[scan for scan in scans if person_of(scan.name) == one] for one in people]
    cohort = [scans_of_one[random.integers(len(scans_of_one))] for scans_of_one in everyone]
    if len(cohort) < 2 * count:
        return {}
    doubts = torch.tensor([_expected_error_mm(scan) for scan in cohort])
    jets = torch.stack([scan.near for scan in cohort])
    suggested = order_of_review(jets, doubts, jets[:0], count)
    by_chance = [relative(cohort, random.permutation(len(cohort))[:count].tolist()) for _ in range(BY_CHANCE)]
    return {
        "at random": float(np.mean(by_chance)),
        "suggested": relative(cohort, suggested),
        "most doubtful": relative(cohort, doubts.argsort(descending=True)[:count].tolist()),
        "surest": relative(cohort, doubts.argsort()[:count].tolist()),
    }


def relative(cohort: Sequence[TaughtScan], reviewed: Sequence[int]) -> float:
    """Mean error in the scans that were not reviewed, relative to that of the search alone."""
    head = fit_head(lessons([cohort[index] for index in reviewed]))
    rest = [scan for index, scan in enumerate(cohort) if index not in reviewed]
    after = [scan.errors_mm(head.corrected(scan.around_found, scan.found)) for scan in rest]
    before = [scan.errors_mm(scan.found) for scan in rest]
    return float(torch.stack(after).nansum() / torch.stack(before).nansum())


def _expected_error_mm(scan: TaughtScan) -> float:
    return float(MODEL.errors_mm(scan.evidence.double(), float(scan.spacing_mm)).mean())


MODEL = Matcher().error_model

if __name__ == "__main__":
    main()
