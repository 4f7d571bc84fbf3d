"""The review of placed points: which to look at first, and what a person says of each."""

from __future__ import annotations

import numpy as np
from slicer import vtkMRMLMarkupsNode

from DeepFeatureLandmarksLib.scene.review import ReviewRow
from DeepFeatureLandmarksWeb.session_context import JUDGED_COLOUR, PROPOSED_COLOUR, Desk
from DeepFeatureLandmarksWeb.views.sides import positions_of
from DeepFeatureLandmarksWeb.views.uncertainty_overlay import Circles
from deepfeatures.data.scores import REVIEWED

OPEN = "proposed"


class Reviewing:
    """Keeps the table, the points' colours and the circles up to date, and carries out what the table asks."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._circles = Circles(desk.scene, PROPOSED_COLOUR)
        self._watched = None
        self._observation = 0
        desk.changed.append(self._tell)
        desk.server.state.change(desk.typed.name.are_circles_shown)(lambda **_: self._draw_circles())

    def accept(self, name: str = "") -> None:
        """The named point, or the current one, is right; go on to the next."""
        self._judge(self._desk.logic.accept, name, lambda row: row.canBeAccepted)

    def reject(self, name: str = "") -> None:
        """The named point, or the current one, is wrong; go on to the next."""
        self._judge(self._desk.logic.reject, name, lambda row: row.canBeRejected)

    def go_on(self) -> None:
        """Jump to the next point that nobody has judged, the most doubtful first."""
        desk = self._desk
        if desk.output is None:
            return
        current = self._index_of(desk.state.current)
        following = desk.logic.nextUncertain(desk.output, current)
        if following is None:
            following = desk.logic.nextUncertain(desk.output)
        if following is None:
            desk.inform("All points have been judged.")
            return
        desk.show_landmark(desk.output.GetNthControlPointLabel(following))

    def _judge(self, verdict, name: str, can_be) -> None:
        desk = self._desk
        name = name or desk.state.current
        rows = desk.logic.reviewRows(desk.output) if desk.output else []
        row = next((row for row in rows if row.name == name), None)
        if row is None or not can_be(row):
            return
        desk.state.current = name
        verdict(desk.output, row.index)
        desk.refresh()
        self.go_on()

    def _index_of(self, name: str) -> int | None:
        node = self._desk.output
        return next(
            (
                index
                for index in range(node.GetNumberOfControlPoints() if node else 0)
                if node.GetNthControlPointLabel(index) == name
            ),
            None,
        )

    def _tell(self) -> None:
        desk, state = self._desk, self._desk.state
        self._watch(desk.output)
        rows = desk.logic.reviewRows(desk.output) if desk.output else []
        state.rows = [_shown(row) for row in rows]
        state.known_scores = sorted({name for row in rows for name in row.scores})
        state.open_rows = sum(row.isOpen for row in rows)
        state.judged = len(rows) - state.open_rows
        self._colour(rows)
        self._draw_circles()

    def _colour(self, rows: list[ReviewRow]) -> None:
        """Points that a person has judged in another colour than proposals: as selected and not, all MRML offers."""
        node = self._desk.output
        if node is None:
            return
        display = node.GetDisplayNode()
        display.SetSelectedColor(*PROPOSED_COLOUR)
        display.SetColor(*JUDGED_COLOUR)
        for row in rows:
            if bool(node.GetNthControlPointSelected(row.index)) != (row.status == OPEN):
                node.SetNthControlPointSelected(row.index, row.status == OPEN)

    def _draw_circles(self) -> None:
        desk = self._desk
        places = positions_of(desk.output)
        balls: list[tuple[np.ndarray, float]] = []
        if desk.state.are_circles_shown and desk.output is not None:
            balls = [
                (places[row.name], row.expected_error_mm)
                for row in desk.logic.reviewRows(desk.output)
                if row.status == OPEN and row.expected_error_mm is not None and row.name in places
            ]
        self._circles.show(balls, desk.target.view_ids)

    def _watch(self, node) -> None:
        if node is self._watched:
            return
        if self._watched is not None:
            self._watched.RemoveObserver(self._observation)
        self._watched = node
        if node is not None:
            self._observation = node.AddObserver(vtkMRMLMarkupsNode.PointEndInteractionEvent, self._on_dragged)

    def _on_dragged(self, *_) -> None:
        """The Logic knows a dragged point as corrected by itself; the table has to be told."""
        with self._desk.server.state:
            self._desk.refresh()


def _shown(row: ReviewRow) -> dict:
    return {
        "name": row.name,
        "status": row.status,
        "told": row.statusText,
        "reason": row.reason,
        "can_accept": row.canBeAccepted,
        "can_reject": row.canBeRejected,
        **{score.name: score.text(getattr(row, score.name)) for score in REVIEWED},
    }
