"""The review of placed points: the table, accepting, rejecting, and what is drawn around the points."""

from __future__ import annotations

from slicer import vtkMRMLMarkupsNode

from DeepFeatureLandmarksLib.scene.orientation_arrows import OrientationArrows, arrowsOf
from DeepFeatureLandmarksLib.scene.review import ReviewRow, shownScores
from DeepFeatureLandmarksLib.scene.uncertainty_overlay import UncertaintyOverlay, spheresOf
from DeepFeatureLandmarksWeb.session_context import PROPOSED_COLOUR, REVIEWED_COLOUR, SessionContext
from deepfeatures.data.ambiguity import LOOK_ALIKE
from deepfeatures.data.landmark_scores import REVIEWED

PROPOSED = "proposed"


class ReviewController:
    """Updates the table, the points' colours, the circles and the arrows, and applies decisions."""

    def __init__(self, context: SessionContext):
        self._context = context
        self._circles = UncertaintyOverlay(context.scene, PROPOSED_COLOUR, self._style_overlay)
        self._arrows = OrientationArrows(context.scene, self._style_overlay)
        self._watched = None
        self._observation = 0
        context.refreshers.append(self._refresh)
        for is_shown in (context.typed.name.are_circles_shown, context.typed.name.are_arrows_shown):
            context.server.state.change(is_shown)(lambda **_: self._draw_overlays())

    def accept(self, name: str = "") -> None:
        """The named point, or the current one, is right; go on to the next."""
        self._decide(self._context.logic.accept, name, lambda row: row.canBeAccepted)

    def reject(self, name: str = "") -> None:
        """The named point, or the current one, is wrong; go on to the next."""
        self._decide(self._context.logic.reject, name, lambda row: row.canBeRejected)

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

    def _decide(self, decision, name: str, is_possible) -> None:
        context = self._context
        name = name or context.state.current
        rows = context.logic.reviewRows(context.output) if context.output else []
        row = next((row for row in rows if row.name == name), None)
        if row is None or not is_possible(row):
            return
        context.state.current = name
        decision(context.output, row.index)
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
        state.rows = [_page_row(row) for row in rows]
        state.run_notes = context.logic.runNotes(context.output, rows) if context.output else []
        state.known_scores = [score.name for score in shownScores(rows)]
        state.pending = sum(row.isPending for row in rows)
        state.reviewed = len(rows) - state.pending
        self._colour(rows)
        self._draw_overlays()

    def _colour(self, rows: list[ReviewRow]) -> None:
        """Show reviewed points in another colour than proposals: as unselected ones, which MRML colours apart."""
        node = self._context.output
        if node is None:
            return
        display = node.GetDisplayNode()
        display.SetSelectedColor(*PROPOSED_COLOUR)
        display.SetColor(*REVIEWED_COLOUR)
        for row in rows:
            if bool(node.GetNthControlPointSelected(row.index)) != (row.status == PROPOSED):
                node.SetNthControlPointSelected(row.index, row.status == PROPOSED)

    def _draw_overlays(self) -> None:
        """Circles and arrows, where they are wanted; whether there are arrows is known only from the points."""
        context, state = self._context, self._context.state
        rows = context.logic.reviewRows(context.output) if context.output and state.are_circles_shown else []
        self._circles.show(spheresOf(context.output, rows))
        arrows = arrowsOf(context.output, context.target.volume)
        state.are_points_turned = bool(arrows)
        if arrows and state.are_arrows_shown:
            self._arrows.show(arrows)
        else:
            self._arrows.clear()

    def _style_overlay(self, node) -> None:
        node.GetDisplayNode().SetViewNodeIDs(self._context.target.view_ids)

    def _watch(self, node) -> None:
        if node is self._watched:
            return
        if self._watched is not None:
            self._watched.RemoveObserver(self._observation)
        self._watched = node
        if node is not None:
            self._observation = node.AddObserver(vtkMRMLMarkupsNode.PointEndInteractionEvent, self._on_dragged)

    def _on_dragged(self, *_) -> None:
        """The Logic recognises a dragged point as corrected; the table must be updated."""
        with self._context.server.state:
            self._context.refresh()


def _sentences(row: ReviewRow) -> list[str]:
    return [score.sentence(value) for score in REVIEWED if (value := getattr(row, score.name)) is not None]


def _page_row(row: ReviewRow) -> dict:
    return {
        "name": row.name,
        "status": row.status,
        "status_text": row.statusText,
        "reason": f"{LOOK_ALIKE[:1].upper()}{LOOK_ALIKE[1:]}." if row.ambiguous else row.reason,
        "tip": "\n".join([row.name, *row.notes, *_sentences(row)]),
        "can_accept": row.canBeAccepted,
        "can_reject": row.canBeRejected,
        **{score.name: score.text(getattr(row, score.name)) for score in REVIEWED},
    }
