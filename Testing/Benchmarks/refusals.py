"""How often is right anatomy refused, and wrong anatomy accepted? The trade-off, and where the search stands.

    python Testing/Benchmarks/collect.py FOLDER              # first
    python Testing/Benchmarks/refusals.py FOLDER

A pair of `doubt_sets.py` is right where its landmarks came to lie within 10 mm, or 6 % of the template's size, in the
median: what is misplaced may be refused. The curve is that of a logistic regression on four numbers: similarity of the
pose, whether it was searched, the consistent share, and the similarity of the registered volumes. Beside it stands the
rule of the search, `guided/same_anatomy.py`, which knows the first three.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from doubt_sets import RIGHT, WRONG

from deepfeatures.matching.guided.same_anatomy import same_anatomy
from deepfeatures.matching.uncertainty.covariates import NAMES

NEAR_MM, NEAR_SHARE = 10.0, 0.06
REFUSED = (0.0, 0.005, 0.01, 0.02, 0.05)  # shares of right pairs for which the curve is printed
RIDGE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    right, wrong = (
        np.concatenate(
            [pairs(folder / f"{name}.npz", kind is RIGHT) for name in kind if (folder / f"{name}.npz").exists()]
        )
        for kind in (RIGHT, WRONG)
    )
    for name, given in (("right", right), ("wrong", wrong)):
        print(f"{len(given)} {name} pairs, {1 - rule(given).mean():.1%} of them refused by the rule")
    odds = log_odds(right, wrong)
    for share in REFUSED:
        threshold = np.quantile(odds[0], share)
        accepted = (odds[1] >= threshold).mean()
        print(f"log odds of {threshold:.2f}: {share:.1%} of right pairs refused, {accepted:.1%} of wrong ones accepted")


def pairs(path: Path, must_be_near: bool) -> np.ndarray:
    """Similarity, searched, consistent share (negative for unknown) and similarity of the features, a row a pair."""
    rows, found = dict(np.load(path)), []
    for pair in np.unique(rows["pair"]):
        of_pair = (rows["pair"] == pair) & (rows["way"] == 0)
        first = int(np.flatnonzero(of_pair)[0])
        error = (
            np.nanmedian(np.linalg.norm(rows["found"][of_pair] - rows["true"][of_pair], axis=1)) if must_be_near else 0
        )
        if error < max(NEAR_MM, NEAR_SHARE * rows["size_mm"][first]):
            lacking = float(np.exp(rows["evidence"][first, NAMES.index("pair_similarity")]))
            numbers = (rows[name][first] for name in ("similarity", "searched", "consistent_share"))
            found.append([*map(float, numbers), 1 - lacking])
    return np.array(found).reshape(-1, 4)


def rule(given: np.ndarray) -> np.ndarray:
    return same_anatomy(given[:, 0], given[:, 1] > 0, given[:, 2])


def log_odds(right: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all pairs, by a ridge-penalised logistic regression in which both kinds weigh the same (Newton's method)."""
    given = np.vstack([right, wrong]).clip(min=0)
    design = np.column_stack([np.ones(len(given)), (given - given.mean(0)) / given.std(0)])
    is_right = np.arange(len(given)) < len(right)
    weights = np.where(is_right, 0.5 / len(right), 0.5 / len(wrong))
    slopes, penalty = np.zeros(5), RIDGE * np.diag([0.0, 1, 1, 1, 1])
    for _ in range(60):
        chance = 1 / (1 + np.exp(-design @ slopes))
        gradient = design.T @ (weights * (chance - is_right)) + penalty @ slopes
        curvature = (design.T * (weights * chance * (1 - chance))) @ design + penalty + 1e-9 * np.eye(5)
        slopes = slopes - np.linalg.solve(curvature, gradient)
    odds = design @ slopes
    return odds[is_right], odds[~is_right]


if __name__ == "__main__":
    main()
