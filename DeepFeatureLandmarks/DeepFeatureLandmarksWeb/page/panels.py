"""The four pages of the panel: place, review, look inside, compare."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import (
    VBtn,
    VBtnToggle,
    VCheckbox,
    VIcon,
    VSelect,
    VSlider,
    VTextField,
    VTooltip,
)

from DeepFeatureLandmarksLib.scene.presets import LARGEST_PATCH, SMALLEST_PATCH
from DeepFeatureLandmarksWeb.page.thumbnails import COLUMNS
from deepfeatures.data.scores import BY_NAME, REVIEWED, Score

EXPECTED = BY_NAME["expected_error_mm"]


def place_tab(name, actions) -> None:
    """Landmarks of the template, and how to search."""
    with html.H3():
        html.Span("Template landmarks ({{ " + f"{name.landmarks}.length" + " }})")
        html.Div(style="flex:1")
        VBtn(
            "{{ " + f"{name.is_marking} ? 'Done' : 'Mark'" + " }}",
            size="x-small",
            variant="tonal",
            prepend_icon="mdi-target",
            click=actions.toggle_marking,
            color=(f"{name.is_marking} ? '#56B4E9' : undefined",),
            disabled=(f"!{name.template.title}",),
            classes="mark",
        )
        VBtn(
            "Open",
            size="x-small",
            variant="tonal",
            click="window.deepfeatures.choose('landmarks', false)",
            disabled=(f"!{name.template.title}",),
        )
    html.P("Click into the left views: each click adds a landmark.", classes="hint", v_if=(name.is_marking,))
    html.P(
        "None yet. Open a file, or press Mark and click into the left views.",
        classes="hint",
        v_if=(f"!{name.landmarks}.length && !{name.is_marking}",),
    )
    with (
        html.Div(style="max-height:34vh;overflow-y:auto"),
        html.Table(),
        html.Tbody(),
        html.Tr(
            v_for=(f"row in {name.landmarks}",),
            key="row.index",
            classes=(f"'row' + (row.name == {name.current} ? ' now' : '')",),
        ),
    ):
        with html.Td():
            html.Input(
                classes="name-input",
                key="row.name",
                # As an attribute: as a property it would undo what is being typed whenever anything else changes.
                raw_attrs=['aria-label="Name of the landmark"', ':value.attr="row.name"'],
                spellcheck="false",
                focus=(actions.show, "[row.name]"),
                change=(actions.rename, "[row.index, $event.target.value]"),
                v_on_keydown_enter="$event.target.blur()",
                blur="$event.target.value = row.name",
            )
        with html.Td(style="width:64px;white-space:nowrap"):
            small_icon(
                "mdi-refresh",
                "Place this one again",
                (actions.place_again, "[row.name]"),
                disabled=f"{name.is_busy} || !{name.rows}.length",
            )
            small_icon("mdi-delete-outline", "Delete", (actions.delete, "[row.index]"), disabled=name.is_busy)
    html.H3("How to search", style="margin-top:14px")
    with VBtnToggle(
        v_model=(name.preset,),
        mandatory=True,
        density="compact",
        divided=True,
        variant="outlined",
        style="height:30px;width:100%",
    ):
        for value, title in (("best", "Best"), ("paper", "Paper's"), ("own", "Own choice")):
            VBtn(title, value=value, size="small", style="flex:1", classes=f"preset-{value}")
    html.P("{{ " + name.feature_note + " }}", classes="hint mt-2")
    with html.Div(v_if=(f"{name.preset} == 'own'",), classes="mt-3"):
        VSelect(
            label="Network",
            v_model=(name.network,),
            items=(name.networks,),
            density="compact",
            variant="outlined",
            hide_details=True,
            classes="mb-2",
        )
        VSelect(
            label="Layer",
            v_model=(name.layer,),
            items=(name.layers,),
            density="compact",
            variant="outlined",
            hide_details=True,
            classes="mb-2",
        )
        VTextField(
            label="Patch size (voxels)",
            v_model=(name.patch_size,),
            type="number",
            density="compact",
            variant="outlined",
            hide_details=True,
            classes="mb-2",
            raw_attrs=[f'min="{SMALLEST_PATCH}"', f'max="{LARGEST_PATCH}"'],
        )
    VSelect(
        label="Compute on",
        v_model=(name.device,),
        items=(name.devices,),
        density="compact",
        variant="outlined",
        hide_details=True,
        classes="mt-3",
    )


def review_tab(name, actions) -> None:
    """The table of placed points, the most uncertain first."""
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
        with html.Table(classes="review"):
            with html.Thead(), html.Tr():
                html.Th("Landmark")
                for score in REVIEWED:
                    with html.Th(classes="n", v_if=(_is_known(name, score),)):
                        html.Span(score.short_label)
                        VTooltip(score.tooltip, activator="parent", location="top")
                html.Th("Status")
                html.Th("")
            with (
                html.Tbody(),
                html.Tr(
                    v_for=(f"row in {name.rows}",),
                    key="row.name",
                    click=(actions.show, "[row.name]"),
                    classes=(f"'row' + (row.name == {name.current} ? ' now' : '')",),
                ),
            ):
                html.Td("{{ row.name }}", classes="name", title=("row.name",))
                for score in REVIEWED:
                    html.Td("{{ row." + score.name + " }}", classes="n", v_if=(_is_known(name, score),))
                with html.Td():
                    html.Span("{{ row.told }}", classes=("'status status-' + row.status",), title=("row.reason",))
                with html.Td(), html.Div(classes="judge"):
                    small_icon(
                        "mdi-check", "Accept", (actions.accept, "[row.name]"), stop=True, disabled="!row.can_accept"
                    )
                    small_icon(
                        "mdi-close", "Reject", (actions.reject, "[row.name]"), stop=True, disabled="!row.can_reject"
                    )
        VCheckbox(
            v_model=(name.are_circles_shown,),
            label="Circle of the expected error",
            v_if=(_is_known(name, EXPECTED),),
            density="compact",
            hide_details=True,
        )


def _is_known(name, score: Score) -> str:
    """Whether any point has the score."""
    return f"{name.known_scores}.includes('{score.name}')"


def inspection_tab(name, actions) -> None:
    """Why a point came to lie where it is."""
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
            VBtn("Activation maps", size="small", variant="tonal", click=actions.ask_maps, disabled=(name.is_busy,))
            VBtn("Distance map", size="small", variant="tonal", click=actions.ask_distances, disabled=(name.is_busy,))
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


def quality_tab(name, actions) -> None:
    """Placed points against a second set."""
    with html.H3():
        html.Span("Against a second set")
        html.Div(style="flex:1")
        VBtn(
            "Open",
            size="x-small",
            variant="tonal",
            click="window.deepfeatures.choose('reference', false)",
            disabled=(f"!{name.target.title}",),
        )
    html.P("{{ " + name.quality_note + " }}", classes="hint mb-2 quality-note")
    with html.Table(v_if=(f"{name.quality_rows}.length",), classes="quality"):
        with html.Thead(), html.Tr():
            html.Th("Landmark")
            html.Th("Error mm", classes="n")
            html.Th(EXPECTED.short_label, classes="n", v_if=(_is_known(name, EXPECTED),))
            html.Th("0 to 10 mm", style="width:32%")
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
            html.Td("{{ row.error }}", classes="n")
            html.Td("{{ row.expected }}", classes="n", v_if=(_is_known(name, EXPECTED),))
            with html.Td(), html.Div(classes="bar-of"):
                html.Div(style=("{width: row.percent + '%'}",))
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


def small_icon(icon: str, title: str, click, *, disabled: str = "", stop: bool = False) -> None:
    """An icon button of a table's row."""
    more = {"disabled": (disabled,)} if disabled else {}
    attributes = [f'title="{title}"', f'aria-label="{title}"']
    with VBtn(
        icon=True,
        variant="text",
        size="x-small",
        density="comfortable",
        raw_attrs=attributes,
        **{"v_on_click_stop" if stop else "click": click},
        **more,
    ):
        VIcon(icon, size="16")
