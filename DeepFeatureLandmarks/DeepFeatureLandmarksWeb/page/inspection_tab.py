"""The tab Inspect: why a point was placed where it is."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import VBtn, VSelect, VSlider

from DeepFeatureLandmarksWeb.page.thumbnails import COLUMNS


def inspection_tab(name, actions) -> None:
    """Fill the tab.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    html.P("Place the landmarks first.", classes="hint", v_if=(f"!{name.rows}.length",))
    with html.Div(v_if=(f"{name.rows}.length",)):
        VSelect(
            label="Landmark",
            v_model=(name.inspected_landmark,),
            items=(f"{name.rows}.map(r => r.name)",),
            density="compact",
            variant="outlined",
            hide_details=True,
        )
        html.H3("Template above, target below: 50 mm", style="margin-top:12px", v_if=(name.patches,))
        html.Img(
            src=(name.patches,),
            classes="patches",
            v_if=(name.patches,),
            alt="Slices of template and target around the landmark",
        )
        with html.Div(style="display:flex;gap:8px;margin-top:12px"):
            VBtn("Activation maps", size="small", variant="tonal", click=actions.request_maps, disabled=(name.is_busy,))
            VBtn(
                "Distance map", size="small", variant="tonal", click=actions.request_distances, disabled=(name.is_busy,)
            )
        _overlay(name, actions)
        _channels(name, actions)


def _overlay(name, actions) -> None:
    with html.Div(v_if=(f"{name.overlay}",), classes="mt-2"):
        with html.H3():
            html.Span("Overlay on the target")
            html.Div(style="flex:1")
            VBtn("Hide", size="x-small", variant="tonal", click=actions.hide_overlay)
        VSlider(
            v_model=(name.overlay_opacity,),
            min=0,
            max=1,
            step=0.05,
            density="compact",
            hide_details=True,
            color="#56B4E9",
            raw_attrs=['aria-label="Opacity of the overlay"'],
        )
        html.P(
            "{{ " + name.overlay_note + " }}",
            classes="hint",
            v_if=(name.overlay_note,),
        )


def _channels(name, actions) -> None:
    with html.Div(v_if=(f"{name.channels}",), classes="mt-2"):
        html.P("{{ " + name.mosaic_note + " }}", classes="hint mb-1")
        html.Img(
            src=(name.mosaic,),
            classes="mosaic",
            alt="Activation maps",
            click=(
                actions.pick_channel,
                f"[window.deepfeatures.tile($event, {COLUMNS}, {name.mosaic_rows}) + {name.mosaic_first}]",
            ),
        )
        with html.H3(style="margin-top:8px"):
            html.Span("Channel {{ " + name.channel + " + 1 }} of {{ " + name.channels + " }}")
        VSlider(
            v_model=(name.channel,),
            min=0,
            max=(f"{name.channels} - 1",),
            step=1,
            density="compact",
            hide_details=True,
            color="#56B4E9",
            raw_attrs=['aria-label="Channel"'],
        )
