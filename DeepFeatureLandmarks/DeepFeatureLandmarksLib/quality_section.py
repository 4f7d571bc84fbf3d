"""The Quality section: found points against a person's, and a second person's against the first's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from DeepFeatureLandmarksLib.error_report import ErrorRow, csvText, errorRows, htmlText, inWords
from DeepFeatureLandmarksLib.nodes import landmarkSetFromNode
from DeepFeatureLandmarksLib.parameters import Parameters
from deepfeatures.errors import InputError

COLUMNS = ("Landmark", "Found", "Second person")


def askForFile(suffix: str) -> str:
    """A file name that a person chooses, empty where none."""
    return qt.QFileDialog.getSaveFileName(None, "Export", f"landmark-errors{suffix}", f"*{suffix}")


class QualitySection:
    """Compares, shows and exports.

    Args:
        ui: The widgets of the .ui file.
        askFile: Gives the name of a file to write, by suffix.
    """

    def __init__(self, ui, askFile: Callable[[str], str] = askForFile):
        self._ui = ui
        self._askFile = askFile
        self._parameters: Parameters | None = None
        self._rows: tuple[ErrorRow, ...] = ()
        table = ui.qualityTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels(list(COLUMNS))
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.compareButton.clicked.connect(lambda *_: self.compare())
        ui.exportCsvButton.clicked.connect(lambda *_: self._export(".csv", csvText))
        ui.exportHtmlButton.clicked.connect(lambda *_: self._export(".html", htmlText))

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self._show(())
        self.refresh()

    def refresh(self) -> None:
        """Bring the button in step with the parameters, and say what it lacks."""
        reason = self._reason()
        self._ui.compareButton.setEnabled(not reason)
        if not self._rows:
            self._ui.qualitySummaryLabel.setText(reason)

    def compare(self) -> None:
        """Fill the table."""
        parameters = self._parameters
        human, found = landmarkSetFromNode(parameters.humanLandmarks), landmarkSetFromNode(parameters.targetLandmarks)
        second = parameters.secondRaterLandmarks
        try:
            self._show(errorRows(human, found, landmarkSetFromNode(second) if second is not None else None))
        except InputError as error:
            self._show(())
            self._ui.qualitySummaryLabel.setText(str(error))

    def _reason(self) -> str:
        if self._parameters is None or self._parameters.targetLandmarks is None:
            return "Place landmarks first."
        if self._parameters.humanLandmarks is None:
            return "Choose a person's points in the target to compare with."
        if self._parameters.humanLandmarks is self._parameters.targetLandmarks:
            return "Choose points other than the found ones."
        return ""

    def _show(self, rows: tuple[ErrorRow, ...]) -> None:
        self._rows = rows
        table = self._ui.qualityTable
        table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            for column, text in enumerate((row.name, _millimetres(row.found), _millimetres(row.second))):
                table.setItem(place, column, qt.QTableWidgetItem(text))
        table.setVisible(bool(rows))
        for button in (self._ui.exportCsvButton, self._ui.exportHtmlButton):
            button.setEnabled(bool(rows))
        self._ui.qualitySummaryLabel.setText(inWords(rows) if rows else "")

    def _export(self, suffix: str, render: Callable[[tuple[ErrorRow, ...]], str]) -> None:
        if name := self._askFile(suffix):
            Path(name).with_suffix(suffix).write_text(render(self._rows), encoding="utf-8")


def _millimetres(value: float | None) -> str:
    return f"{value:.2f} mm" if value is not None else "–"
