"""Placed points against a second set: errors, a plot, a report to keep."""

from __future__ import annotations

import html
import math
from pathlib import Path

from DeepFeatureLandmarksLib.scene.point_errors import PointError, largestFirst, summary
from DeepFeatureLandmarksWeb.session_context import SessionContext
from deepfeatures.data.scores import REVIEWED
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text
from deepfeatures.pipelines.run_report import versions

SCALE_MM = 10.0  # the bars' full width
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.bar{background:#E69F00;height:.7rem}"
)


class ComparisonController:
    """Fills the quality table."""

    def __init__(self, context: SessionContext):
        self._context = context
        context.changed.append(self._refresh)
        context.server.state.change(context.typed.name.is_reference_shown)(lambda **_: self._show_reference())

    def _show_reference(self) -> None:
        if self._context.reference is not None:
            self._context.reference.GetDisplayNode().SetVisibility(self._context.state.is_reference_shown)

    def _errors(self) -> list[PointError]:
        """Of the placed points against the second set, the largest first.

        Raises:
            InputError: There is nothing to compare.
        """
        context = self._context
        if context.output is None:
            raise InputError("Place the landmarks first.")
        if context.reference is None:
            raise InputError("Open a second set of landmarks of the target, a person's for example.")
        return largestFirst(context.logic.pointErrors(context.reference, context.output))

    def _refresh(self) -> None:
        state = self._context.state
        try:
            errors = self._errors()
        except InputError as nothing:
            state.quality_rows, state.quality_note = [], str(nothing)
            return
        state.quality_note = summary(errors)
        state.quality_rows = [
            {
                "name": error.name,
                "error": f"{error.error_mm:.1f}" if error.isFound else "–",
                "percent": min(100.0, 100 * error.error_mm / SCALE_MM) if error.isFound else 0.0,
                "expected": "–" if math.isnan(error.expected_mm) else f"{error.expected_mm:.1f}",
            }
            for error in errors
        ]

    def write_report(self, folder: Path) -> Path:
        """An HTML page that needs nothing but itself."""
        context = self._context
        if context.output is None:
            raise InputError("there is nothing to report yet; place the landmarks first")
        path = folder / "report.html"
        try:
            errors = self._errors()
            note = summary(errors)
        except InputError:
            errors, note = [], "No second set was compared."
        found = {error.name: error.error_mm for error in errors if error.isFound}
        rows = "".join(_report_row(row, found.get(row["name"])) for row in context.state.rows)
        heads = "".join(f"<th>{score.heading}</th>" for score in REVIEWED)
        facts = "".join(f"<li>{html.escape(f'{name} {value}')}</li>" for name, value in versions().items())
        runs = "".join(f"<li>{html.escape(_run(run))}</li>" for run in context.logic.history(context.output))
        write_text(
            path,
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Landmarks report</title>'
            f"<style>{STYLE}</style>"
            f"<h1>Landmarks of {html.escape(context.state.template.title)} in {html.escape(context.state.target.title)}</h1>"
            f"<p>{html.escape(note)} For research only: not a basis for diagnosis or treatment.</p>"
            f"<table><tr><th>Landmark</th><th>Status</th>{heads}"
            "<th>Distance to the second set, mm</th><th></th></tr>"
            f"{rows}</table>"
            f"<h2>Runs</h2><ul>{runs}</ul><h2>Versions</h2><ul>{facts}</ul></html>\n",
        )
        return path


def _report_row(row: dict, error: float | None) -> str:
    width = 0 if error is None else min(100.0, 100 * error / SCALE_MM)
    told = "–" if error is None else f"{error:.2f}"
    scores = "".join(f"<td class=n>{row[score.name]}</td>" for score in REVIEWED)
    return (
        f"<tr><td>{html.escape(row['name'])}</td><td>{row['status']}</td>{scores}<td class=n>{told}</td>"
        f'<td style="width:25%"><div class=bar style="width:{width:.0f}%"></div></td></tr>'
    )


def _run(run: dict) -> str:
    how = " ".join(str(run[name]) for name in ("network", "layer") if run[name]) or "guided search"
    return f"Run {run['number']}, {run['time']}: {how}{' (undone)' if run['reverted'] else ''}"
