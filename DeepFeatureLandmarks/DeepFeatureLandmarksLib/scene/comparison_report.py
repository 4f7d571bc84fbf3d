"""Placed points, and their errors against a person's points, for spreadsheets and paper: the same in both faces."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from DeepFeatureLandmarksLib.scene.point_errors import COLUMNS, PointError, summary
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from deepfeatures.data.landmark_scores import REVIEWED, UNKNOWN, Score

SCALE_MM = 10.0  # the bars' full width
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.bar{background:#E69F00;height:.7rem}"
    ".doubt{background:#fff3c4;padding:.4rem .6rem}"
)
MEASURED = tuple(column for column in COLUMNS if column.name not in {score.name for score in REVIEWED})


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Args:
        title: Of the page.
        rows: The placed points, in the order in which they are shown.
        errors: Against a person's points; empty where nothing was compared.
        runs: See `DeepFeatureLandmarksLogic.history`.
        ambiguity: Where all points may lie instead, in sentences; empty for nowhere.
    """

    title: str
    rows: Sequence[ReviewRow]
    errors: Sequence[PointError] = ()
    runs: Sequence[Mapping] = ()
    ambiguity: str = ""


def csvText(errors: Sequence[PointError]) -> str:
    """Comma-separated, empty cells where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["landmark", *(column.name for column in COLUMNS)])
    for error in errors:
        values = (getattr(error, column.name) for column in COLUMNS)
        writer.writerow([error.name, *("" if value is None else f"{value:.4f}" for value in values)])
    return text.getvalue()


def htmlText(report: Report) -> str:
    """A page that needs nothing but itself."""
    errors = {error.name: error for error in report.errors}
    known = {column.name for column in MEASURED for error in report.errors if getattr(error, column.name) is not None}
    measured = [column for column in MEASURED if column.name in known]
    scores = [score for score in REVIEWED if any(getattr(row, score.name) is not None for row in report.rows)]
    heads = "".join(f"<th>{escape(column.heading)}</th>" for column in (*scores, *measured))
    rows = "".join(_row(row, errors.get(row.name), scores, measured) for row in report.rows)
    runs = _list("Runs", map(_runText, report.runs))
    told = dict.fromkeys(note for row in report.rows for note in row.notes)
    notes = _list("Notes on the volumes", told) if told else ""
    compared = summary(list(report.errors)) if report.errors else "No second set was compared."
    doubt = f"<p class=doubt>{escape(report.ambiguity)}</p>" if report.ambiguity else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style><h1>{escape(report.title)}</h1>"
        f"<p>{escape(compared)} For research only: not a basis for diagnosis or treatment.</p>"
        f"{doubt}<table><tr><th>Landmark</th><th>Status</th>{heads}<th></th></tr>{rows}</table>"
        f"{notes}{runs}</html>\n"
    )


def _list(heading: str, texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h2>{heading}</h2><ul>{items}</ul>"


def _row(row: ReviewRow, error: PointError | None, scores: Sequence[Score], measured: Sequence[Score]) -> str:
    known = [score.text(getattr(row, score.name)) for score in scores]
    errors = [column.text(getattr(error, column.name)) if error else UNKNOWN for column in measured]
    numbers = "".join(f"<td class=n>{text}</td>" for text in (*known, *errors))
    return (
        f"<tr><td>{escape(row.name)}</td><td>{escape(row.statusText)}</td>{numbers}"
        f'<td style="width:20%"><div class=bar style="width:{barPercent(error):.0f}%"></div></td></tr>'
    )


def barPercent(error: PointError | None) -> float:
    """Length of the bar that shows an error, from 0 to 100."""
    return 0.0 if error is None or error.error_mm is None else min(100.0, 100 * error.error_mm / SCALE_MM)


def _runText(run: Mapping) -> str:
    features = " ".join(str(run[name]) for name in ("network", "layer") if run[name])
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    reverted = " (reverted)" if run["reverted"] else ""
    taken = f", other place taken by a person: {run['taken']}" if run["taken"] else ""
    return f"Run {run['number']}, {run['time']}: {features}, {run['search']} search{taken}{reverted}; {versions}"
