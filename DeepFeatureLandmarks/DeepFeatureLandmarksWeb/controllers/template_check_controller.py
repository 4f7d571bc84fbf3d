"""Annotated scans of a folder, compared as templates."""

from __future__ import annotations

import re
from pathlib import Path

from DeepFeatureLandmarksLib.scene.logic import BUSY
from DeepFeatureLandmarksLib.scene.template_check import COLUMNS, TemplateCheck
from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
from DeepFeatureLandmarksWeb.session_context import SessionContext
from deepfeatures.errors import InputError

TABLES = ("template_check.csv", "template_landmarks.csv")


class TemplateCheckController:
    """Fills the table of templates in the tab Quality.

    Args:
        context: Of the session.
        runs: Sends the request and shows its progress.
    """

    def __init__(self, context: SessionContext, runs: PlaceController):
        self._context, self._runs = context, runs
        self._check: TemplateCheck | None = None
        self._tell = context.logic.onError
        context.logic.onError = self._on_error

    def start(self, folder: Path) -> None:
        """Compare the scans of a folder."""
        logic = self._context.logic
        if logic.isBusy:
            self._context.warn(BUSY)
            return
        self._runs.request(lambda _: logic.checkTemplates(folder, self._runs.settings), "Starting …")

    def finish(self, check: TemplateCheck) -> None:
        """Show what was found."""
        self._check = check
        state = self._context.state
        state.is_busy = False
        notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in check.notes)
        state.template_advice = check.advice + notes
        state.template_rows = [
            {
                "name": row.name,
                "unlike": row.unlike,
                "details": "\n".join((row.advice, *(f"{sentence}." for sentence in row.details))),
                **{column.name: column.text(getattr(row, column.name)) for column in COLUMNS},
            }
            for row in check.rows
        ]

    def _on_error(self, sentence: str) -> None:
        """Name the folder as the person knows it, not where the upload lies."""
        self._tell(re.sub(rf"{re.escape(str(self._context.folder))}\S*/", "", sentence))

    def table(self, name: str) -> Path:
        """A table that was written.

        Raises:
            InputError: Nothing has been compared.
        """
        if self._check is None:
            raise InputError("no templates have been compared yet; open a folder of annotated scans first")
        return self._check.folder / name
