"""Calibrate the expected error of the default search, and check it on people who took no part.

    python Testing/Benchmarks/calibrate.py             # calibrate, check, and write pretrained/expected_error.json
    python Testing/Benchmarks/calibrate.py --check     # only check
    python Testing/Benchmarks/calibrate.py --check --together      # of targets that help one another
    python Testing/Benchmarks/calibrate.py --network cifl/fine_ssc      # the same for other features

The people of each set are two halves; template and target are always of the same. Both together calibrate what is
written; for the check, what one half teaches foretells the other. A half calibrates with forty of its hippocampi in
five others each and with its brains each in all others. It is checked on these and on two of its hippocampi in all
others.

Both sets weigh the same. The check prints of either half, and of both, the rank correlation of expected and true error;
by how much the mean falls when the fifth with the largest expected error is set aside, and the one with the largest
true error; and, in five groups of rising chance to be within 3 mm, the mean chance stated and the share that was.
Several templates have a calibration of their own, `panels.py`, which builds on this one and follows it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from cases import Case, data_folder, errors, person, read_case
from scipy.stats import spearmanr

from deepfeatures.matching import Matcher
from deepfeatures.matching.settings import GUIDED
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE, Expectation
from deepfeatures.matching.uncertainty.match_features import NAMES

OFFSET, RIDGE = 0.3, 0.1  # voxels; weight of small slopes
BRAINS = (("1001", "1002", "1007", "1008", "1009", "1010"), ("1000", "1011", "1012", "1015", "1017", "1036"))
HALVES = (0, 1)
CALIBRATING = ("hippocampus, many templates", "brain")
Pairs = list[tuple[str, tuple[str, ...]]]  # templates and their targets


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one set: a row a landmark. Lengths in voxels of the finest level, 1 mm here."""

    evidence: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, eq=False)
class Foretold:
    """Errors in mm, and what was said of them: an entry a landmark."""

    errors: np.ndarray
    expected: np.ndarray
    chances: np.ndarray


Part = TypeVar("Part", Found, Foretold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check")
    parser.add_argument("--together", action="store_true", help="check on targets that help one another")
    parser.add_argument("--cache", type=Path, help="keep what was found in this .npz file, or take it from there")
    parser.add_argument("--network", metavar="NETWORK/LAYER", default="/".join(GUIDED[:2]))
    arguments = parser.parse_args()
    network, layer = arguments.network.split("/")

    def matcher() -> Matcher:
        return Matcher(network, layer, GUIDED[2], search="guided")

    kept = dict(np.load(arguments.cache)) if arguments.cache and arguments.cache.exists() else {}

    def found_in(half: int, wanted: dict[str, Pairs], together: bool = False) -> dict[str, Found]:
        found = collect(matcher, wanted, kept, f"{'together, ' if together else ''}half {half}", together)
        if arguments.cache:
            np.savez(arguments.cache, **kept)
        return found

    alone = [found_in(half, pairs(half, CALIBRATING)) for half in HALVES]
    checked = [found_in(half, pairs(half), arguments.together) for half in HALVES]
    taught = [fit(list(found.values())) for found in alone]
    for name in checked[0]:
        halves = [foretell(checked[half][name], taught[1 - half]) for half in HALVES]
        for half in HALVES:
            check(f"{name}, half {half}", halves[half])
        check(name, joined(halves))
    if not arguments.check:
        values = json.loads(FILE.read_text())
        values[f"{network}/{layer}/{GUIDED[2]}"] = fit([joined([half[name] for half in alone]) for name in CALIBRATING])
        FILE.write_text(json.dumps(values, indent=1) + "\n")


def pairs(half: int, sets: tuple[str, ...] = ("hippocampus, few templates", *CALIBRATING)) -> dict[str, Pairs]:
    """By set, of one half of the people; what precedes a comma is the folder of the data."""
    names = hippocampi(half)
    each = {
        "hippocampus, few templates": [(name, tuple(names)) for name in (names[0], names[40])],
        "hippocampus, many templates": _drawn(names, 40, seed=half),
        "brain": [(name, tuple(other for other in BRAINS[half] if other != name)) for name in BRAINS[half]],
    }
    return {name: each[name] for name in sets}


def hippocampi(half: int) -> list[str]:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data_folder() / "hippocampus").glob("*.nii.gz"))
    return [name for name in names if person(name) % 2 == half]


def _drawn(names: list[str], templates: int, seed: int) -> Pairs:
    """Random templates with five random targets each."""
    random = np.random.default_rng(seed)
    chosen = random.choice(names, templates, replace=False)
    return [(str(name), tuple(map(str, random.choice(names, 5, replace=False)))) for name in chosen]


def collect(
    make: Callable[[], Matcher],
    wanted: dict[str, Pairs],
    kept: dict[str, np.ndarray],
    key: str,
    together: bool = False,
) -> dict[str, Found]:
    """Place the landmarks of every pair, by a matcher a template; what is kept under the key is not placed again."""
    for name, groups in wanted.items():
        if f"{key}/{name}/errors" in kept:
            continue
        rows, distances, folder = [], [], data_folder() / name.split(",")[0]
        for template_name, names in groups:
            template = read_case(folder / f"{template_name}.nii.gz")
            targets = [read_case(folder / f"{other}.nii.gz") for other in names if other != template_name]
            placed = place(make(), template, targets, together=together)
            for target, (positions, evidence) in zip(targets, placed, strict=True):
                true = errors(positions, target)
                known = np.isfinite(true)
                rows.extend(evidence[known])
                distances.extend(true[known])
                print(f"{key} {template_name} -> {target.name}: {np.nanmean(true):.2f} mm", flush=True)
        kept[f"{key}/{name}/evidence"], kept[f"{key}/{name}/errors"] = np.array(rows), np.array(distances)
    return {name: Found(kept[f"{key}/{name}/evidence"], kept[f"{key}/{name}/errors"]) for name in wanted}


def place(
    matcher: Matcher, template: Case, targets: list[Case], *, together: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions in each target, `(N, 3)`, and the evidence for them, which is that of the target alone, `(N, F)`."""
    company, alone, nothing = matcher.company() if together else None, [], dict.fromkeys(NAMES, math.nan)
    for target in targets:
        placed = matcher.match(template.volume, template.landmarks, target.volume, company=company)
        entries = [entry.get("evidence", nothing) for entry in matcher.last_report["landmarks"]]
        evidence = np.array([[entry[column] for column in NAMES] for entry in entries])
        alone.append((target, placed, matcher.course, evidence))
    for target, placed, course, evidence in alone:
        if course is not None and company.tells(course):
            placed = matcher.match_again(template.volume, template.landmarks, placed, target.volume, course, company)
        yield placed.positions, evidence


def fit(calibration: list[Found]) -> dict:
    """Ridge regression of the logarithm of the error; each set has the same weight in all."""
    evidence = np.concatenate([found.evidence for found in calibration])
    logarithms = np.log(np.concatenate([found.errors for found in calibration]) + OFFSET)
    weights = np.concatenate([np.full(len(found.errors), 1 / len(found.errors)) for found in calibration])
    weights /= weights.sum()
    means = weights @ evidence
    scales = np.sqrt(weights @ (evidence - means) ** 2)
    design = (evidence - means) / scales
    intercept = weights @ logarithms
    slopes = np.linalg.solve(
        (design * weights[:, None]).T @ design + RIDGE * np.eye(len(NAMES)),
        (design * weights[:, None]).T @ (logarithms - intercept),
    )
    deviation = math.sqrt(weights @ (logarithms - intercept - design @ slopes) ** 2)
    return {
        "evidence": list(NAMES),
        "intercept": round(float(intercept), 4),
        "slopes": [round(float(slope), 4) for slope in slopes / scales],
        "means": [round(float(mean), 4) for mean in means],
        "offset": OFFSET,
        "deviation": round(deviation, 4),
    }


def joined(halves: list[Part]) -> Part:
    """The entries of all, one after the other."""
    columns = ([getattr(half, field.name) for half in halves] for field in fields(halves[0]))
    return type(halves[0])(*map(np.concatenate, columns))


def foretell(found: Found, values: dict) -> Foretold:
    names = ("intercept", "offset", "deviation")
    expectation = Expectation(
        **{name: values[name] for name in names}, slopes=tuple(values["slopes"]), means=tuple(values["means"])
    )
    evidence = torch.from_numpy(found.evidence).float()
    told = expectation.errors_mm(evidence, 1.0), expectation.chances(evidence, 1.0)
    return Foretold(found.errors, *(column.numpy() for column in told))


def check(name: str, told: Foretold) -> None:
    kept = told.expected <= np.quantile(told.expected, 0.8)
    best = told.errors <= np.quantile(told.errors, 0.8)
    cut, possible = (1 - told.errors[those].mean() / told.errors.mean() for those in (kept, best))
    print(
        f"{name}: {len(told.errors)} landmarks, error {told.errors.mean():.2f} mm, expected {told.expected.mean():.2f};"
        f" rank correlation {spearmanr(told.expected, told.errors)[0]:.2f}, without the worst fifth {cut:.0%} less,"
        f" {possible:.0%} if the true errors were known"
    )
    groups = np.array_split(np.argsort(told.chances), 5)
    stated = ", ".join(
        f"{told.chances[group].mean():.0%} ({(told.errors[group] <= CLOSE_MM).mean():.0%})" for group in groups
    )
    print(f"  chance to be within {CLOSE_MM:g} mm, stated (true): {stated}")


if __name__ == "__main__":
    main()
