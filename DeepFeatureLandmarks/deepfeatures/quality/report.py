"""The review as one self-contained HTML page and as CSV tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from deepfeatures.data.volume import Volume
from deepfeatures.io.atomic_write import ensure_folder, write_text
from deepfeatures.quality import figures, pages
from deepfeatures.quality.reference_model import FALSE_ALARMS
from deepfeatures.quality.review import Review

MOST_PICTURES = 200  # about 30 kB each
MOST_PAIRS = 6  # of raters, with a chart each


def write_review(
    review: Review,
    folder: str | Path,
    reference: str | None = None,
    volumes: Mapping[str, Volume] | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Path:
    """Write `report.html` and a CSV file for each table into `folder`, each whole or not at all; returns the page.

    Args:
        review: What was found.
        folder: Made where it does not exist.
        reference: The rater that was measured against.
        volumes: Of scans, by name, for the pictures.
        progress: Called with the fraction done, from 0 to 1.
    """
    folder = ensure_folder(folder)
    for name, table in review.tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    page = folder / "report.html"
    write_text(page, render(review, reference, volumes or {}, progress))
    return page


def render(
    review: Review, reference: str | None, volumes: Mapping[str, Volume], progress: Callable[[float], None]
) -> str:
    """The page."""
    flagged = [{**row, "picture": ""} for row in review.flagged.to_dict("records")]
    shown = [row for row in flagged if row["scan"] in volumes and row["landmark"]][:MOST_PICTURES]
    by_scan = itertools.groupby(sorted(shown, key=lambda row: row["scan"]), key=lambda row: row["scan"])
    done = 0
    for scan, rows in by_scan:  # each volume is read once
        volume = volumes[scan]
        for row in rows:
            point = np.array([row[axis] for axis in "xyz"], float)
            expected = np.array([row[f"expected_{axis}"] for axis in "xyz"], float)
            if np.isfinite(point).all() or np.isfinite(expected).all():
                row["picture"] = pages.encoded(figures.point_picture(volume, point, expected))
            done += 1
            progress(done / len(shown))
    return pages.render(
        "report.html",
        "Quality of annotations",
        _sections(review, reference),
        review.notes,
        points=len(review.positions),
        raters=list(review.positions.rater.unique()),
        scans=review.positions.scan.nunique(),
        reference=reference,
        false_alarms=f"{FALSE_ALARMS:.0%}".replace("%", " %"),
        flagged=flagged,
        without_picture=sum(not row["picture"] for row in flagged),
    )


def _sections(review: Review, reference: str | None):
    raters = list(review.positions.rater.unique())
    against = reference or "the median of the other raters"
    yield pages.section("Raters", f"Distance in mm from {against}.", review.by_rater)
    yield pages.section("Landmarks", f"Distance in mm from {against}, for each rater.", review.by_landmark)
    yield pages.section(
        "Spread among raters",
        "Localisation error as in the AFIDs protocol: mean distance in mm of a rater's point from the raters' mean"
        " point; and the mean distance between two raters.",
        review.spread,
    )
    pairs = [pair for pair in itertools.combinations(raters, 2) if _shared(review, pair)][:MOST_PAIRS]
    yield pages.section(
        "Agreement of two raters (Bland-Altman)",
        "Bias with its 95 % confidence interval, and the limits between which 95 % of differences lie, in mm.",
        review.bland_altman,
        [figures.bland_altman_chart(review.positions, *pair) for pair in pairs],
    )
    yield pages.section(
        "Drift over a session",
        "Change of a rater's median error and median differences from the first scan to the last, in the order in which"
        " the files were written; p corrected after Holm for all rows.",
        review.drift,
        [figures.drift_chart(review.errors)] if len(review.drift) else [],
    )
    yield pages.section(
        "Detectable shifts",
        "How far good points of a landmark spread along an axis around where they are expected, in mm, and the smallest"
        " shift that is flagged in 19 of 20 cases. Where that is too much, another rater or the automatic rater on the"
        " same scans helps; more of the same rater's scans may not.",
        review.sensitivity.sort_values("detectable_shift_mm"),
    )
    if len(review.inverse_consistency):
        yield pages.section(
            "Inverse-consistency error",
            "How far from where it started a landmark comes back, in mm, when it is placed in another scan and"
            " back: to be read beside the spread among raters.",
            review.inverse_consistency,
        )


def _shared(review: Review, pair: tuple[str, str]) -> bool:
    table = review.bland_altman
    return bool(((table["first"] == pair[0]) & (table["second"] == pair[1])).any())
