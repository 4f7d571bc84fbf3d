"""A cross in a slice view, at a position in the volume that is shown there.

The scene has one crosshair for all views; here template and target each have their own.
"""

from __future__ import annotations

import numpy as np
from trame_slicer.views import SliceView
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkAppendPolyData
from vtkmodules.vtkFiltersSources import vtkLineSource
from vtkmodules.vtkRenderingCore import vtkActor2D, vtkPolyDataMapper2D, vtkTextActor

GAP_PX = 14  # keeps the anatomy at the position visible
COLOUR = (1.0, 1.0, 1.0)
OPACITY = 0.45
FONT_PX = 13
NAME_PX, EDGE_PX = 8, 6  # the name's distance from the position, and from the view's edge


class Crosshair:
    """Four line pieces around a position; hidden until there is one."""

    def __init__(self, view: SliceView):
        self._view = view
        self._ras: np.ndarray | None = None
        self._name = ""
        self._lines = [vtkLineSource() for _ in range(4)]
        appended = vtkAppendPolyData()
        for line in self._lines:
            appended.AddInputConnection(line.GetOutputPort())
        appended.AddInputData(vtkPolyData())
        mapper = vtkPolyDataMapper2D()
        mapper.SetInputConnection(appended.GetOutputPort())
        self._actor = vtkActor2D()
        self._actor.SetMapper(mapper)
        self._actor.GetProperty().SetColor(*COLOUR)
        self._actor.GetProperty().SetOpacity(OPACITY)
        self._actor.SetVisibility(False)
        self._drawn: tuple | None = None
        view.first_renderer().AddViewProp(self._actor)
        self._text = vtkTextActor()
        self._text.SetVisibility(False)
        letters = self._text.GetTextProperty()
        letters.SetFontSize(FONT_PX)
        letters.SetColor(*COLOUR)
        letters.SetBold(True)
        letters.SetBackgroundColor(0.0, 0.0, 0.0)
        letters.SetBackgroundOpacity(0.6)
        view.first_renderer().AddViewProp(self._text)
        view.modified.connect(lambda *_: self._draw())

    def set_position(self, ras: np.ndarray | None, name: str = "") -> None:
        """Show the cross at `ras`, mm, with a name beside it; `None` hides it."""
        self._name = name
        self._ras = None if ras is None else np.asarray(ras, float)
        self._draw()

    def _draw(self) -> None:
        width, height = self._view.render_window().GetSize()
        x, y = (None, None) if self._ras is None else ras_to_pixel(self._view, self._ras)
        wanted = (x, y, width, height, self._name)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        self._actor.SetVisibility(x is not None)
        self._text.SetVisibility(x is not None and bool(self._name))
        if x is not None:
            pieces = (
                ((0, y), (x - GAP_PX, y)),
                ((x + GAP_PX, y), (width, y)),
                ((x, 0), (x, y - GAP_PX)),
                ((x, y + GAP_PX), (x, height)),
            )
            for line, (start, end) in zip(self._lines, pieces, strict=True):
                line.SetPoint1(*start, 0)
                line.SetPoint2(*end, 0)
            self._text.SetInput(self._name)
            size = [0.0, 0.0]
            self._text.GetSize(self._view.first_renderer(), size)
            room = width - size[0] - EDGE_PX
            self._text.SetPosition(max(min(x + NAME_PX, room), EDGE_PX), min(y + NAME_PX, height - size[1] - EDGE_PX))
        self._view.schedule_render()


def ras_to_pixel(view: SliceView, ras: np.ndarray) -> tuple[float, float]:
    """Where a position, mm, falls in the view once projected on its slice, in pixels from the lower left corner."""
    to_ras = _matrix(view.get_view_node().GetXYToRAS())
    x, y, *_ = np.linalg.solve(to_ras, [*ras, 1.0])
    return float(x), float(y)


def pixel_to_ras(view: SliceView, x: float, y: float) -> np.ndarray:
    """The position, mm, on the shown slice, under a pixel."""
    return (_matrix(view.get_view_node().GetXYToRAS()) @ [x, y, 0.0, 1.0])[:3]


def _matrix(vtk_matrix) -> np.ndarray:
    return np.array([[vtk_matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
