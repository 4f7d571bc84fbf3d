"""The review of placed points: which to look at first, and what a person says of each."""

from __future__ import annotations

import numpy as np
from slicer import vtkMRMLMarkupsNode

from DeepFeatureLandmarksLib.scene.review import ReviewRow
from DeepFeatureLandmarksWeb.session_context import REVIEWED_COLOUR, PROPOSED_COLOUR, SessionContext
from DeepFeatureLandmarksWeb.views.volume_views import positions_of
from DeepFeatureLandmarksWeb.views.uncertainty_overlay import UncertaintyOverlay
from deepfeatures.data.scores import REVIEWED

OPEN = "proposed"


class ReviewController:
    """Keeps the table, the points' colours and the circles up to date, and carries out what the table asks."""

    def __init__(self, context: SessionContext):
        self._context = context
        self._circles = UncertaintyOverlay(context.scene, PROPOSED_COLOUR)
        self._watched = None
        self._observation = 0
        context.changed.append(self._refresh)
        context.server.state.change(context.typed.name.are_circles_shown)(lambda **_: self._draw_circles())

    def accept(self, name: str = "") -> None:
        """The named point, or the current one, is right; go on to the next."""
        self._judge(self._context.logic.accept, name, lambda row: row.canBeAccepted)

    def reject(self, name: str = "") -> None:
        """The named point, or the current one, is wrong; go on to the next."""
        self._judge(self._context.logic.reject, name, lambda row: row.canBeRejected)

    def next_unreviewed(self) -> None:
        """Jump to the next point that nobody has reviewed, the most uncertain first."""
        context = self._context
        if context.output is None:
            return
        current = self._index_of(context.state.current)
        following = context.logic.nextUnreviewed(context.output, current)
        if following is None:
            following = context.logic.nextUnreviewed(context.output)
        if following is None:
            context.inform("All points have been reviewed.")
            return
        context.show_landmark(context.output.GetNthControlPointLabel(following))

    def _judge(self, verdict, name: str, can_be) -> None:
        context = self._context
        name = name or context.state.current
        rows = context.logic.reviewRows(context.output) if context.output else []
        row = next((row for row in rows if row.name == name), None)
        if row is None or not can_be(row):
            return
        context.state.current = name
        verdict(context.output, row.index)
        context.refresh()
        self.next_unreviewed()

    def _index_of(self, name: str) -> int | None:
        node = self._context.output
        return next(
            (
                index
                for index in range(node.GetNumberOfControlPoints() if node else 0)
                if node.GetNthControlPointLabel(index) == name
            ),
            None,
        )

    def _refresh(self) -> None:
        context, state = self._context, self._context.state
        self._watch(context.output)
        rows = context.logic.reviewRows(context.output) if context.output else []
        state.rows = [_shown(row) for row in rows]
        state.known_scores = sorted({name for row in rows for name in row.scores})
        state.pending = sum(row.isPending for row in rows)
        state.reviewed = len(rows) - state.pending
        self._colour(rows)
        self._draw_circles()

    def _colour(self, rows: list[ReviewRow]) -> None:
        """Points that a person has reviewed in another colour than proposals: as selected and not, all MRML offers."""
        node = self._context.output
        if node is None:
            return
        display = node.GetDisplayNode()
        display.SetSelectedColor(*PROPOSED_COLOUR)
        display.SetColor(*REVIEWED_COLOUR)
        for row in rows:
            if bool(node.GetNthControlPointSelected(row.index)) != (row.status == OPEN):
                node.SetNthControlPointSelected(row.index, row.status == OPEN)

    def _draw_circles(self) -> None:
        context = self._context
        places = positions_of(context.output)
        balls: list[tuple[np.ndarray, float]] = []
        if context.state.are_circles_shown and context.output is not None:
            balls = [
                (places[row.name], row.expected_error_mm)
                for row in context.logic.reviewRows(context.output)
                if row.status == OPEN and row.expected_error_mm is not None and row.name in places
            ]
        self._circles.show(balls, context.target.view_ids)

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
        with self._context.server.state:
            self._context.refresh()


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
