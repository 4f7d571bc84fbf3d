"""Errors against a person's points, for spreadsheets and paper."""

from __future__ import annotations

import csv
import io
import math
from html import escape

from DeepFeatureLandmarksLib.scene.point_errors import PointError, summary

FIELDS = {"error_mm": "found, mm", "expected_mm": "expected, mm", "second_mm": "second person, mm"}
STYLE = "body{font:16px sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:right}td:first-child{text-align:left}"


def csvText(errors: list[PointError]) -> str:
    """Comma-separated, empty cells where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["landmark", *FIELDS])
    for error in errors:
        writer.writerow([error.name, *_texts(error, "{:.4f}", "")])
    return text.getvalue()


def htmlText(errors: list[PointError]) -> str:
    """A page that stands on its own."""
    heads = "".join(f"<th>{title}</th>" for title in ("Landmark", *FIELDS.values()))
    rows = "".join(
        f"<tr><td>{escape(error.name)}</td>{''.join(f'<td>{text}</td>' for text in _texts(error, '{:.2f}', '–'))}</tr>"
        for error in errors
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Landmark errors</title><style>{STYLE}</style>'
        f"<h1>Landmark errors</h1><p>{escape(summary(errors))} For research only.</p>"
        f"<table><tr>{heads}</tr>{rows}</table></html>\n"
    )


def _texts(error: PointError, known: str, unknown: str) -> list[str]:
    values = (getattr(error, field) for field in FIELDS)
    return [unknown if math.isnan(value) else known.format(value) for value in values]
