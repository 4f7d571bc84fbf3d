"""How well transforms fitted to four fifths of the landmarks carry the other fifth: ours beside antspyx and libcpab.

    python Testing/Benchmarks/transform_fits.py OUT [--targets 11] [--methods cpab ants-diffeo …]

Brain 1000 onto the others. Prints for each method the error at the landmarks that were left out, the residual at the
others, the share of places at which it folds, and the seconds of a fit; and beside each how CPAB compares in the same
cases. Then the processor seconds of a fit to all landmarks and of the warped volume, for the first target. Writes
OUT/METHOD.json; a run that was stopped goes on where it was. Needs the extra `evaluation`; `libcpab` and `setuptools`
for the method of that name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from cases import Case, data_folder, read_case
from transform_peers import PEERS

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching import Matcher
from deepfeatures.pipelines.transforms import with_keypoints
from deepfeatures.transforms.fitting import ELASTIC, KINDS, fit_transform
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.pairing import LandmarkPairs
from deepfeatures.transforms.resampling import resample
from deepfeatures.transforms.transform import Transform

TEMPLATE = "1000"
FOLDS = 5
REFERENCE = "cpab"
# Of the slow ones; all of the others.
CASES = {"ants-diffeo": 1, "ants-tps": 3, "ants-bspline": 11, "libcpab": 5}
CASES |= {"tps-keypoints": 11, "bspline-keypoints": 11, "cpab-keypoints": 11}
PLACES, BEYOND_MM, STEP_MM = 3000, 10.0, 0.1  # at which folds are looked for, around the landmarks
WARPED = ("tps", "bspline", "cpab", "ants-tps", "ants-bspline", "ants-diffeo")


@dataclass(frozen=True, eq=False)
class Pair:
    """A template and a target with the same landmarks, some of which a fit may use."""

    template: Case
    target: Case
    used: np.ndarray

    @property
    def points(self) -> np.ndarray:
        return self.template.landmarks.positions[self.used]

    @property
    def targets(self) -> np.ndarray:
        return self.target.landmarks.positions[self.used]


Method = Callable[[Pair], Callable[[np.ndarray], np.ndarray]]


def kind(name: str) -> Method:
    """A fit of ours."""

    def fit(pair: Pair) -> Transform:
        names = tuple(one.name for one in used_of(pair))
        pairs = LandmarkPairs(names, pair.points, pair.targets, np.zeros(len(names)))
        return fit_transform(name, pairs, Grid.of(pair.template.volume)).transform

    return fit


def kind_with_keypoints(name: str) -> Method:
    """The same, where keypoints of a search count, too."""

    def fit(pair: Pair) -> Transform:
        known = used_of(pair)
        pairs = LandmarkPairs(tuple(one.name for one in known), pair.points, pair.targets, np.zeros(len(known)))
        found = Matcher().match(pair.template.volume, known, pair.target.volume)
        return fit_transform(name, with_keypoints(pairs, found, len(known)), Grid.of(pair.template.volume)).transform

    return fit


def used_of(pair: Pair) -> LandmarkSet:
    """The template's landmarks that may be used."""
    return LandmarkSet(tuple(one for one, used in zip(pair.template.landmarks, pair.used, strict=True) if used))


def search(pair: Pair) -> Callable[[np.ndarray], np.ndarray]:
    """The search's own mapping, which knows no landmark of the target, and of the template only those it may use."""
    found = Matcher().match(pair.template.volume, used_of(pair), pair.target.volume).mapping
    assert found is not None
    return found


def peer(name: str) -> Method:
    return lambda pair: PEERS[name](pair.points, pair.targets, pair.template.volume)


METHODS: dict[str, Method] = {
    **{name: kind(name) for name in KINDS},
    "field": search,
    **{f"{name}-keypoints": kind_with_keypoints(name) for name in ELASTIC},
    **{name: peer(name) for name in PEERS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--targets", type=int, default=11)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    template = read_case(data_folder() / "brain" / f"{TEMPLATE}.nii.gz")
    files = [file for file in sorted((data_folder() / "brain").glob("*.nii.gz")) if not file.name.startswith(TEMPLATE)]
    targets = [read_case(file) for file in files[: arguments.targets]]
    for name in arguments.methods:
        run(name, template, targets, arguments.out / f"{name}.json")
    print(table(arguments.out).to_string())
    print(seconds_to_warp(template, targets[0], arguments.methods, arguments.out / "warp.json").to_string())


def run(name: str, template: Case, targets: list[Case], path: Path) -> None:
    """Rows of a method, each written as soon as it is known. The first cases hold every target once."""
    rows = json.loads(path.read_text()) if path.exists() else []
    cases = [(target, (index + turn) % FOLDS) for turn in range(FOLDS) for index, target in enumerate(targets)]
    for target, fold in cases[: CASES.get(name)][len(rows) :]:
        left_out = np.arange(len(template.landmarks)) % FOLDS == fold
        pair = Pair(template, target, ~left_out)
        started = time.perf_counter()
        transform = METHODS[name](pair)
        seconds = time.perf_counter() - started
        off = np.linalg.norm(transform(template.landmarks.positions) - target.landmarks.positions, axis=1)
        rows.append(
            {
                "method": name,
                "target": target.name,
                "fold": fold,
                "error_mm": float(off[left_out].mean()),
                "residual_mm": float(off[~left_out].mean()),
                "folded": folded_share(transform, template.landmarks.positions),
                "seconds": seconds,
            }
        )
        path.write_text(json.dumps(rows, indent=1))


def folded_share(transform: Callable[[np.ndarray], np.ndarray], landmarks: np.ndarray) -> float:
    """Of random places around the landmarks, those at which the transform turns space inside out."""
    low, high = landmarks.min(0) - BEYOND_MM, landmarks.max(0) + BEYOND_MM
    places = np.random.default_rng(0).uniform(low, high, (PLACES, 3))
    steps = STEP_MM * np.eye(3)
    columns = [(transform(places + step) - transform(places - step)) / (2 * STEP_MM) for step in steps]
    return float((np.linalg.det(np.stack(columns, -1)) <= 0).mean())


def table(out: Path) -> pd.DataFrame:
    """Means of each method, and what the reference has in the same cases."""
    rows = pd.concat(pd.DataFrame(json.loads((out / f"{name}.json").read_text())) for name in found(out))
    values = rows.set_index(["method", "target", "fold"])
    reference = values.loc[REFERENCE] if REFERENCE in found(out) else None
    lines = {}
    for name in found(out):
        own = values.loc[name]
        lines[name] = {"cases": len(own), **own.mean()}
        if reference is not None:
            same = reference.loc[reference.index.intersection(own.index)].mean()
            share = own.mean() / same
            lines[name] |= {
                f"{column} / {REFERENCE}": share[column] for column in ("error_mm", "residual_mm", "seconds")
            }
    return pd.DataFrame(lines).T.round(4)


def found(out: Path) -> list[str]:
    return [name for name in METHODS if (out / f"{name}.json").exists()]


def seconds_to_warp(template: Case, target: Case, methods: list[str], path: Path) -> pd.DataFrame:
    """Processor seconds of a fit to all landmarks, and of the target seen on the template's grid."""
    rows = json.loads(path.read_text()) if path.exists() else {}
    pair = Pair(template, target, np.ones(len(template.landmarks), bool))
    for name in (one for one in methods if one in WARPED and one not in rows):
        # Of all cores together, in which other programs do not count as they do in seconds.
        started = time.process_time()
        transform = METHODS[name](pair)
        fitted = time.process_time()
        if isinstance(transform, Transform):
            resample(target.volume, transform, template.volume)
        else:
            transform.warp(target.volume, template.volume)
        warped = time.process_time()
        off = np.linalg.norm(transform(pair.points) - pair.targets, axis=1).mean()
        rows[name] = {"fit": fitted - started, "warp": warped - fitted, "residual_mm": float(off)}
        path.write_text(json.dumps(rows, indent=1))
    lines = pd.DataFrame(rows).T
    if REFERENCE in rows:
        total = lines.fit + lines.warp
        lines[f"fit / {REFERENCE}"] = lines.fit / lines.fit[REFERENCE]
        lines[f"both / {REFERENCE}"] = total / total[REFERENCE]
    return lines.round(3)


if __name__ == "__main__":
    main()
