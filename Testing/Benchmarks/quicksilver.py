"""How near do the shipped Quicksilver networks come to the momenta that they learnt, and do they help landmarks?

    python Testing/Benchmarks/quicksilver.py [--pairs 20] [--samples 8] [--output quicksilver.json]

Pairs of hippocampi of the last fifth of the people, whom the shipped weights have never seen. Each pair is matched by
the product. What lies between its pose and the truth is deformed in six ways: not at all, by the fitted momentum (the
teacher), by the push of one or of two steps without any network, by the predicted momentum, and by the predicted one
after its correction. Shown for each of them:

- squared differences of the images, and the share of the teacher's fall that is reached;
- how far the points lie that the product settled, in mm;
- landmarks, mm, beside the product's; the smallest Jacobian determinant; seconds of computing, on one core.

At last, how the spread of predictions with dropout ranks their errors at landmarks, beside what the product's expected
error does for its own.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import Case, data_folder, errors, person, read_folder

from deepfeatures.matching import Matcher
from deepfeatures.training.momentum_pairs import fitted_pair, posed_pair_of, settled_points
from deepfeatures.training.pair_plan import planned_pairs
from deepfeatures.transforms.lddmm import flow, shoot, warped
from deepfeatures.transforms.lddmm_fit import FitSettings, push
from deepfeatures.transforms.quicksilver import SPACING_MM, PosedPair, Quicksilver
from deepfeatures.transforms.samplers import voxel_coordinates

WAYS = ("pose", "teacher", "one step", "two steps", "predicted", "corrected")


@dataclass(frozen=True, eq=False)
class Row:
    """One pair: figures by way, and of each landmark what ranks its error."""

    figures: dict[str, dict[str, float]]
    spread: np.ndarray
    error: np.ndarray
    expected: np.ndarray
    product_error: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=8, help="predictions with dropout")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    cases = list(read_folder(data_folder() / "hippocampus"))
    plan = planned_pairs([str(person(case.name)) for case in cases], 1, 1, arguments.pairs, seed=0)
    matcher, networks = Matcher(), Quicksilver.shipped()
    rows = [
        row
        for template, target in plan.held_out
        if (row := measured(cases[template], cases[target], matcher, networks, arguments.samples))
    ]
    found = summary(rows)
    for name, figures in found.items():
        print(f"{name:10}", ", ".join(f"{key} {value:.3g}" for key, value in figures.items()))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


def measured(template: Case, target: Case, matcher: Matcher, networks: Quicksilver, samples: int) -> Row | None:
    """All ways for one pair; `None` where the product does not find the template's anatomy."""
    started = time.process_time()
    result = matcher.match(template.volume, template.landmarks, target.volume)
    seconds = {"product": time.process_time() - started}
    if result.mapping is None or len(result.landmarks) != len(target.landmarks):
        return None
    pair = posed_pair_of(template.volume, target.volume, result.mapping, SPACING_MM)
    pull = settled_points(pair, result.mapping)
    started = time.process_time()
    momenta = {"teacher": fitted_pair(pair, result.mapping, FitSettings()).momentum}
    seconds["teacher"] = time.process_time() - started
    for name, used in (("predicted", Quicksilver(networks.prediction)), ("corrected", networks)):
        started = time.process_time()
        momenta[name] = used.register(pair).momentum
        seconds[name] = time.process_time() - started
    kernel, figures = pair.kernel(), {}
    step, seen = momenta["teacher"] * 0, pair.target
    for name in ("one step", "two steps"):
        step = step + push(pair.template.voxels, seen, kernel)
        momenta[name], seen = step, warped(pair.target, shoot(step, kernel))
    for name in WAYS:
        velocities = shoot(momenta.get(name, 0 * momenta["teacher"]), kernel)
        transform = pair.transform(velocities)
        off = (flow(pull.points, velocities) - pull.points - pull.displacements).norm(dim=1)
        inner = voxel_coordinates(pair.target.shape)[pair.inside][::7].double().numpy()
        figures[name] = {
            "images": difference(pair, warped(pair.target, velocities)),
            "points mm": float((off * pull.weights).sum() / pull.weights.sum()) * SPACING_MM,
            "landmarks mm": float(np.nanmean(errors(transform(template.landmarks.positions), target))),
            "least determinant": float(transform.jacobian_determinant(pair.template.to_world(inner)).min()),
            "seconds": seconds.get(name, 0.0),
        }
    product_error = errors(result.landmarks.positions, target)
    figures["product"] = {"landmarks mm": float(np.nanmean(product_error)), "seconds": seconds["product"]}
    others = networks.register(pair, samples)
    return Row(
        figures,
        others.spread_mm(template.landmarks.positions),
        errors(others.transform(template.landmarks.positions), target),
        np.array([landmark.expected_error_mm or np.nan for landmark in result.landmarks], float),
        product_error,
    )


def difference(pair: PosedPair, seen) -> float:
    """Mean squared difference of the images where both volumes show something."""
    return float((seen - pair.template.voxels)[pair.inside].square().mean())


def summary(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Means over the pairs, shares of the teacher's fall, and how well errors are ranked."""
    found = {
        name: {key: float(np.nanmean([row.figures[name][key] for row in rows])) for key in rows[0].figures[name]}
        for name in (*WAYS, "product")
    }
    for name in WAYS:
        found[name]["least determinant"] = min(row.figures[name]["least determinant"] for row in rows)
        for key in ("images", "points mm"):
            fall = found["pose"][key] - found["teacher"][key]
            found[name][f"share of the fall, {key}"] = (found["pose"][key] - found[name][key]) / fall
    found["ranking"] = {
        "pairs": float(len(rows)),
        "spread": spearman(*(np.concatenate([getattr(row, key) for row in rows]) for key in ("spread", "error"))),
        "expected error": spearman(
            *(np.concatenate([getattr(row, key) for row in rows]) for key in ("expected", "product_error"))
        ),
    }
    return found


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of ranks; what is not known counts as nothing."""
    known = np.isfinite(first) & np.isfinite(second)
    ranks = [values[known].argsort().argsort() for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
