"""The tab Review: placed points, the most uncertain first."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import VBtn, VCheckbox, VTooltip

from DeepFeatureLandmarksLib.scene import orientation_arrows, uncertainty_overlay
from DeepFeatureLandmarksWeb.page.buttons import small_icon
from DeepFeatureLandmarksWeb.page.learning import definition_row, learning_section
from DeepFeatureLandmarksWeb.page.notes_lines import notes_lines
from deepfeatures.data.landmark_scores import BY_NAME, REVIEWED, Score


def review_tab(name, actions) -> None:
    """Fill the tab.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    html.P(
        "Place the landmarks first; they are listed here, the most uncertain first.",
        classes="hint",
        v_if=(f"!{name.rows}.length",),
    )
    with html.Div(v_if=(f"{name.rows}.length",)):
        with html.H3():
            html.Span("{{ " + name.reviewed + " }} reviewed, {{ " + name.pending + " }} to go")
            html.Div(style="flex:1")
            VBtn("Next", size="x-small", variant="tonal", click=actions.next_unreviewed, disabled=(f"!{name.pending}",))
        with html.P(classes="hint mb-1"):
            html.Kbd("A")
            html.Span("accept, ")
            html.Kbd("X")
            html.Span("reject, ")
            html.Kbd("N")
            html.Span("next; drag a point to correct it.")
        notes_lines(name.run_notes, "Notes on the run")
        _other_places(name, actions)
        _table(name, actions)
        _overlay_box(uncertainty_overlay, name.are_circles_shown, _is_known(name, BY_NAME["radius_90_mm"]))
        _overlay_box(orientation_arrows, name.are_arrows_shown, name.are_points_turned)
        learning_section(name, actions)


def _overlay_box(overlay, is_shown: str, is_known: str) -> None:
    """The check box of what is drawn around the points, where that is known."""
    VCheckbox(
        v_model=(is_shown,),
        label=overlay.LABEL,
        v_if=(is_known,),
        raw_attrs=[f'title="{overlay.TOOLTIP}"'],
        density="compact",
        hide_details=True,
    )


def _other_places(name, actions) -> None:
    with html.Div(
        classes="alternatives", v_if=(name.ambiguity,), raw_attrs=['role="status"', 'aria-label="Ambiguous"']
    ):
        html.P("{{ " + name.ambiguity + " }}")
        with html.Div(v_for=(f"place in {name.other_places}",), key="place.number", classes="alternative"):
            html.Span("{{ place.text }}", v_if=(f"{name.other_places}.length > 1",))
            VBtn(
                "{{ " + f"{name.compared} == place.number ? 'Template again' : 'Side by side'" + " }}",
                size="small",
                variant="outlined",
                click=(actions.compare, "[place.number]"),
            )
            VBtn(
                "Take the other",
                size="small",
                variant="outlined",
                click=(actions.take, "[place.number]"),
                disabled=(name.is_busy,),
                raw_attrs=['title="Move all points there. Points that you have moved or accepted stay."'],
            )


def _table(name, actions) -> None:
    with html.Table(classes="review"):
        with html.Thead(), html.Tr():
            html.Th("Landmark")
            for score in REVIEWED:
                with html.Th(classes="n", v_if=(_is_known(name, score),)):
                    html.Span(score.short_label)
                    VTooltip(score.tooltip, activator="parent", location="top")
            html.Th("Status")
            html.Th("")
        with html.Tbody(), html.Template(v_for=(f"row in {name.rows}",), key="row.name"):
            _row(name, actions)
            definition_row(name)


def _row(name, actions) -> None:
    with html.Tr(click=(actions.show, "[row.name]"), classes=(f"'row' + (row.name == {name.current} ? ' now' : '')",)):
        html.Td("{{ row.name }}", classes="name", title=("row.tip",))
        for score in REVIEWED:
            html.Td("{{ row." + score.name + " }}", classes="n", v_if=(_is_known(name, score),))
        with html.Td():
            html.Span("{{ row.status_text }}", classes=("'status status-' + row.status",), title=("row.reason",))
        with html.Td(), html.Div(classes="decision"):
            small_icon("mdi-check", "Accept", (actions.accept, "[row.name]"), stop=True, disabled="!row.can_accept")
            small_icon("mdi-close", "Reject", (actions.reject, "[row.name]"), stop=True, disabled="!row.can_reject")


def _is_known(name, score: Score) -> str:
    """Whether the score has a column."""
    return f"{name.known_scores}.includes('{score.name}')"
