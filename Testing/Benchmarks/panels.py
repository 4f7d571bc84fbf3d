"""Calibrate the expected error of what several templates agree on, and check it on people who took no part.

    python Testing/Benchmarks/panels.py            # calibrate, check, and write pretrained/expected_error.json
    python Testing/Benchmarks/panels.py --check    # only check

People are two halves, and templates and target are always of the same: seven hippocampi of a half
in thirty others, its brains each in all others. Of a target's templates six panels are drawn of every number from two
to five, or as many as there are. All together calibrate what is written; for the check, the model of one half predicts
the errors of the other. It prints what `calibrate.py` does, for panels of every number, and beside it the rank
correlation of what the templates expect alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path

import numpy as np
from cases import data_folder, person, read_case
from doubt_sets import hippocampi, person_of

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching import Matcher
from deepfeatures.matching.multi_template import RADII, geometric_median, median_of, spread_mm
from deepfeatures.matching.uncertainty.assessment import (
    Predictions,
    assess,
    joined_predictions,
    predict_consensus,
    rank_correlation,
)
from deepfeatures.matching.uncertainty.calibration import ConsensusSample, fit_multi_template_model, fit_without_each
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE
from deepfeatures.matching.uncertainty.multi_template_model import KEY, to_values

BRAINS = (("1001", "1002", "1007", "1008", "1009", "1010"), ("1000", "1011", "1012", "1015", "1017", "1036"))
HALVES = (0, 1)
NUMBERS, PANELS = (2, 3, 4, 5), 6
Samples = dict[tuple[str, int], list[ConsensusSample]]  # by set and number of templates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check")
    arguments = parser.parse_args()
    halves = [gather(half) for half in HALVES]
    models = fit_without_each(
        halves, lambda folds: fit_multi_template_model([group for fold in folds for group in fold.values()])
    )
    for key in halves[0]:
        predictions = [predict_consensus(models[half], halves[half][key]) for half in HALVES]
        check(f"{key[0]}, {key[1]} templates", joined_predictions(predictions))
        alone = [sample for found in halves for sample in found[key]]
        rank = rank_correlation(*np.array([(one.expected_mm, one.error_mm) for one in alone]).T)
        print(f"  rank correlation of what the templates expect alone: {rank:.2f}", flush=True)
    if not arguments.check:
        values = json.loads(FILE.read_text())
        everyone = [group for found in halves for group in found.values()]
        values[KEY] = to_values(fit_multi_template_model(everyone))
        FILE.write_text(json.dumps(values, indent=1) + "\n")


def check(name: str, predictions: Predictions) -> None:
    found = assess(predictions)
    stated = ", ".join(f"{said:.0%} ({true:.0%})" for said, true in found.reliability)
    print(
        f"{name}: {len(predictions.errors_mm)} landmarks, error {predictions.errors_mm.mean():.2f} mm, expected"
        f" {predictions.expected_mm.mean():.2f}; rank correlation {found.rank_correlation:.2f}, without the worst fifth"
        f" {found.reduction:.0%} less, {found.largest_reduction:.0%} if the true errors were known"
    )
    print(f"  probability to be within {CLOSE_MM:g} mm, stated (true): {stated}")
    print(f"  radii hold in {found.coverage_50:.0%} and {found.coverage_90:.0%}")


def gather(half: int) -> Samples:
    folder, random = data_folder(), np.random.default_rng(half)
    drawn, brains = (
        [str(name) for name in random.permutation([one for one in hippocampi() if person(one) % 2 == half])],
        list(BRAINS[half]),
    )
    placed = {
        "hippocampus": proposals(folder / "hippocampus", drawn[:7], drawn[7:37]),
        "brain": proposals(folder / "brain", brains, brains),
    }
    found: Samples = {(name, number): [] for name in placed for number in NUMBERS}
    for name, by_target in placed.items():
        for (target, known), number in itertools.product(by_target.items(), NUMBERS):
            panels = list(itertools.combinations(known, number))
            for index in random.permutation(len(panels))[:PANELS]:
                truth = read_case(folder / name / f"{target}.nii.gz").landmarks
                found[name, number] += in_panel(truth, panels[index], person_of(target))
    return found


def proposals(folder: Path, templates: list[str], targets: list[str]) -> dict[str, list[LandmarkSet]]:
    """By target, where each template puts its landmarks; nobody is a template for himself."""
    found: dict[str, list[LandmarkSet]] = {name: [] for name in targets}
    for name in templates:
        template, matcher = read_case(folder / f"{name}.nii.gz"), Matcher()
        for other in targets:
            if name != other and not (folder.name == "hippocampus" and person(name) == person(other)):
                target = read_case(folder / f"{other}.nii.gz")
                found[other].append(matcher.match(template.volume, template.landmarks, target.volume).landmarks)
        print(f"{folder.name}: {name} is placed", flush=True)
    return found


def in_panel(truth: LandmarkSet, panel: tuple[LandmarkSet, ...], of: str) -> list[ConsensusSample]:
    """The landmarks that most of the panel's templates find, two at least."""
    samples = []
    for true in truth:
        known = [one for proposal in panel for one in proposal if one.name == true.name and one.is_defined]
        if true.is_defined and len(known) > max(1, len(panel) / 2):
            place = geometric_median(np.array([landmark.position for landmark in known]))
            expected_mm, *radii_mm = (median_of(known, score) for score in ("expected_error_mm", *RADII))
            facts = expected_mm, spread_mm(known, place), len(known), math.dist(true.position, place)
            samples.append(ConsensusSample(*facts, tuple(radii_mm), of))
    return samples


if __name__ == "__main__":
    main()
