"""Results of a study as tidy tables, and what they say statistically."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.evaluation.cases import initial_positions, read_points
from deepfeatures.evaluation.configurations import AXES, Configuration
from deepfeatures.evaluation.results import Results, Study

SETTINGS = [*AXES, "initialization", "intensity"]
COLUMNS = ["method", *SETTINGS]
RESAMPLES = 2000


def error_table(study: Study) -> pd.DataFrame:
    """One row a configuration, template, target and landmark.

    Returns:
        The configuration's columns, `template, target, landmark, initial_mm, error_mm, missing, seconds`. `initial_mm`
        is the distance with the volumes' centres in one place; a missing landmark counts with it.
    """
    points, _ = read_points(study.cases)
    read = {case.name: (case.read()[0], points[case.name]) for case in study.cases}
    truths = {(a.name, b.name): _truth(*read[a.name], *read[b.name]) for a, b in study.pairs}
    rows = []
    for configuration in study.configurations:
        for line in Results(study, configuration).stored:
            names = line["template"], line["target"]
            truth, initial = truths[names]
            placed = np.array([point or (np.nan,) * 3 for point in line["positions"]], float)
            errors = np.linalg.norm(placed - truth, axis=1)
            for landmark, start, error in zip(read[names[0]][1], initial, errors, strict=True):
                if np.isfinite(start):  # both have the landmark
                    lost = not np.isfinite(error)
                    measured = (start, start if lost else error, lost, line["seconds"])
                    rows.append((*_key(configuration), *names, landmark.name, *measured))
    measures = ["initial_mm", "error_mm", "missing", "seconds"]
    return pd.DataFrame(rows, columns=[*COLUMNS, "template", "target", "landmark", *measures])


def _truth(template: Volume, landmarks: LandmarkSet, target: Volume, known: LandmarkSet):
    """Where the template's landmarks are in the target, LPS mm, and their distance in mm from where they start."""
    by_name = {landmark.name: landmark.position for landmark in known if landmark.is_defined}
    positions = np.array([by_name.get(landmark.name, (np.nan,) * 3) for landmark in landmarks], float)
    return positions, np.linalg.norm(initial_positions(template, landmarks, target) - positions, axis=1)


def _key(configuration: Configuration) -> tuple:
    """Its columns; where a method has no network, layer, patch size and search, these are empty."""
    chosen = [getattr(configuration.settings, name) for name in SETTINGS]
    empty = [0 if name == "patch_size" else "" for name in SETTINGS]
    return configuration.method, *(none if one is None else one for one, none in zip(chosen, empty, strict=True))


def configuration_table(study: Study, errors: pd.DataFrame) -> pd.DataFrame:
    """One row a configuration, those that cannot be computed included and marked.

    Returns:
        The configuration's columns, `unavailable`, and number of `targets`; `initial_mm`, `mean_mm`, `median_mm`,
        `p95_mm`, `missing`, and `seconds` a target. Of the paired t-test of initial against final distance over
        targets: `t` (positive where the landmarks come closer), `p`, `p_bonferroni` over all configurations of the
        study, computed or not, and `effect` (Cohen's d of the differences). The mean gain in mm with its 95 % bootstrap
        interval: `gain_mm, gain_low_mm, gain_high_mm`.
    """
    from statsmodels.stats.multitest import multipletests

    groups = dict(list(errors.groupby(COLUMNS, sort=False)))
    rows = []
    for configuration in study.configurations:
        key = _key(configuration)
        row = dict(zip(COLUMNS, key, strict=True)) | {"unavailable": configuration.unavailable}
        rows.append(row | (_measures(groups[key]) if key in groups else {}))
    of_test = ["t", "p", "p_bonferroni", "effect", "gain_mm", "gain_low_mm", "gain_high_mm"]
    of_errors = ["targets", "initial_mm", "mean_mm", "median_mm", "p95_mm", "missing", "seconds"]
    table = pd.DataFrame(rows).reindex(columns=[*COLUMNS, "unavailable", *of_errors, *of_test])
    # a configuration that was not computed counts as a test without effect
    _, corrected, *_ = multipletests(table.p.astype(float).fillna(1.0), method="bonferroni")
    return table.assign(p_bonferroni=np.where(table.p.notna(), corrected, np.nan))


def _measures(own: pd.DataFrame) -> dict:
    by_target = own.groupby("target", sort=False)[["initial_mm", "error_mm", "seconds"]].mean()
    measured = {
        "targets": len(by_target),
        "initial_mm": own.initial_mm.mean(),
        "mean_mm": own.error_mm.mean(),
        "median_mm": own.error_mm.median(),
        "p95_mm": own.error_mm.quantile(0.95),
        "missing": int(own.missing.sum()),
        "seconds": by_target.seconds.median(),
    }
    gain = (by_target.initial_mm - by_target.error_mm).to_numpy()
    return measured | (_test(gain) if len(gain) > 1 else {})


def _test(gain: np.ndarray) -> dict:
    from scipy import stats

    test = stats.ttest_1samp(gain, 0.0)  # of the differences: the paired test
    interval = stats.bootstrap((gain,), np.mean, n_resamples=RESAMPLES, rng=np.random.default_rng(0))
    return {
        "t": test.statistic,
        "p": test.pvalue,
        "effect": gain.mean() / gain.std(ddof=1),
        "gain_mm": gain.mean(),
        "gain_low_mm": interval.confidence_interval.low,
        "gain_high_mm": interval.confidence_interval.high,
    }


def landmark_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Mean error in mm, one row a configuration and one column a landmark."""
    return errors.pivot_table(index=COLUMNS, columns="landmark", values="error_mm", sort=False).reset_index()


def label(row: Sequence) -> str:
    """A configuration's short name for figures, of its columns."""
    method, network, layer, patch_size, *settings = row
    told = [one for one in settings if one not in ("dense", "auto")]
    return method if method != "grid" else " ".join([network, layer, str(patch_size), *told])
