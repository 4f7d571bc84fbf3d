"""The Quality section: placed points against a person's, and a second person's against the first's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from DeepFeatureLandmarksLib.scene.comparison_report import Report, csvText, htmlText
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.point_errors import COLUMNS, PointError, largestFirst, summary
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text


def askForFile(suffix: str) -> str:
    """A file name that a person chooses, empty where none."""
    return qt.QFileDialog.getSaveFileName(None, "Export", f"landmark-errors{suffix}", f"*{suffix}")


class QualitySection:
    """Compares, shows and exports.

    Args:
        ui: The widgets of the .ui file.
        logic: Measures.
        askFile: Gives the name of a file to write, by suffix.
    """

    def __init__(self, ui, logic: DeepFeatureLandmarksLogic, askFile: Callable[[str], str] = askForFile):
        self._ui = ui
        self._logic = logic
        self.askFile = askFile
        self._parameters: Parameters | None = None
        self._errors: list[PointError] = []
        table = ui.qualityTable
        table.setColumnCount(1 + len(COLUMNS))
        table.setHorizontalHeaderLabels(["Landmark", *(column.short_label for column in COLUMNS)])
        for number, column in enumerate(COLUMNS, 1):
            table.horizontalHeaderItem(number).setToolTip(column.tooltip)
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.compareButton.clicked.connect(lambda *_: self.compare())
        ui.exportCsvButton.clicked.connect(lambda *_: self._export(".csv", lambda: csvText(self._errors)))
        ui.exportHtmlButton.clicked.connect(lambda *_: self._export(".html", lambda: htmlText(self._report())))

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self._show([])
        self.refresh()

    def refresh(self) -> None:
        """Enable the button where there is something to compare, or show what is missing."""
        reason = self._disabledReason()
        self._ui.compareButton.setEnabled(not reason)
        if not self._errors:
            self._ui.qualitySummaryLabel.setText(reason)

    def compare(self) -> None:
        """Fill the table."""
        parameters = self._parameters
        reference, second = parameters.humanLandmarks, parameters.secondRaterLandmarks
        try:
            self._show(largestFirst(self._logic.pointErrors(reference, parameters.targetLandmarks, second)))
        except InputError as error:
            self._show([])
            self._ui.qualitySummaryLabel.setText(str(error))

    def _disabledReason(self) -> str:
        if self._parameters is None or self._parameters.targetLandmarks is None:
            return "Place landmarks first."
        if self._parameters.humanLandmarks is None:
            return "Choose a person's points in the target to compare with."
        if self._parameters.humanLandmarks is self._parameters.targetLandmarks:
            return "Choose points other than the placed ones."
        return ""

    def _show(self, errors: list[PointError]) -> None:
        self._errors = errors
        table = self._ui.qualityTable
        table.setRowCount(len(errors))
        for number, column in enumerate(COLUMNS, 1):
            values = [getattr(error, column.name) for error in errors]
            table.setColumnHidden(number, all(value is None for value in values))
            for tableRow, value in enumerate(values):
                table.setItem(tableRow, number, qt.QTableWidgetItem(column.text(value)))
        for tableRow, error in enumerate(errors):
            table.setItem(tableRow, 0, qt.QTableWidgetItem(error.name))
        table.setVisible(bool(errors))
        for button in (self._ui.exportCsvButton, self._ui.exportHtmlButton):
            button.setEnabled(bool(errors))
        self._ui.qualitySummaryLabel.setText(summary(errors) if errors else "")

    def _report(self) -> Report:
        output = self._parameters.targetLandmarks
        rows, history = self._logic.reviewRows(output), self._logic.history(output)
        return Report(output.GetName(), rows, self._errors, history)

    def _export(self, suffix: str, render: Callable[[], str]) -> None:
        if not (name := self.askFile(suffix)):
            return
        path = Path(name) if name.endswith(suffix) else Path(name + suffix)
        try:
            write_text(path, render())
        except InputError as error:
            self._ui.qualitySummaryLabel.setText(str(error))
        else:
            self._ui.qualitySummaryLabel.setText(f"{summary(self._errors)} Written to {path.name}.")
