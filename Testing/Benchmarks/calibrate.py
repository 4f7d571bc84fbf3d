"""Calibrate the expected error of the default search, and check it on people who took no part.

    python Testing/Benchmarks/calibrate.py             # calibrate, check, and write pretrained/expected_error.json
    python Testing/Benchmarks/calibrate.py --check     # only check
    python Testing/Benchmarks/calibrate.py --check --together      # of targets that help one another
    python Testing/Benchmarks/calibrate.py --network cifl/fine_ssc      # the same for other features

The people of each set are two halves; template and target are always of the same. Both together calibrate what is
written; for the check, the model of one half predicts the errors of the other. A half calibrates with forty of its
hippocampi in five others each and with its brains each in all others. It is checked on these and on two of its
hippocampi in all others.

Both sets weigh the same. The check prints of either half, and of both, the rank correlation of expected and true error;
by how much the mean falls when the fifth with the largest expected error is set aside, and the one with the largest
true error; and, in five groups of rising probability to be within 3 mm, the mean stated and the share that was.
Several templates have a calibration of their own, `panels.py`, which builds on this one and follows it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from cases import Case, data_folder, errors, person, read_case
from contrasts import guided

from deepfeatures.data.geometry import size_mm
from deepfeatures.matching import Matcher
from deepfeatures.matching.groupwise import GroupwiseModel
from deepfeatures.matching.settings import BEST_GUIDED
from deepfeatures.matching.uncertainty.assessment import Predictions, assess, joined_predictions, predict_matches
from deepfeatures.matching.uncertainty.calibration import fit_error_model, fit_without_each
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE, to_values
from deepfeatures.matching.uncertainty.samples import ROWS, MatchSamples, joined

SPACING_MM = 1.0  # of the finest level, in all these volumes
BRAINS = (("1001", "1002", "1007", "1008", "1009", "1010"), ("1000", "1011", "1012", "1015", "1017", "1036"))
HALVES = (0, 1)
CALIBRATING = ("hippocampus, many templates", "brain")
Pairs = list[tuple[str, tuple[str, ...]]]  # templates and their targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only check")
    parser.add_argument("--together", action="store_true", help="check on targets that help one another")
    parser.add_argument("--cache", type=Path, help="keep what was found in this .npz file, or take it from there")
    parser.add_argument("--network", metavar="NETWORK/LAYER", default="/".join(BEST_GUIDED[:2]))
    arguments = parser.parse_args()
    kept = dict(np.load(arguments.cache)) if arguments.cache and arguments.cache.exists() else {}

    def found_in(half: int, wanted: dict[str, Pairs], together: bool = False) -> dict[str, MatchSamples]:
        key = f"{'together, ' if together else ''}half {half}"
        found = collect(lambda: guided(arguments.network), wanted, kept, key, together)
        if arguments.cache:
            np.savez(arguments.cache, **kept)
        return found

    alone = [found_in(half, pairs(half, CALIBRATING)) for half in HALVES]
    checked = [found_in(half, pairs(half), arguments.together) for half in HALVES]
    models = fit_without_each(alone, lambda folds: fit_error_model([one for fold in folds for one in fold.values()]))
    for name in checked[0]:
        halves = [predict_matches(models[half], checked[half][name]) for half in HALVES]
        for half in HALVES:
            check(f"{name}, half {half}", halves[half])
        check(name, joined_predictions(halves))
    if not arguments.check:
        values = json.loads(FILE.read_text())
        everyone = [joined([half[name] for half in alone]) for name in CALIBRATING]
        values[f"{arguments.network}/{BEST_GUIDED[2]}"] = to_values(fit_error_model(everyone))
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
) -> dict[str, MatchSamples]:
    """Place the landmarks of every pair, by a matcher a template; what is kept under the key is not placed again."""
    for name, groups in wanted.items():
        if f"{key}/{name}/errors" in kept:
            continue
        parts, folder = [], data_folder() / name.split(",")[0]
        for template_name, names in groups:
            template = read_case(folder / f"{template_name}.nii.gz")
            targets = [read_case(folder / f"{other}.nii.gz") for other in names if other != template_name]
            placed = place(make(), template, targets, together=together)
            for target, (positions, features) in zip(targets, placed, strict=True):
                true = errors(positions, target)
                parts.append(samples(template, target, features, true))
                print(f"{key} {template_name} -> {target.name}: {np.nanmean(true):.2f} mm", flush=True)
        whole = joined(parts)
        kept.update({f"{key}/{name}/{column}": getattr(whole, column) for column in ROWS})
    return {name: MatchSamples(*(kept[f"{key}/{name}/{column}"] for column in ROWS), name) for name in wanted}


def samples(template: Case, target: Case, evidence: np.ndarray, true_mm: np.ndarray) -> MatchSamples:
    """Of the landmarks that were found."""
    known = np.isfinite(true_mm)
    size = float(np.prod(size_mm(template.volume.size, template.volume.spacing))) ** (1 / 3)
    ones, who = np.ones(known.sum()), [np.full(known.sum(), person_of(one.name)) for one in (template, target)]
    return MatchSamples(evidence[known], true_mm[known] / SPACING_MM, SPACING_MM * ones, size * ones, *who)


def person_of(name: str) -> str:
    """Both hippocampi of a person bear the same name."""
    return f"hippocampus {person(name)}" if name.startswith("hippocampus") else name


def place(
    matcher: Matcher, template: Case, targets: list[Case], *, together: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions in each target, `(N, 3)`, and their match features, which are those of the target alone, `(N, F)`."""
    group = GroupwiseModel()
    given = template.volume, template.landmarks
    results = [matcher.match(*given, target.volume, group=group) for target in targets]
    for target, result in zip(targets, results, strict=True):
        rows = result.evidence or ({},) * len(result.landmarks)
        features = np.array([[row.get(column, np.nan) for column in NAMES] for row in rows])
        if together:
            result = matcher.refine_with_group(*given, target.volume, result, group)
        yield result.landmarks.positions, features


def check(name: str, predictions: Predictions) -> None:
    found = assess(predictions)
    print(
        f"{name}: {len(predictions.errors_mm)} landmarks, error {predictions.errors_mm.mean():.2f} mm, expected"
        f" {predictions.expected_mm.mean():.2f}; rank correlation {found.rank_correlation:.2f}, without the worst fifth"
        f" {found.reduction:.0%} less, {found.largest_reduction:.0%} if the true errors were known"
    )
    stated = ", ".join(f"{said:.0%} ({true:.0%})" for said, true in found.reliability)
    print(f"  probability to be within {CLOSE_MM:g} mm, stated (true): {stated}")
    print(
        f"  radii hold in {found.coverage_50:.0%} and {found.coverage_90:.0%}; the median of 90 % is"
        f" {found.radius_ratio:.2f} of the best constant; sure and wrong {found.sure_and_wrong:.1%}, by size"
        f" {found.sure_and_wrong_by_size:.1%}"
    )


if __name__ == "__main__":
    main()
