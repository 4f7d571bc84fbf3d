"""Distances between points of the same name, as a table for people, spreadsheets and paper."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from html import escape

import numpy as np

from DeepFeatureLandmarksLib.quality import pointErrors
from deepfeatures.landmarks import LandmarkSet

FIELDS = ("landmark", "error_mm", "second_person_mm")


@dataclass(frozen=True)
class ErrorRow:
    """One landmark.

    Args:
        name: Of the landmark.
        found: mm from the person's point to the found one, `None` where it was not found.
        second: mm from the person's point to a second person's.
    """

    name: str
    found: float | None
    second: float | None = None


def errorRows(human: LandmarkSet, found: LandmarkSet, second: LandmarkSet | None = None) -> tuple[ErrorRow, ...]:
    """Distances from each of the person's points, the largest first, those not found before them.

    Raises:
        InputError: As `pointErrors` does.
    """
    others = {error.name: error.error_mm for error in pointErrors(human, second)} if second is not None else {}
    rows = [
        ErrorRow(error.name, _known(error.error_mm), _known(others.get(error.name, math.nan)))
        for error in pointErrors(human, found)
    ]
    return tuple(sorted(rows, key=lambda row: math.inf if row.found is None else row.found, reverse=True))


def inWords(rows: tuple[ErrorRow, ...]) -> str:
    """One sentence for each comparison."""
    found = [row.found for row in rows if row.found is not None]
    text = f"{len(found)} of {len(rows)} found"
    text += f": mean {np.mean(found):.2f} mm, largest {np.max(found):.2f} mm." if found else "."
    second = [row.second for row in rows if row.second is not None]
    return f"{text} Two people differ by {np.mean(second):.2f} mm on average." if second else text


def csvText(rows: tuple[ErrorRow, ...]) -> str:
    """Comma-separated, empty cells where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(FIELDS)
    for row in rows:
        writer.writerow([row.name, *("" if value is None else f"{value:.4f}" for value in (row.found, row.second))])
    return text.getvalue()


def htmlText(rows: tuple[ErrorRow, ...]) -> str:
    """A page that stands on its own."""
    cells = "".join(
        f"<tr><td>{escape(row.name)}</td>"
        + "".join(f"<td>{'–' if value is None else f'{value:.2f}'}</td>" for value in (row.found, row.second))
        + "</tr>"
        for row in rows
    )
    style = (
        "body{font:16px sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:right}td:first-child{text-align:left}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Landmark errors</title><style>{style}</style>'
        f"<h1>Landmark errors</h1><p>{escape(inWords(rows))} For research only.</p>"
        f"<table><tr><th>Landmark</th><th>found, mm</th><th>second person, mm</th></tr>{cells}</table></html>\n"
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
