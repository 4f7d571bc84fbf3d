"""The tab Quality: placed points against a second set, and annotated scans as templates."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import VBtn, VCheckbox, VTooltip

from DeepFeatureLandmarksLib.scene.comparison_report import SCALE_MM
from DeepFeatureLandmarksLib.scene.point_errors import COLUMNS
from DeepFeatureLandmarksLib.scene.template_check import COLUMNS as TEMPLATE_COLUMNS
from DeepFeatureLandmarksWeb.page.notes_lines import notes_lines


def quality_tab(name, actions) -> None:
    """Fill the tab.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    _heading("Against a second set", "Open", "window.deepfeatures.choose('reference', false)", f"!{name.target.title}")
    notes_lines(name.reference_notes, "Notes on the second set")
    html.P("{{ " + name.quality_note + " }}", classes="hint mb-2 quality-note")
    _error_table(name, actions)
    VCheckbox(
        v_model=(name.is_reference_shown,),
        label="Show the second set in the target's views",
        density="compact",
        hide_details=True,
        v_if=(f"{name.quality_rows}.length",),
    )
    VBtn(
        "Report (HTML)",
        size="small",
        variant="tonal",
        click="window.deepfeatures.save('report.html')",
        classes="mt-2",
        disabled=(f"!{name.rows}.length",),
    )
    _template_check(name)


def _heading(title: str, label: str, click: str, disabled: str, **attributes: str) -> None:
    """A heading with a button at its end; `click` and `disabled` are expressions of the page."""
    with html.H3(**attributes):
        html.Span(title)
        html.Div(style="flex:1")
        VBtn(label, size="x-small", variant="tonal", click=click, disabled=(disabled,))


def _template_check(name) -> None:
    choose = "window.deepfeatures.choose('scans', true)"
    _heading("Which scan as the template?", "Open folder", choose, name.is_busy, classes="mt-4")
    html.P(
        "A folder of scans with landmark files of the same name: each is tried as the template of the others.",
        classes="hint mb-2",
        v_if=(f"!{name.template_rows}.length",),
    )
    html.P("{{ " + name.template_advice + " }}", classes="hint mb-2 template-advice")
    with html.Table(v_if=(f"{name.template_rows}.length",), classes="quality templates"):
        with html.Thead(), html.Tr():
            html.Th("Template")
            for column in TEMPLATE_COLUMNS:
                with html.Th(classes="n"):
                    html.Span(column.short_label)
                    VTooltip(column.tooltip, activator="parent", location="top")
            html.Th("Unlike the others")
        with html.Tbody(), html.Tr(v_for=(f"row in {name.template_rows}",), key="row.name", title=("row.details",)):
            html.Td("{{ row.name }}", classes="name")
            for column in TEMPLATE_COLUMNS:
                html.Td("{{ row." + column.name + " }}", classes="n")
            html.Td("{{ row.unlike }}")
    with html.Div(v_if=(f"{name.template_rows}.length",), classes="mt-2"):
        for what, text in (("template_check", "Templates (CSV)"), ("template_landmarks", "Their points (CSV)")):
            VBtn(text, size="small", variant="tonal", click=f"window.deepfeatures.save('{what}.csv')", classes="mr-2")


def _error_table(name, actions) -> None:
    with html.Table(v_if=(f"{name.quality_rows}.length",), classes="quality"):
        with html.Thead(), html.Tr():
            html.Th("Landmark")
            for column in COLUMNS:
                with html.Th(classes="n", v_if=(f"{name.quality_columns}.includes('{column.name}')",)):
                    html.Span(column.short_label)
                    VTooltip(column.tooltip, activator="parent", location="top")
            html.Th(f"0 to {SCALE_MM:.0f} mm", style="width:32%")
        with (
            html.Tbody(),
            html.Tr(
                v_for=(f"row in {name.quality_rows}",),
                key="row.name",
                click=(actions.show, "[row.name]"),
                classes="row",
            ),
        ):
            html.Td("{{ row.name }}", classes="name", title=("row.name",))
            for column in COLUMNS:
                is_known = f"{name.quality_columns}.includes('{column.name}')"
                html.Td("{{ row." + column.name + " }}", classes="n", v_if=(is_known,))
            with html.Td(), html.Div(classes="bar-of"):
                html.Div(style=("{width: row.percent + '%'}",))
