"""Calibrate the expected error of what several templates agree on, and check it on people who took no part.

    python Testing/Benchmarks/panels.py            # calibrate, check, and write pretrained/expected_error.json
    python Testing/Benchmarks/panels.py --check    # only check

People are the two halves of `calibrate.py`, and templates and target are always of the same: seven hippocampi of a half
in thirty others, its brains each in all others. Of a target's templates six panels are drawn of every number from two
to five, or as many as there are. All together calibrate what is written; for the check, what one half teaches foretells
the other. It prints what `calibrate.py` does, for panels of every number, and beside it the rank correlation of what
the templates expect alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from calibrate import BRAINS, HALVES, Foretold, check, hippocampi, joined
from cases import data_folder, person, read_case
from scipy.stats import spearmanr

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching import Matcher
from deepfeatures.matching.multi_template import geometric_median, median_of, spread_mm
from deepfeatures.matching.uncertainty.error_model import FILE
from deepfeatures.matching.uncertainty.multi_template_model import KEY, Disagreement, relative

OFFSET, NUMBERS, PANELS = 0.15, (2, 3, 4, 5), 6


@dataclass(frozen=True)
class Row:
    """One landmark as one panel places it; lengths in mm."""

    expected: float
    spread: float
    number: int
    error: float


Rows = dict[tuple[str, int], list[Row]]  # by set and number of templates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check")
    arguments = parser.parse_args()
    halves = [gather(half) for half in HALVES]
    taught = [fit([found]) for found in halves]
    for key in halves[0]:
        told = [foretell(halves[half][key], taught[1 - half]) for half in HALVES]
        check(f"{key[0]}, {key[1]} templates", joined(told))
        alone = [row for found in halves for row in found[key]]
        rank = spearmanr([row.expected for row in alone], [row.error for row in alone])[0]
        print(f"  rank correlation of what the templates expect alone: {rank:.2f}", flush=True)
    if not arguments.check:
        values = json.loads(FILE.read_text())
        values[KEY] = {name: round(value, 4) for name, value in asdict(fit(halves)).items()}
        FILE.write_text(json.dumps(values, indent=1) + "\n")


def gather(half: int) -> Rows:
    folder, random = data_folder(), np.random.default_rng(half)
    drawn, brains = [str(name) for name in random.permutation(hippocampi(half))], list(BRAINS[half])
    placed = {
        "hippocampus": proposals(folder / "hippocampus", drawn[:7], drawn[7:37]),
        "brain": proposals(folder / "brain", brains, brains),
    }
    found: Rows = {(name, number): [] for name in placed for number in NUMBERS}
    for name, by_target in placed.items():
        for (target, known), number in itertools.product(by_target.items(), NUMBERS):
            panels = list(itertools.combinations(known, number))
            for index in random.permutation(len(panels))[:PANELS]:
                found[name, number] += in_panel(read_case(folder / name / f"{target}.nii.gz").landmarks, panels[index])
    return found


def proposals(folder: Path, templates: list[str], targets: list[str]) -> dict[str, list[LandmarkSet]]:
    """By target, where each template puts its landmarks; nobody is a template for himself."""
    found: dict[str, list[LandmarkSet]] = {name: [] for name in targets}
    for name in templates:
        template, matcher = read_case(folder / f"{name}.nii.gz"), Matcher()
        for other in targets:
            if name != other and not (folder.name == "hippocampus" and person(name) == person(other)):
                target = read_case(folder / f"{other}.nii.gz")
                found[other].append(matcher.match(template.volume, template.landmarks, target.volume))
        print(f"{folder.name}: {name} is placed", flush=True)
    return found


def in_panel(truth: LandmarkSet, panel: tuple[LandmarkSet, ...]) -> list[Row]:
    """The landmarks that most of the panel's templates find, two at least."""
    rows = []
    for true in truth:
        known = [one for proposal in panel for one in proposal if one.name == true.name and one.is_defined]
        if true.is_defined and len(known) > max(1, len(panel) / 2):
            place = geometric_median(np.array([landmark.position for landmark in known]))
            error = math.dist(true.position, place)
            rows.append(Row(median_of(known, "expected_error_mm"), spread_mm(known, place), len(known), error))
    return rows


def fit(calibration: list[Rows]) -> Disagreement:
    """Least squares of the logarithm of the relative error; each set and number of templates weighs the same."""
    groups = [group for found in calibration for group in found.values() if group]
    every = [row for group in groups for row in group]
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    weights /= weights.sum()
    design = np.array([(1.0, *relative(row.expected, row.spread, row.number, OFFSET)) for row in every])
    logarithms = np.log([row.error / row.expected + OFFSET for row in every])
    slopes = np.linalg.lstsq(design * np.sqrt(weights)[:, None], logarithms * np.sqrt(weights), rcond=None)[0]
    deviation = float(np.sqrt(weights @ (logarithms - design @ slopes) ** 2))
    return Disagreement(*slopes.tolist(), OFFSET, deviation)


def foretell(found: list[Row], by: Disagreement) -> Foretold:
    told = [(row.expected, row.spread, row.number) for row in found]
    return Foretold(
        np.array([row.error for row in found]),
        np.array([by.error_mm(*row) for row in told]),
        np.array([by.chance(*row) for row in told]),
    )


if __name__ == "__main__":
    main()
