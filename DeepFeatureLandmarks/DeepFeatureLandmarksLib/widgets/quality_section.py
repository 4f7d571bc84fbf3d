"""The Quality section: found points against a person's, and a second person's against the first's."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import qt

from DeepFeatureLandmarksLib.scene.error_report import csvText, htmlText
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.point_errors import PointError, largestFirst, summary
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text

COLUMNS = ("Landmark", "Error mm", "Expected mm", "Second person mm")


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
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels(list(COLUMNS))
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.compareButton.clicked.connect(lambda *_: self.compare())
        ui.exportCsvButton.clicked.connect(lambda *_: self._export(".csv", csvText))
        ui.exportHtmlButton.clicked.connect(lambda *_: self._export(".html", htmlText))

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self._show([])
        self.refresh()

    def refresh(self) -> None:
        """Bring the button in step with the parameters, and say what it lacks."""
        reason = self._reason()
        self._ui.compareButton.setEnabled(not reason)
        if not self._errors:
            self._ui.qualitySummaryLabel.setText(reason)

    def compare(self) -> None:
        """Fill the table."""
        parameters = self._parameters
        human, second = parameters.humanLandmarks, parameters.secondRaterLandmarks
        try:
            self._show(largestFirst(self._logic.pointErrors(human, parameters.targetLandmarks, second)))
        except InputError as error:
            self._show([])
            self._ui.qualitySummaryLabel.setText(str(error))

    def _reason(self) -> str:
        if self._parameters is None or self._parameters.targetLandmarks is None:
            return "Place landmarks first."
        if self._parameters.humanLandmarks is None:
            return "Choose a person's points in the target to compare with."
        if self._parameters.humanLandmarks is self._parameters.targetLandmarks:
            return "Choose points other than the found ones."
        return ""

    def _show(self, errors: list[PointError]) -> None:
        self._errors = errors
        table = self._ui.qualityTable
        table.setRowCount(len(errors))
        for column, known in enumerate(("error_mm", "expected_mm", "second_mm"), 1):
            table.setColumnHidden(column, all(math.isnan(getattr(error, known)) for error in errors))
            for place, error in enumerate(errors):
                table.setItem(place, column, qt.QTableWidgetItem(_number(getattr(error, known))))
        for place, error in enumerate(errors):
            table.setItem(place, 0, qt.QTableWidgetItem(error.name))
        table.setVisible(bool(errors))
        for button in (self._ui.exportCsvButton, self._ui.exportHtmlButton):
            button.setEnabled(bool(errors))
        self._ui.qualitySummaryLabel.setText(summary(errors) if errors else "")

    def _export(self, suffix: str, render: Callable[[list[PointError]], str]) -> None:
        if not (name := self.askFile(suffix)):
            return
        path = Path(name) if name.endswith(suffix) else Path(name + suffix)
        try:
            write_text(path, render(self._errors))
        except InputError as error:
            self._ui.qualitySummaryLabel.setText(str(error))
        else:
            self._ui.qualitySummaryLabel.setText(f"{summary(self._errors)} Written to {path.name}.")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
