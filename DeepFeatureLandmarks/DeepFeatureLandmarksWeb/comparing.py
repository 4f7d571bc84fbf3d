"""Placed points against a second set: errors, a plot, a report to keep."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

from DeepFeatureLandmarksWeb.desk import Desk
from DeepFeatureLandmarksWeb.sides import positions_of
from deepfeatures.errors import InputError
from deepfeatures.files import write_text
from deepfeatures.report import versions

SCALE_MM = 10.0  # the bars' full width
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.bar{background:#E69F00;height:.7rem}"
)


class Comparing:
    """Fills the quality table."""

    def __init__(self, desk: Desk):
        self._desk = desk
        desk.changed.append(self._tell)

    def show_reference(self, is_shown: bool) -> None:
        if self._desk.reference is not None:
            self._desk.reference.GetDisplayNode().SetVisibility(is_shown)

    def _errors(self) -> dict[str, float]:
        """mm between both sets, by name, the largest first."""
        placed, reference = positions_of(self._desk.output), positions_of(self._desk.reference)
        errors = {name: float(np.linalg.norm(placed[name] - reference[name])) for name in placed if name in reference}
        return dict(sorted(errors.items(), key=lambda item: -item[1]))

    def _tell(self) -> None:
        desk, state = self._desk, self._desk.state
        errors = self._errors()
        expected = {row["name"]: row["expected"] for row in state.rows}
        state.quality_rows = [
            {
                "name": name,
                "error": f"{error:.1f}",
                "percent": min(100.0, 100 * error / SCALE_MM),
                "expected": expected.get(name, "–"),
            }
            for name, error in errors.items()
        ]
        state.quality_note = _summary(np.array(list(errors.values()))) if errors else _why_empty(desk)

    def write_report(self, folder: Path) -> Path:
        """An HTML page that needs nothing but itself."""
        desk = self._desk
        if desk.output is None:
            raise InputError("there is nothing to report yet; place the landmarks first")
        path = folder / "report.html"
        errors = self._errors()
        rows = "".join(_report_row(row, errors.get(row["name"])) for row in desk.state.rows)
        facts = "".join(f"<li>{html.escape(f'{name} {value}')}</li>" for name, value in versions().items())
        runs = "".join(f"<li>{html.escape(_run(run))}</li>" for run in desk.logic.history(desk.output))
        note = _summary(np.array(list(errors.values()))) if errors else "No second set was compared."
        write_text(
            path,
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Landmarks report</title>'
            f"<style>{STYLE}</style>"
            f"<h1>Landmarks of {html.escape(desk.state.template.title)} in {html.escape(desk.state.target.title)}</h1>"
            f"<p>{html.escape(note)} For research only: not a basis for diagnosis or treatment.</p>"
            "<table><tr><th>Landmark</th><th>Status</th><th>Expected mm</th><th>Round trip mm</th>"
            f"<th>Distance to the second set, mm</th><th></th></tr>{rows}</table>"
            f"<h2>Runs</h2><ul>{runs}</ul><h2>Versions</h2><ul>{facts}</ul></html>\n",
        )
        return path


def _report_row(row: dict, error: float | None) -> str:
    width = 0 if error is None else min(100.0, 100 * error / SCALE_MM)
    told = "–" if error is None else f"{error:.2f}"
    return (
        f"<tr><td>{html.escape(row['name'])}</td><td>{row['status']}</td><td class=n>{row['expected']}</td>"
        f"<td class=n>{row['trip']}</td><td class=n>{told}</td>"
        f'<td style="width:25%"><div class=bar style="width:{width:.0f}%"></div></td></tr>'
    )


def _run(run: dict) -> str:
    how = " ".join(str(run[name]) for name in ("network", "layer") if run[name]) or "guided search"
    return f"Run {run['number']}, {run['time']}: {how}{' (undone)' if run['reverted'] else ''}"


def _summary(errors: np.ndarray) -> str:
    return (
        f"{len(errors)} landmarks: mean {errors.mean():.1f} mm, median {np.median(errors):.1f} mm, "
        f"largest {errors.max():.1f} mm."
    )


def _why_empty(desk: Desk) -> str:
    if desk.output is None:
        return "Place the landmarks first."
    if desk.reference is None:
        return "Open a second set of landmarks of the target, a person's for example."
    return "The second set has no landmark of the same name."
