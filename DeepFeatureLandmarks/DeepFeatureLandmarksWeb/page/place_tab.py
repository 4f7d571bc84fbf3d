"""The tab Place: landmarks of the template, and how to search."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import (
    VBtn,
    VBtnToggle,
    VSelect,
    VTextField,
)

from DeepFeatureLandmarksLib.scene.presets import INTENSITY, LARGEST_PATCH, PRESETS, TOLERANCE
from DeepFeatureLandmarksWeb.page.buttons import small_icon
from DeepFeatureLandmarksWeb.page.learning import protocol_choice
from DeepFeatureLandmarksWeb.page.notes_lines import notes_lines
from deepfeatures.features import SMALLEST_PATCH


def place_tab(name, actions) -> None:
    """Fill the tab.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    _landmark_buttons(name, actions)
    notes_lines(name.landmark_notes, "Notes on the landmarks")
    _landmark_table(name, actions)
    protocol_choice(name, actions)
    _settings(name)


def _landmark_buttons(name, actions) -> None:
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


def _landmark_table(name, actions) -> None:
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


def _settings(name) -> None:
    html.H3("How to search", style="margin-top:14px")
    with VBtnToggle(
        v_model=(name.preset,),
        mandatory=True,
        density="compact",
        divided=True,
        variant="outlined",
        style="height:30px;width:100%",
    ):
        for name_of_preset, preset in PRESETS.items():
            VBtn(preset.label, value=name_of_preset, size="small", style="flex:1", classes="px-1")
    html.P("{{ " + name.feature_note + " }}", classes="hint mt-2")
    _own_settings(name)
    VSelect(
        label="Compute on",
        v_model=(name.device,),
        items=(name.devices,),
        density="compact",
        variant="outlined",
        hide_details=True,
        classes="mt-3",
    )
    VTextField(
        label=TOLERANCE["label"],
        v_model=(name.tolerance,),
        placeholder="2 % of the template's size",
        hint=TOLERANCE["help"],
        persistent_hint=True,
        persistent_placeholder=True,
        density="compact",
        variant="outlined",
        classes="mt-3",
        raw_attrs=['inputmode="decimal"'],
    )


def _own_settings(name) -> None:
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
            label=INTENSITY["label"],
            v_model=(name.intensity,),
            items=(str(list(INTENSITY["choices"])),),
            hint=INTENSITY["help"],
            persistent_hint=True,
            density="compact",
            variant="outlined",
        )
