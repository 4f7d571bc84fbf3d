"""What lies over the template while a transform is judged: the warped target, a checkerboard of both, a map."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vtkmodules.vtkCommonCore import vtkCommand

from DeepFeatureLandmarksLib.scene.comparison_volume import checkerboardNode
from DeepFeatureLandmarksWeb.views.volume_views import VolumeViews

MAP_OPACITY = 0.5
REDRAW_S = 0.2  # after the last change of brightness, as a checkerboard of a whole head takes a moment


class TemplateOverlay:
    """Shows one thing at a time in the template's slices; brightness and contrast follow those of both sides.

    Args:
        template: Views in which it lies.
        target: Has the brightness and contrast of the warped target.
    """

    def __init__(self, template: VolumeViews, target: VolumeViews):
        self._template, self._target = template, target
        self._board = None
        self._follow: Callable[[], None] = lambda: None
        self._observed: list[tuple] = []
        self._redrawing: asyncio.TimerHandle | None = None

    def blend(self, warped, share: float) -> None:
        """The warped target, more or less translucent: a share of 1 hides the template."""
        self._show(warped, share, lambda: _copy_window(self._target.volume, warped))

    def checkerboard(self, warped) -> None:
        """Cubes of both in turn."""

        def draw() -> None:
            _copy_window(self._target.volume, warped)
            self._board = checkerboardNode(self._template.volume, warped, self._board)

        draw()
        self._show(self._board, 1.0, lambda: self._redraw(draw))

    def map(self, node) -> None:
        """Colours of a map; the anatomy shines through."""
        self._show(node, MAP_OPACITY, lambda: None)

    def set_share(self, share: float) -> None:
        """Of the target in the blend."""
        for view in self._template.slices.values():
            view.set_foreground_opacity(share)

    def hide(self) -> None:
        """Show the template alone."""
        self._stop_following()
        self._template.set_overlay(None, 0.0)
        if self._board is not None and self._board.GetScene() is not None:
            self._board.GetScene().RemoveNode(self._board)
        self._board = None

    def _show(self, node, opacity: float, follow: Callable[[], None]) -> None:
        self._stop_following()
        follow()
        self._template.set_overlay(node, opacity)
        for side in (self._template, self._target):
            display = side.volume.GetDisplayNode()
            self._observed.append((display, display.AddObserver(vtkCommand.ModifiedEvent, lambda *_: follow())))

    def _stop_following(self) -> None:
        for display, observation in self._observed:
            display.RemoveObserver(observation)
        self._observed = []
        if self._redrawing is not None:
            self._redrawing.cancel()
            self._redrawing = None

    def _redraw(self, draw: Callable[[], None]) -> None:
        if self._redrawing is not None:
            self._redrawing.cancel()
        self._redrawing = asyncio.get_running_loop().call_later(REDRAW_S, draw)


def _copy_window(source, node) -> None:
    """Show a volume node in the brightness and contrast of another one."""
    shown, display = source.GetDisplayNode(), node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(shown.GetWindowLevelMin(), shown.GetWindowLevelMax())
