"""Other places in which all points may lie: the yellow box, both places side by side, and taking the other."""

from __future__ import annotations

from DeepFeatureLandmarksLib.scene.unsaved_points import COLOUR, UnsavedPoints
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.appearance import style_markups
from deepfeatures.errors import InputError

NAME = "Points in the other place"
NONE = -1
REVIEW = "review"  # the tab in which places are compared


class AlternativesController:
    """Updates the box, and shows the target with the points of another place in the template's views."""

    def __init__(self, context: SessionContext):
        self._context = context
        self._points = UnsavedPoints(context.scene, NAME, self._style)
        context.refreshers.append(self._refresh)
        context.server.state.change(context.typed.name.tab)(lambda **_: self._on_tab())

    def compare(self, number: int) -> None:
        """Show the points of this place beside those that are placed, or no longer where they are shown."""
        self._show(NONE if self._context.state.compared == number else number)
        self._context.show_landmark(self._context.state.current)

    def take(self, number: int) -> None:
        """Move all points to this place; what was side by side stays so, the other way around."""
        context = self._context
        ambiguity = context.logic.ambiguity(context.output)
        try:
            run = context.logic.takeHypothesis(context.output, number)
        except InputError as error:
            context.warn(str(error))
            return
        if context.state.compared != NONE:
            context.state.compared = ambiguity.shown
        context.refresh()
        context.inform(run.summary)
        context.show_landmark(context.state.current)

    def _refresh(self) -> None:
        context, state = self._context, self._context.state
        ambiguity = context.logic.ambiguity(context.output) if context.output else None
        others = ambiguity.others if ambiguity else ()
        state.ambiguity = ambiguity.sentences if ambiguity else ""
        state.other_places = [{"number": number, "text": ambiguity.textOf(number)} for number in others]
        if state.compared != NONE:
            self._show(state.compared if state.compared in others else NONE)

    def _show(self, number: int) -> None:
        context = self._context
        context.state.compared = number
        if number == NONE:
            self._points.clear()
        else:
            self._points.show(context.logic.hypothesisLandmarks(context.output, number))
        context.compare(self._points.node)

    def _on_tab(self) -> None:
        """Everything else that is done in the template's views needs the template."""
        if self._context.state.compared != NONE and self._context.state.tab != REVIEW:
            self._show(NONE)

    def _style(self, points) -> None:
        style_markups(points, COLOUR, self._context.template.slice_ids)
