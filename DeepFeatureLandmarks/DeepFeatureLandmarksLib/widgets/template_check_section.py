"""The part of the Quality section that compares annotated scans as templates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.template_check import COLUMNS, TemplateCheck
from deepfeatures.matching.settings import MatchSettings

HEADINGS = ("Template", *(column.short_label for column in COLUMNS), "Unlike the others")


def askForFolder() -> str:
    """A folder that a person chooses, empty where none."""
    return qt.QFileDialog.getExistingDirectory(None, "Folder of scans with landmark files beside them")


class TemplateCheckSection:
    """Asks for a folder, and shows what was found.

    Args:
        ui: The widgets of the .ui file.
        logic: Has the worker compare.
        run: Sends a request to the worker and shows its progress.
        settings: Gives those that are chosen.
        askFolder: Gives the path of the folder.
    """

    def __init__(
        self,
        ui,
        logic: DeepFeatureLandmarksLogic,
        run: Callable[[Callable[[], None]], None],
        settings: Callable[[], MatchSettings],
        askFolder: Callable[[], str] = askForFolder,
    ):
        self._ui, self._logic, self._run, self._settings = ui, logic, run, settings
        self.askFolder = askFolder
        table = ui.templateCheckTable
        table.setColumnCount(len(HEADINGS))
        table.setHorizontalHeaderLabels(HEADINGS)
        for number, column in enumerate(COLUMNS, 1):
            table.horizontalHeaderItem(number).setToolTip(column.tooltip)
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.checkTemplatesButton.clicked.connect(lambda *_: self.check())

    def check(self) -> None:
        """Compare the scans of a folder that a person chooses."""
        if folder := self.askFolder():
            self._run(lambda: self._logic.checkTemplates(Path(folder), self._settings()))

    def show(self, check: TemplateCheck) -> None:
        """Fill the table, with a tooltip on each template, and give the advice."""
        table = self._ui.templateCheckTable
        table.setRowCount(len(check.rows))
        for number, row in enumerate(check.rows):
            values = [column.text(getattr(row, column.name)) for column in COLUMNS]
            for place, text in enumerate((row.name, *values, row.unlike)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip("\n".join((row.advice, *(f"{sentence}." for sentence in row.details))))
                table.setItem(number, place, item)
        table.setVisible(True)
        notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in check.notes)
        self._ui.templateCheckLabel.setText(f"{check.advice}{notes} Tables are in {check.folder}.")
