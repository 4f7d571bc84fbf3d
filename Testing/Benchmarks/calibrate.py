"""Calibrate the doubt of the default search, and check it on people and on sets that took no part.

    python Testing/Benchmarks/collect.py FOLDER              # first: place all pairs of doubt_sets.py, about an hour
    python Testing/Benchmarks/calibrate.py FOLDER            # check, and write pretrained/expected_error.json
    python Testing/Benchmarks/calibrate.py FOLDER --check    # only check
    python Testing/Benchmarks/calibrate.py FOLDER --network cifl/fine_ssc      # of what was so collected

The error model is fitted to the right anatomy of every set, in the way in which the template fits best; each set weighs
the same, but those of real people twice as much. The check prints a row a set, once by models that knew neither the
template's nor the target's person, and once by models that knew nothing of the set:

- the median error, and the share of points that are 10 mm off though they are stated to be within 3 mm at 80 % or more,
  or 5 % of the template's size off though stated to be within 2 % of it;
- how many of the true places lie within the radii of 50 and of 90 %, and the median radius of 90 % beside the best
  constant radius of the same coverage;
- where the anatomy repeats: how often the level is right, how often a wrong one is neither ambiguous nor doubtful;
- the share of pairs that are refused as unlike.

Alternatives count as they do in the result: chances are shared, radii reach as far as they must.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from doubt_sets import RIGHT, SPOILT, WRONG

from deepfeatures.matching.guided.acceptance import (
    FLAT,
    FLAT_SCALE,
    LEAST_AMBIGUOUS,
    LEAST_CONTRAST,
    LEAST_PROBABILITY,
)
from deepfeatures.matching.guided.same_anatomy import same_anatomy
from deepfeatures.matching.settings import BEST_GUIDED
from deepfeatures.matching.uncertainty.assessment import Predictions, assess
from deepfeatures.matching.uncertainty.calibration import fit_error_model
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE, TOLERANCE, ErrorModel, to_values
from deepfeatures.matching.uncertainty.mixture import Mixture
from deepfeatures.matching.uncertainty.samples import MatchSamples, without_people, without_sets

REAL_WEIGHT = 2.0  # of a set of real people, in that of a set of made ones
PREDICTED = tuple(column.name for column in fields(Predictions))
SHIFTED = 0.5  # of the distance between two ways: a median error beyond it is a wrong level
Columns = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Placed:
    """What was collected of one set.

    Args:
        rows: By column, an entry for each landmark in each way of each pair.
    """

    name: str
    rows: Columns

    @property
    def errors_mm(self) -> np.ndarray:
        return np.linalg.norm(self.rows["found"] - self.rows["true"], axis=1)

    @property
    def is_given(self) -> np.ndarray:
        """Of each row, whether the landmark would be given, but for doubt."""
        rows = self.rows
        flat = rows["evidence"][:, NAMES.index(FLAT_SCALE)] < FLAT
        alike = same_anatomy(rows["similarity"], rows["searched"], rows["consistent_share"])
        return alike & ~flat & (rows["telling"] > LEAST_CONTRAST) & rows["inside"] & np.isfinite(rows["true"][:, 0])

    def take(self, mask: np.ndarray) -> Placed:
        return Placed(self.name, {key: column[mask] for key, column in self.rows.items()})

    @property
    def best_way(self) -> np.ndarray:
        """Of each row, whether its way has the smallest median error of its pair."""
        mask, errors = np.zeros(len(self.rows["pair"]), bool), self.errors_mm
        for pair in np.unique(self.rows["pair"]):
            of_pair = self.rows["pair"] == pair
            ways = np.unique(self.rows["way"][of_pair])
            medians = [np.nanmedian(errors[of_pair & (self.rows["way"] == way)]) for way in ways]
            mask |= of_pair & (self.rows["way"] == ways[int(np.argmin(medians))])
        return mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="only check")
    parser.add_argument("--network", metavar="NETWORK/LAYER", default="/".join(BEST_GUIDED[:2]))
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    sets = {
        path.stem: Placed(path.stem, dict(np.load(path)))
        for path in sorted(arguments.folder.glob("*.npz"))
        if len(np.load(path).files)
    }
    right = [samples(sets[name]) for name in RIGHT if name in sets]
    right = [one for one in right if len(one)]
    figures = {"people left out": {}, "set left out": {}}
    for title, folds in (("people left out", without_people), ("set left out", without_sets)):
        print(f"\n{title}\n{HEAD}")
        models = list(folds(right))
        fitted = [(fit_error_model(kept), judged) for kept, judged in models]
        for number, one in enumerate(right):
            parts = [(model, judged[number]) for model, judged in fitted if judged[number].any()]
            figures[title][one.name] = row(sets[one.name], parts)
    model = fit_error_model(right)
    print(f"\nspoilt, by the model of all\n{HEAD}")
    for name in (*SPOILT, *WRONG):
        if name in sets:
            figures[name] = row(sets[name], [(model, np.ones(len(sets[name].rows["pair"]), bool))], spoilt=True)
    if not arguments.check:
        values = json.loads(FILE.read_text())
        values[f"{arguments.network}/{BEST_GUIDED[2]}"] = to_values(model)
        FILE.write_text(json.dumps(values, indent=1) + "\n")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def samples(placed: Placed) -> MatchSamples:
    """What the error model is fitted to."""
    found = placed.take(placed.is_given & placed.best_way)
    rows, spacings = found.rows, found.rows["spacing_mm"]
    return MatchSamples(
        rows["evidence"].astype(float),
        found.errors_mm / spacings,
        spacings,
        rows["size_mm"],
        rows["template"],
        rows["target"],
        placed.name,
        1.0 if placed.name.startswith("made") else REAL_WEIGHT,
    )


HEAD = (
    f"{'':26}{'points':>7}{'mm':>7}{'wrong':>7}{'>5 %':>7}{'50 %':>7}{'90 %':>7}{'ratio':>7}"
    f"{'level':>7}{'silent':>7}{'refused':>9}"
)


def row(placed: Placed, parts: list[tuple[ErrorModel, np.ndarray]], spoilt: bool = False) -> dict[str, float]:
    """The figures of one set, printed; `parts` are models and the rows of `samples` that each judges."""
    pairs = np.unique(placed.rows["pair"])
    alike = same_anatomy(placed.rows["similarity"], placed.rows["searched"], placed.rows["consistent_share"])
    refused = np.mean([~alike[(placed.rows["pair"] == pair) & (placed.rows["way"] == 0)].any() for pair in pairs])
    if spoilt:
        judged = [(model, placed.take(placed.is_given)) for model, _ in parts]
    else:
        people = placed.take(placed.is_given & placed.best_way).rows
        judged = []
        for model, mask in parts:
            of_these = np.isin(placed.rows["pair"], people["pair"][mask])
            judged.append((model, placed.take(placed.is_given & of_these)))
    every = [said(model, part) for model, part in judged if len(part.rows["pair"])]
    stated = [one for one in every if len(one["errors_mm"])]
    columns = {key: np.concatenate([one[key] for one in stated]) for key in stated[0]} if stated else {}
    kept = columns["doubtful"] < 0.5 if stated else np.zeros(0, bool)
    if not kept.any():
        print(f"{placed.name:26}{'none given':>14}{refused:>65.1%}")
        return {"points": 0, "refused": float(refused)}
    columns = {key: column[kept] for key, column in columns.items()}
    told = assess(Predictions(*(columns[name] for name in PREDICTED)))
    shifted = columns["shifted"] > 0.5
    silent = shifted & (columns["ambiguous"] < 0.5) & (columns["probabilities"] >= 0.5)
    pairs_right = 1 - np.mean([shifted[columns["pair"] == pair].mean() > 0.5 for pair in np.unique(columns["pair"])])
    figures = {
        "points": len(shifted),
        "median_mm": float(np.median(columns["errors_mm"])),
        "sure_and_wrong": told.sure_and_wrong,
        "sure_and_wrong_by_size": told.sure_and_wrong_by_size,
        "coverage_50": told.coverage_50,
        "coverage_90": told.coverage_90,
        "radius_ratio": told.radius_ratio,
        "level_right": float(pairs_right),
        "silent_shift": float(silent.mean()),
        "refused": float(refused),
    }
    numbers = list(figures.values())
    print(
        f"{placed.name:26}{numbers[0]:7d}{numbers[1]:7.2f}{numbers[2]:7.1%}{numbers[3]:7.1%}{numbers[4]:7.0%}"
        f"{numbers[5]:7.0%}{numbers[6]:7.2f}{numbers[7]:7.0%}{numbers[8]:7.1%}{numbers[9]:9.1%}",
        flush=True,
    )
    return figures


def said(model: ErrorModel, placed: Placed) -> Columns:
    """What the result says of the first way of every pair, beside the truth."""
    parts = []
    for pair in np.unique(placed.rows["pair"]):
        of_pair = placed.take(placed.rows["pair"] == pair)
        first = of_pair.take(of_pair.rows["way"] == 0)
        if len(first.rows["pair"]) == 0:
            continue
        ways = [of_pair.take(of_pair.rows["way"] == way) for way in np.unique(of_pair.rows["way"]) if way]
        marks = first.rows["landmark"]
        for way in ways:
            marks = np.intersect1d(marks, way.rows["landmark"])
        first, *ways = [way.take(np.isin(way.rows["landmark"], marks)) for way in (first, *ways)]
        if len(marks):
            parts.append(_said(model, first, ways))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {"errors_mm": []}


def _said(model: ErrorModel, first: Placed, ways: list[Placed]) -> Columns:
    rows, spacing = first.rows, float(first.rows["spacing_mm"][0])
    apart = [np.linalg.norm(way.rows["found"] - rows["found"], axis=1) for way in ways]
    distances = torch.tensor(np.array(apart).reshape(len(ways), len(rows["found"])).T, dtype=torch.float64)
    chances = torch.tensor([float(way.rows["probability"][0]) for way in ways], dtype=torch.float64)
    evidence = torch.from_numpy(rows["evidence"]).double()
    places, ones = Mixture(model, evidence, spacing, chances, distances), torch.ones(len(evidence), dtype=torch.float64)
    errors = first.errors_mm
    nearest = min((float(np.median(one)) for one in apart), default=np.inf)
    return {
        "errors_mm": errors,
        "expected_mm": places.errors_mm().numpy(),
        "probabilities": places.within(CLOSE_MM * ones).numpy(),
        "within_tolerance": places.within(TOLERANCE * float(rows["size_mm"][0]) * ones).numpy(),
        "radii_50_mm": places.radii_mm(0.5).numpy(),
        "radii_90_mm": places.radii_mm(0.9).numpy(),
        "doubtful": (model.probabilities(evidence, 1.0).numpy() < LEAST_PROBABILITY).astype(float),
        "ambiguous": np.full(len(errors), float(chances.sum()) >= LEAST_AMBIGUOUS, float),
        "shifted": np.full(len(errors), np.median(errors) > max(SHIFTED * min(nearest, 30.0), 10.0), float),
        "sizes_mm": rows["size_mm"],
        "pair": rows["pair"],
    }


if __name__ == "__main__":
    main()
