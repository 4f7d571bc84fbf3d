"""How well raters agree: errors against a reference, spread among raters, Bland-Altman, drift over a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

AXES = list("xyz")
ALL_AXES = {"x": "left", "y": "back", "z": "up"}  # LPS: where the differences are positive
LIMITS = 1.96  # standard deviations: 95 % of differences


def errors(positions: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Differences of every rater's points from the reference rater's.

    Args:
        positions: As `position_table` returns it.
        reference: The rater to measure against.

    Returns:
        One row a point of another rater that the reference has too: `scan, rater, landmark, order`, `dx, dy, dz` and
        `error_mm`, all mm.
    """
    truth = positions[positions.rater == reference].set_index(["scan", "landmark"])[AXES]
    others = positions[positions.rater != reference].join(truth.add_suffix("_reference"), on=["scan", "landmark"])
    return _differences(others.dropna(), "_reference")


def from_consensus(positions: pd.DataFrame) -> pd.DataFrame:
    """Differences of every rater's points from the median of the other raters' on the same scan; as `errors`."""
    rows = []
    for _, group in positions.groupby(["scan", "landmark"], sort=False):
        points = group[AXES].to_numpy()
        for place in range(len(group) if len(group) > 1 else 0):
            rows.append((group.index[place], *np.median(np.delete(points, place, axis=0), axis=0)))
    import pandas as pd

    others = pd.DataFrame(rows, columns=["index", *AXES]).set_index("index").add_suffix("_others")
    return _differences(positions.join(others, how="inner"), "_others")


def _differences(joined: pd.DataFrame, suffix: str) -> pd.DataFrame:
    table = joined[["scan", "rater", "landmark", "order"]].copy()
    for axis in AXES:
        table[f"d{axis}"] = joined[axis] - joined[axis + suffix]
    table["error_mm"] = np.linalg.norm(table[["dx", "dy", "dz"]].to_numpy(float), axis=1)
    return table.reset_index(drop=True)


def summary(differences: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Of `error_mm`, for each group: `n, mean_mm, median_mm, sd_mm, p95_mm, largest_mm`."""
    grouped = differences.groupby(by, sort=False).error_mm
    table = grouped.agg(n="count", mean_mm="mean", median_mm="median", sd_mm="std", largest_mm="max")
    table.insert(4, "p95_mm", grouped.quantile(0.95))
    return table.reset_index()


def localisation_error(positions: pd.DataFrame) -> pd.DataFrame:
    """Anatomical fiducial localisation error of each landmark, as the AFIDs protocol defines it.

    Returns:
        One row a landmark: `mean_afle_mm`, the mean distance of a rater's point from the raters' mean point in the same
        scan; `inter_rater_mm`, the mean distance between two raters' points; `scans` and `points` counted. Scans with a
        single rater say nothing and are left out.
    """
    import pandas as pd
    from scipy.spatial.distance import pdist

    rows = []
    for (scan, landmark), group in positions.groupby(["scan", "landmark"], sort=False):
        if len(group) > 1:
            points = group[AXES].to_numpy()
            from_mean = np.linalg.norm(points - points.mean(axis=0), axis=1)
            rows.append((landmark, scan, len(points), from_mean.mean(), pdist(points).mean()))
    table = pd.DataFrame(rows, columns=["landmark", "scan", "points", "mean_afle_mm", "inter_rater_mm"])
    grouped = table.groupby("landmark", sort=False)
    columns = {"mean_afle_mm": "mean", "inter_rater_mm": "mean", "points": "sum", "scan": "nunique"}
    return grouped.agg(columns).rename(columns={"scan": "scans"}).reset_index()


def bland_altman(positions: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Bland-Altman agreement of two raters along each axis.

    Returns:
        One row an axis: `axis` and `positive` (the direction in which differences `first - second` count as positive),
        `n`, `bias_mm` with its 95 % confidence interval `bias_low_mm, bias_high_mm`, `sd_mm` and the limits of
        agreement `low_mm, high_mm`. Empty where the two share fewer than two points.
    """
    import pandas as pd
    from scipy import stats

    both = errors(positions[positions.rater.isin([first, second])], second)
    rows = []
    for axis, positive in ALL_AXES.items():
        values = both[f"d{axis}"]
        if len(values) < 2:
            continue
        bias, deviation = values.mean(), values.std()
        half = stats.t.ppf(0.975, len(values) - 1) * deviation / np.sqrt(len(values))
        limits = bias - LIMITS * deviation, bias + LIMITS * deviation
        rows.append((first, second, axis, positive, len(values), bias, bias - half, bias + half, deviation, *limits))
    of_bias = ["bias_mm", "bias_low_mm", "bias_high_mm"]
    columns = ["first", "second", "axis", "positive", "n", *of_bias, "sd_mm", "low_mm", "high_mm"]
    return pd.DataFrame(rows, columns=columns)


def drift(differences: pd.DataFrame) -> pd.DataFrame:
    """Whether a rater's errors change over the session: a line through the median of each scan, in order.

    The median, since a single swapped pair would hide what happens to all other points.

    Args:
        differences: Of `errors` or `from_consensus`.

    Returns:
        One row a rater and measure (`error_mm`, `dx`, `dy`, `dz`): `scans`, `slope_mm` a scan, `change_mm` over the
        session, `p` that the true slope is nought, corrected for all rows after Holm. Raters with fewer than four scans
        are left out.
    """
    import pandas as pd
    from scipy import stats

    rows = []
    for rater, own in differences.groupby("rater", sort=False):
        by_scan = own.groupby("order")[["error_mm", "dx", "dy", "dz"]].median()
        if len(by_scan) < 4:
            continue
        steps = np.arange(len(by_scan))
        for measure in by_scan:
            line = stats.linregress(steps, by_scan[measure])
            rows.append((rater, measure, len(by_scan), line.slope, line.slope * steps[-1], line.pvalue))
    table = pd.DataFrame(rows, columns=["rater", "measure", "scans", "slope_mm", "change_mm", "p"])
    if len(table):
        from statsmodels.stats.multitest import multipletests

        table["p"] = multipletests(table.p.fillna(1.0), method="holm")[1]
    return table
