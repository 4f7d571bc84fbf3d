"""The frame of a view on the page: its plane, the letters of its edges, a slider, a button to enlarge it."""

from __future__ import annotations

import numpy as np
from trame.widgets import html
from trame.widgets.vuetify3 import VBtn, VIcon, VSlider
from trame_server import Server
from trame_server.utils.typed_state import TypedState
from trame_slicer.views import AbstractView, SliceView

from DeepFeatureLandmarksWeb.page.frame_state import FrameState
from DeepFeatureLandmarksWeb.page.state import PageState

ENDS = (("L", "R"), ("P", "A"), ("I", "S"))  # of the axes of RAS


def fill_view(_server: Server, _view_id: str, _view: AbstractView) -> None:
    """A 3D view has no frame."""


def fill_slice_view(server: Server, view_id: str, view: SliceView) -> None:
    """The frame of a slice view."""
    frame = TypedState(server.state, FrameState, namespace=view_id)
    page = TypedState(server.state, PageState)
    plane = view.get_orientation()
    is_updating = False

    def update_state(*_) -> None:
        nonlocal is_updating
        is_updating = True
        with server.state:
            data = frame.data
            data.low, data.high = view.get_slice_range()
            data.step = max(view.get_slice_step(), 1e-3)
            data.offset = view.get_slice_value()
            data.is_shown = view.get_background_volume_id() is not None
            data.left, data.right, data.top, data.bottom = edge_letters(view)
        is_updating = False

    def scroll(*_) -> None:
        if not is_updating:
            view.set_slice_value(float(frame.data.offset))

    view.modified.connect(update_state)
    frame.bind_changes({frame.name.offset: scroll})
    update_state()

    name = frame.name
    with html.Div(classes="frame", v_show=(name.is_shown,)):
        html.Div(f"{plane}", classes=f"plane plane-{plane.lower()}")
        for edge in ("left", "right", "top", "bottom"):
            html.Div("{{ " + getattr(name, edge) + " }}", classes=f"letter letter-{edge}")
        with VBtn(
            classes="enlarge",
            variant="text",
            density="compact",
            size="small",
            icon=True,
            raw_attrs=[f'aria-label="Enlarge the {plane.lower()} views"'],
            click=f"{page.name.enlarged} = {page.name.enlarged} == '{plane}' ? '' : '{plane}'",
        ):
            VIcon(icon=(f"{page.name.enlarged} == '{plane}' ? 'mdi-arrow-collapse' : 'mdi-arrow-expand'",), size="16")
        VSlider(
            classes="slider",
            v_model=(name.offset,),
            min=(name.low,),
            max=(name.high,),
            step=(name.step,),
            density="compact",
            hide_details=True,
            thumb_size=10,
            track_size=2,
            raw_attrs=[f'aria-label="{plane} slice"'],
        )


def edge_letters(view: SliceView) -> tuple[str, str, str, str]:
    """The patient's direction at the view's left, right, top and bottom edge."""
    matrix = view.get_view_node().GetSliceToRAS()
    across, up = (np.array([matrix.GetElement(row, column) for row in range(3)]) for column in (0, 1))

    def ends(direction: np.ndarray) -> tuple[str, str]:
        axis = int(np.abs(direction).argmax())
        start, end = ENDS[axis]
        return (start, end) if direction[axis] > 0 else (end, start)

    left, right = ends(across)
    bottom, top = ends(up)
    return left, right, top, bottom
