"""The series of a DICOM folder that holds several, over the views of one side: a click opens one."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import VBtn, VList, VListItem


def series_list(side: str, series: str, actions) -> None:
    """Build the list.

    Args:
        side: `"template"` or `"target"`.
        series: Name of the state's field with the series.
        actions: What a click calls.
    """
    with html.Div(
        classes="series",
        v_if=(f"{series}.length",),
        raw_attrs=['role="group"', f'aria-label="Series for the {side}"'],
    ):
        html.H2("This folder holds {{ " + series + ".length }} series. Choose one.")
        with VList(density="compact", bg_color="transparent"):
            VListItem(
                v_for=(f"each in {series}",),
                key="each.number",
                title=("each.title",),
                subtitle=("each.facts",),
                prepend_icon="mdi-layers-outline",
                click=(actions.choose_series, f"['{side}', each.number]"),
            )
        VBtn("Cancel", variant="tonal", size="small", click=f"{series} = []")
