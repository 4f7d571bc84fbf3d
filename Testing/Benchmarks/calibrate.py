"""Calibrate the expected error of the default search, and check it on people who took no part.

    python Testing/Benchmarks/calibrate.py             # calibrate, check, and write pretrained/expected_error.json
    python Testing/Benchmarks/calibrate.py --check     # check what is there
    python Testing/Benchmarks/calibrate.py --check --together      # of targets that help one another
    python Testing/Benchmarks/calibrate.py --network cifl/fine_ssc      # the same for other features

Half of the people of each set calibrate, with many of them as templates; the other half, with templates of their own,
check: hippocampi once with two templates in all others and once with forty in five each, brains each in all others.
Both sets weigh the same. The check prints the rank correlation of expected and true error; by how much the mean falls
when the fifth with the largest expected error is set aside, and the one with the largest true error; and, in five
groups of rising chance to be within 3 mm, the mean chance stated and the share that was.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cases import Case, data_folder, errors, person, read_case
from scipy.stats import spearmanr

from deepfeatures.matching import Matcher
from deepfeatures.matching.evidence import NAMES
from deepfeatures.matching.expectation import CLOSE_MM, FILE, Expectation
from deepfeatures.matching.match_settings import GUIDED

OFFSET, RIDGE = 0.3, 0.1  # voxels; weight of small slopes
BRAINS = ("1001", "1002", "1007", "1008", "1009", "1010")  # those that calibrate
OTHER_BRAINS = ("1000", "1011", "1012", "1015", "1017", "1036")  # those that check
Pairs = list[tuple[str, tuple[str, ...]]]  # templates and their targets


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one set: a row a landmark. Lengths in voxels of the finest level, 1 mm here."""

    name: str
    evidence: np.ndarray
    errors: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check")
    parser.add_argument("--together", action="store_true", help="check on targets that help one another")
    parser.add_argument("--cache", type=Path, help="keep what was found in this .npz file, or take it from there")
    parser.add_argument("--network", metavar="NETWORK/LAYER", default="/".join(GUIDED[:2]))
    arguments = parser.parse_args()
    network, layer = arguments.network.split("/")
    key = f"{network}/{layer}/{GUIDED[2]}"

    def matcher() -> Matcher:
        return Matcher(network, layer, GUIDED[2], search="guided")

    if not arguments.check:
        calibration = collect(matcher, pairs(calibrating=True), arguments.cache, "calibrate")
        values = json.loads(FILE.read_text())
        values[key] = fit(calibration)
        FILE.write_text(json.dumps(values, indent=1) + "\n")
    key_of_check = "check together" if arguments.together else "check"
    for found in collect(matcher, pairs(calibrating=False), arguments.cache, key_of_check, arguments.together):
        check(found, json.loads(FILE.read_text())[key])


def pairs(*, calibrating: bool) -> dict[str, Pairs]:
    """By set; what precedes a comma is the folder of the data."""
    folder = data_folder() / "hippocampus"
    names = sorted(path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz"))
    half = [name for name in names if (person(name) % 2 == 0) == calibrating]
    brains = BRAINS if calibrating else OTHER_BRAINS
    each = {
        "hippocampus": _drawn(half, 40, seed=0 if calibrating else 1),
        "brain": [(name, tuple(other for other in brains if other != name)) for name in brains],
    }
    if calibrating:
        return each
    two = [(name, tuple(half)) for name in ("hippocampus_001", half[40])]
    return {"hippocampus, 2 templates": two, "hippocampus, 40 templates": each["hippocampus"], "brain": each["brain"]}


def _drawn(names: list[str], templates: int, seed: int) -> Pairs:
    """Random templates with five random targets each."""
    random = np.random.default_rng(seed)
    chosen = random.choice(names, templates, replace=False)
    return [(str(name), tuple(map(str, random.choice(names, 5, replace=False)))) for name in chosen]


def collect(
    make: Callable[[], Matcher], wanted: dict[str, Pairs], cache: Path | None, key: str, together: bool = False
) -> list[Found]:
    """Place the landmarks of every pair, by a matcher a template."""
    kept = dict(np.load(cache)) if cache and cache.exists() else {}
    found = []
    for name, groups in wanted.items():
        if f"{key}/{name}/errors" not in kept:
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
            if cache:
                np.savez(cache, **kept)
        found.append(Found(name, kept[f"{key}/{name}/evidence"], kept[f"{key}/{name}/errors"]))
    return found


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


def check(found: Found, values: dict) -> None:
    names = ("intercept", "offset", "deviation")
    expectation = Expectation(
        **{name: values[name] for name in names}, slopes=tuple(values["slopes"]), means=tuple(values["means"])
    )
    evidence = torch.from_numpy(found.evidence).float()
    expected, chances = expectation.errors_mm(evidence, 1.0).numpy(), expectation.chances(evidence, 1.0).numpy()
    kept = expected <= np.quantile(expected, 0.8)
    best = found.errors <= np.quantile(found.errors, 0.8)
    cut, possible = (1 - found.errors[those].mean() / found.errors.mean() for those in (kept, best))
    print(
        f"{found.name}: {len(expected)} landmarks, error {found.errors.mean():.2f} mm, expected {expected.mean():.2f};"
        f" rank correlation {spearmanr(expected, found.errors)[0]:.2f}, without the worst fifth {cut:.0%} less,"
        f" {possible:.0%} if the true errors were known"
    )
    groups = np.array_split(np.argsort(chances), 5)
    stated = ", ".join(
        f"{chances[group].mean():.0%} ({(found.errors[group] <= CLOSE_MM).mean():.0%})" for group in groups
    )
    print(f"  chance to be within {CLOSE_MM:g} mm, stated (true): {stated}")


if __name__ == "__main__":
    main()
