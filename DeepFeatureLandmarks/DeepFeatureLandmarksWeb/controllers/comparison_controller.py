"""Placed points against a second set: their errors in a table, and the report."""

from __future__ import annotations

from pathlib import Path

from DeepFeatureLandmarksLib.scene.comparison_report import Report, barPercent, htmlText
from DeepFeatureLandmarksLib.scene.node_notes import readNotes, sentences
from DeepFeatureLandmarksLib.scene.point_errors import COLUMNS, PointError, largestFirst, summary
from DeepFeatureLandmarksWeb.session_context import SessionContext
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text


class ComparisonController:
    """Fills the tab Quality and writes the report."""

    def __init__(self, context: SessionContext):
        self._context = context
        context.refreshers.append(self._refresh)
        context.server.state.change(context.typed.name.is_reference_shown)(lambda **_: self._show_reference())

    def write_report(self, folder: Path) -> Path:
        """Write an HTML page that needs nothing but itself; returns its path.

        Raises:
            InputError: Nothing has been placed.
        """
        context = self._context
        if context.output is None:
            raise InputError("there is nothing to report yet; place the landmarks first")
        try:
            errors = self._errors()
        except InputError:
            errors = []
        path = folder / "report.html"
        title = f"Landmarks of {context.state.template.title} in {context.state.target.title}"
        rows, history = context.logic.reviewRows(context.output), context.logic.history(context.output)
        ambiguity = context.logic.ambiguity(context.output)
        doubt = ambiguity.sentences if ambiguity else ""
        write_text(path, htmlText(Report(title, rows, errors, history, doubt)))
        return path

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
        state, reference = self._context.state, self._context.reference
        state.reference_notes = sentences(readNotes(reference)) if reference else []
        try:
            errors = self._errors()
        except InputError as reason:
            state.quality_rows, state.quality_note = [], str(reason)
            return
        state.quality_note = summary(errors)
        state.quality_columns = [
            column.name for column in COLUMNS if any(getattr(error, column.name) is not None for error in errors)
        ]
        state.quality_rows = [
            {
                "name": error.name,
                "percent": barPercent(error),
                **{column.name: column.text(getattr(error, column.name)) for column in COLUMNS},
            }
            for error in errors
        ]
