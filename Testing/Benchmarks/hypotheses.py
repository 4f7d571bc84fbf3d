"""Do the ends of a repeated anatomy tell which level is the right one? Weights of `guided/hypotheses.py`.

    python Testing/Benchmarks/hypotheses.py FILE.json [--pairs 132]     # a pair takes about 5 s
    python Testing/Benchmarks/hypotheses.py FILE.json --fit             # only from what FILE.json keeps

Pairs of T1 spines, whole and without one end, with the hypotheses that the search settles. Prints how often the most
likely one is the right one, how often it is so by less than 90 %, and the mean of minus the logarithm of the chance of
the right one: by the weights of the product; by weights fitted to all pairs; and by weights fitted without the people
of the pair, which tells what the fit is worth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from cases import Case, data_folder, read_case
from crops import cropped
from doubt_sets import T1_SPINES

from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.matching.guided.hypotheses import SHRINKING, WEIGHTS, hypotheses, repeats
from deepfeatures.matching.guided.registration import finest_spacing

RIDGE = 1e-3
NEAR_MM = 15.0  # median error of the right level, before landmarks are registered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pairs", type=int, default=132, help="so many, drawn at random")
    parser.add_argument("--fit", action="store_true", help="only fit")
    arguments = parser.parse_args()
    kept = json.loads(arguments.file.read_text()) if arguments.file.exists() else []
    if not arguments.fit:
        pairs = list(permutations(T1_SPINES, 2))
        order = np.random.default_rng(0).permutation(len(pairs))[: arguments.pairs]
        for number in order[len(kept) // 2 :]:
            kept += settled_pair(*pairs[number], int(number))
            arguments.file.write_text(json.dumps(kept) + "\n")
    usable = [one for one in kept if min(one["errors_mm"]) < NEAR_MM and len(one["errors_mm"]) > 1]
    product = np.array(list(WEIGHTS.values()))
    for part in (False, True):
        some = [one for one in usable if one["is_part"] == part]
        if not some:
            continue
        print("without one end" if part else "whole", text("the product's weights", [(one, product) for one in some]))
        fitted = fit(some)
        print("  ", np.round(fitted, 1), text("fitted", [(one, fitted) for one in some]))
        others = [(one, fit([two for two in some if not set(one["people"]) & set(two["people"])])) for one in some]
        print("  ", text("fitted without the pair's people", others))


def settled_pair(template_name: str, target_name: str, seed: int) -> list[dict]:
    template, whole = (read_case(data_folder() / "spine" / f"{name}.nii.gz") for name in (template_name, target_name))
    rows = []
    for part, target in enumerate((whole, cropped(whole, np.random.default_rng(seed))[0])):
        rows.append({"people": [template_name, target_name], "is_part": bool(part), **settled(template, target)})
        print(template_name, target_name, rows[-1], flush=True)
    return rows


def settled(template: Case, target: Case) -> dict:
    matcher = Matcher()
    search = matcher._guided
    request = matcher._request(template.volume, template.landmarks, target.volume)
    prepared, settings = search._prepare(request), search._settings
    pair = replace(prepared.pair, encode=search._encode_for_pose())
    finest_mm = finest_spacing(pair.template.image, pair.target.image, settings)
    landmarks = pair.template.image.from_world(request.positions)
    truth = pair.target.image.from_world(target.landmarks.positions)
    with torch.inference_mode():
        lags = repeats(pair, landmarks, finest_mm, settings)
        found = hypotheses(pair, prepared.poses[0], lags, landmarks, finest_mm, settings) if len(lags) else ()
    return {
        "numbers": [[getattr(one, name) for name in WEIGHTS] for one in found],
        "coverable": [one.coverable for one in found],
        "errors_mm": [float((apply_affine(one.pose.matrix, landmarks) - truth).norm(dim=1).median()) for one in found],
    }


def chances(one: dict, weights: np.ndarray) -> np.ndarray:
    odds = np.array(one["coverable"]) ** SHRINKING * (np.array(one["numbers"]) @ weights)
    shares = np.exp(odds - odds.max())
    return shares / shares.sum()


def fit(pairs: list[dict]) -> np.ndarray:
    """Weights by which the right hypotheses are the most likely (conditional logit, Newton's method)."""
    scales = np.concatenate([one["numbers"] for one in pairs]).std(0)
    weights = np.zeros(len(scales))
    for _ in range(100):
        gradient, curvature = RIDGE * weights, RIDGE * np.eye(len(weights))
        for one in pairs:
            numbers = np.array(one["coverable"])[:, None] ** SHRINKING * np.array(one["numbers"]) / scales
            shares, right = chances(one, weights / scales), int(np.argmin(one["errors_mm"]))
            centred = numbers - shares @ numbers
            gradient = gradient - centred[right] / len(pairs)
            curvature = curvature + (centred * shares[:, None]).T @ centred / len(pairs)
        weights = weights - np.linalg.solve(curvature, gradient)
    return weights / scales


def text(name: str, judged: list[tuple[dict, np.ndarray]]) -> str:
    found = [(chances(one, weights), int(np.argmin(one["errors_mm"]))) for one, weights in judged]
    right = np.mean([shares.argmax() == best for shares, best in found])
    open_ = np.mean([shares.max() < 0.9 for shares, _ in found])
    loss = -np.mean([np.log(max(shares[best], 1e-6)) for shares, best in found])
    return f"{name}: right {right:.1%} of {len(found)}, below 90 % {open_:.0%}, loss {loss:.3f}"


if __name__ == "__main__":
    main()
