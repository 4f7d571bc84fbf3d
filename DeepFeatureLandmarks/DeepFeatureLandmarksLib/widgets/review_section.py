"""The Review section: placed points, the most uncertain first, to be accepted, corrected or rejected."""

from __future__ import annotations

from collections.abc import Callable

import qt

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.review import ReviewRow, shownScores
from deepfeatures.data.ambiguity import LOOK_ALIKE
from deepfeatures.data.landmark_scores import REVIEWED

COLUMNS = {
    "Landmark": "The most uncertain first; click to go there in template and target",
    **{score.short_label: score.tooltip for score in REVIEWED},
    "Status": "Your decision",
    "✓": "Accept: the point is right",
    "✗": "Reject: the point is wrong",
}
SCORES = dict(enumerate(REVIEWED, 1))  # by column
STATUS, ACCEPT, REJECT = range(len(COLUMNS) - 3, len(COLUMNS))
ROW_HEIGHT, NARROWEST = 24, 20  # pixels
# Colour-blind people can tell blue and orange apart.
STATUS_COLOURS = {
    "proposed": "#E69F00",
    "accepted": "#0072B2",
    "corrected": "#0072B2",
    "rejected": "#808080",
    "missing": "#D55E00",
}


class ReviewSection:
    """Updates the table from the points.

    Args:
        ui: The widgets of the .ui file.
        logic: Gives the rows and changes the points.
        onSelected: Called with the row that a person has selected.
    """

    def __init__(self, ui, logic: DeepFeatureLandmarksLogic, onSelected: Callable[[ReviewRow], None]):
        self._ui = ui
        self._logic = logic
        self._onSelected = onSelected
        self._output = None
        self._rows: list[ReviewRow] = []
        self._selected: int | None = None  # index of the control point
        table = ui.reviewTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels(list(COLUMNS))
        for column, tip in enumerate(COLUMNS.values()):
            table.horizontalHeaderItem(column).setToolTip(tip)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = table.horizontalHeader()
        header.setMinimumSectionSize(NARROWEST)
        for column in range(len(COLUMNS)):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.cellClicked.connect(self._onClicked)
        ui.nextButton.clicked.connect(lambda *_: self.next())
        ui.acceptButton.clicked.connect(lambda *_: self.accept())
        ui.rejectButton.clicked.connect(lambda *_: self.reject())
        self.refresh()

    @property
    def rows(self) -> list[ReviewRow]:
        """As the table shows them."""
        return self._rows

    @property
    def selectedRow(self) -> ReviewRow | None:
        return next((row for row in self._rows if row.index == self._selected), None)

    def setOutput(self, output) -> None:
        """Show another list of points, or none."""
        if output is not self._output:
            self._output, self._selected = output, None
        self.refresh()

    def refresh(self) -> None:
        """Read all rows again."""
        previous, self._rows = self._rows, self._logic.reviewRows(self._output) if self._output is not None else []
        table = self._ui.reviewTable
        wasBlocked = table.blockSignals(True)
        table.setRowCount(len(self._rows))
        shown = shownScores(self._rows)
        for column, score in SCORES.items():
            table.setColumnHidden(column, score not in shown)
        for tableRow, row in enumerate(self._rows):
            if tableRow >= len(previous) or row != previous[tableRow]:  # of 500 rows a decision changes a few
                self._fill(tableRow, row)
            if row.index == self._selected:
                table.selectRow(tableRow)
        table.blockSignals(wasBlocked)
        self._enable()

    def select(self, index: int | None) -> None:
        """Go to a control point."""
        self._selected = index
        tableRow = next((tableRow for tableRow, row in enumerate(self._rows) if row.index == index), None)
        if tableRow is not None:
            self._ui.reviewTable.selectRow(tableRow)
            self._onSelected(self._rows[tableRow])
        self._enable()

    def next(self) -> None:
        """Go to the most uncertain point that nobody has reviewed; after the last one, begin again."""
        if self._output is None:
            return
        index = self._logic.nextUnreviewed(self._output, self._selected)
        self.select(index if index is not None else self._logic.nextUnreviewed(self._output))

    def accept(self) -> None:
        """The selected point is right, or rightly missing."""
        if self._canAccept():
            self._decide(self._logic.accept)

    def reject(self) -> None:
        """The selected point is wrong."""
        if self._canReject():
            self._decide(self._logic.reject)

    def _canAccept(self) -> bool:
        return self.selectedRow is not None and self.selectedRow.canBeAccepted

    def _canReject(self) -> bool:
        return self.selectedRow is not None and self.selectedRow.canBeRejected

    def _decide(self, decide: Callable) -> None:
        row = self.selectedRow
        following = self._logic.nextUnreviewed(self._output, row.index)
        decide(self._output, row.index)
        self.refresh()
        if following is not None and following != row.index:
            self.select(following)

    def _onClicked(self, tableRow: int, column: int) -> None:
        self.select(self._rows[tableRow].index)
        if column == ACCEPT:
            self.accept()
        elif column == REJECT:
            self.reject()

    def _fill(self, tableRow: int, row: ReviewRow) -> None:
        scores = (score.text(getattr(row, score.name)) for score in REVIEWED)
        texts = (row.name, *scores, row.statusText, "✓", "✗")
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(_tooltip(row, column))
            if column == STATUS:
                item.setForeground(qt.QBrush(qt.QColor(STATUS_COLOURS[row.status])))
            if column in SCORES:
                item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
            self._ui.reviewTable.setItem(tableRow, column, item)

    def _enable(self) -> None:
        reviewed = sum(not row.isPending for row in self._rows)
        missing = sum(row.status == "missing" for row in self._rows)
        summary = f"{reviewed} of {len(self._rows)} reviewed" + (f", {missing} not found" if missing else "") + "."
        self._ui.reviewSummaryLabel.setText(summary if self._rows else "Nothing has been placed yet.")
        notes = self._logic.runNotes(self._output, self._rows) if self._output is not None else []
        self._ui.reviewNotesLabel.setText("\n".join(notes))
        self._ui.reviewNotesLabel.setVisible(bool(notes))
        self._ui.nextButton.setEnabled(reviewed < len(self._rows))
        self._ui.acceptButton.setEnabled(self._canAccept())
        self._ui.rejectButton.setEnabled(self._canReject())


def _tooltip(row: ReviewRow, column: int) -> str:
    if column == ACCEPT:
        return "Accept: the point is right (A)"
    if column == REJECT:
        return "Reject: the point is wrong (X)"
    known = [row.name]  # a narrow table cuts it
    if row.reason:
        known.append(f"Not found: {row.reason}.")
    if row.status == "proposed" and row.ambiguous:
        known.append(f"Ambiguous: {LOOK_ALIKE}.")
    known += [f"Note: {note}." for note in row.notes]
    known += [score.sentence(value) for score in REVIEWED if (value := getattr(row, score.name)) is not None]
    if row.network:
        known.append(f"Placed by {row.network} {row.layer}, patch {row.patchSize}.")
    return "\n".join(known)
