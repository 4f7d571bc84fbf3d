"""Who draws when: the view under the pointer at once, all others a moment later, and then once.

Slicer has every slice view drawn whenever one of them moves. Six pictures on the way hold up the one that is looked at,
and here the other side follows soon after, so that five of them would be sent twice.
"""

from __future__ import annotations

import asyncio

from trame_slicer.rca_view.rca_view_factory import RemoteViewFactory
from trame_slicer.views import AbstractView, ScheduledRenderStrategy
from vtkmodules.vtkCommonCore import vtkCommand

LATER_S = 0.08  # longer than the other side takes to follow
TOUCHES = (
    vtkCommand.MouseMoveEvent,
    vtkCommand.MouseWheelForwardEvent,
    vtkCommand.MouseWheelBackwardEvent,
    vtkCommand.LeftButtonPressEvent,
)
BEFORE_OTHERS = 100.0  # priority of an observer: the view's own reaction to a touch already draws


class RenderScheduler:
    """Which view is at hand, `None` before any was touched, and which are hidden and need no drawing."""

    def __init__(self):
        self.first: AbstractView | None = None
        self.hidden: set[AbstractView] = set()

    def watch(self, view: AbstractView) -> None:
        """Let the view come first from the moment it is touched."""

        def touched(*_) -> None:
            self.first = view

        for event in TOUCHES:
            view.interactor().AddObserver(event, touched, BEFORE_OTHERS)


class ScheduledRendering(ScheduledRenderStrategy):
    """Draws a view when it is its turn.

    Args:
        turns: Shared by all views.
        draw: Has the view drawn and sent.
    """

    def __init__(self, turns: RenderScheduler, draw):
        super().__init__()
        self._turns, self._draw = turns, draw
        self._is_waiting = False

    def schedule_render(self) -> None:
        if self.abstract_view in self._turns.hidden:
            return
        if self._turns.first in (None, self.abstract_view):
            self._draw()
        elif not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(LATER_S, self._draw_now)

    def _draw_now(self) -> None:
        self._is_waiting = False
        self._draw()


class ScheduledViewFactory(RemoteViewFactory):
    """Makes views that take turns.

    Args:
        turns: Shared by all views.
        given, options: See `RemoteViewFactory`.
    """

    def __init__(self, turns: RenderScheduler, *given, **options):
        super().__init__(*given, **options)
        self._turns = turns

    def _create_view(self, *given, **options):
        made = super()._create_view(*given, **options)
        made.slicer_view.set_scheduled_render(ScheduledRendering(self._turns, made.view_adapter.schedule_render))
        self._turns.watch(made.slicer_view)
        return made
