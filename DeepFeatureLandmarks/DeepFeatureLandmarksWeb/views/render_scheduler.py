"""The order of rendering: the view under the pointer at once, all others a moment later, and then once.

Slicer renders every slice view whenever one of them moves. Six pictures then delay the one that the user looks at. As
the other side follows soon after, five of them would be sent twice.
"""

from __future__ import annotations

import asyncio

from trame_slicer.rca_view.rca_view_factory import RemoteViewFactory
from trame_slicer.views import AbstractView, ScheduledRenderStrategy
from vtkmodules.vtkCommonCore import vtkCommand

DELAY_S = 0.08  # longer than the other side takes to follow
POINTER_EVENTS = (
    vtkCommand.MouseMoveEvent,
    vtkCommand.MouseWheelForwardEvent,
    vtkCommand.MouseWheelBackwardEvent,
    vtkCommand.LeftButtonPressEvent,
)
FIRST = 100.0  # priority of an observer: before the view's own reaction, which already renders


class RenderScheduler:
    """Knows which view the pointer used last, `None` before any, and which views are hidden and need no rendering."""

    def __init__(self):
        self.active: AbstractView | None = None
        self.hidden: set[AbstractView] = set()

    def watch(self, view: AbstractView) -> None:
        """Make the view the active one as soon as the pointer uses it."""

        def on_pointer(*_) -> None:
            self.active = view

        for event in POINTER_EVENTS:
            view.interactor().AddObserver(event, on_pointer, FIRST)


class ScheduledRendering(ScheduledRenderStrategy):
    """Renders a view at once where it is the active one, else a moment later.

    Args:
        scheduler: Shared by all views.
        render: Renders and sends the view.
    """

    def __init__(self, scheduler: RenderScheduler, render):
        super().__init__()
        self._scheduler, self._render = scheduler, render
        self._is_waiting = False

    def schedule_render(self) -> None:
        if self.abstract_view in self._scheduler.hidden:
            return
        if self._scheduler.active in (None, self.abstract_view):
            self._render()
        elif not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(DELAY_S, self._render_now)

    def _render_now(self) -> None:
        self._is_waiting = False
        self._render()


class ScheduledViewFactory(RemoteViewFactory):
    """Makes views that are rendered in that order.

    Args:
        scheduler: Shared by all views.
        given, options: See `RemoteViewFactory`.
    """

    def __init__(self, scheduler: RenderScheduler, *given, **options):
        super().__init__(*given, **options)
        self._scheduler = scheduler

    def _create_view(self, *given, **options):
        created = super()._create_view(*given, **options)
        created.slicer_view.set_scheduled_render(
            ScheduledRendering(self._scheduler, created.view_adapter.schedule_render)
        )
        self._scheduler.watch(created.slicer_view)
        return created
