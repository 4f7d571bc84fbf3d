"""The tab Transform: from landmarks to a mapping of everything, its files, and what it looks like."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets.vuetify3 import VBtn, VBtnToggle, VIcon, VList, VListItem, VMenu, VSelect, VSlider

from DeepFeatureLandmarksLib.scene.jacobian_map import FULL, LEGEND
from DeepFeatureLandmarksWeb.page.notes_lines import notes_lines

DOWNLOADS = {
    "transform.h5": "For ITK, SimpleITK, 3D Slicer and ANTs (.h5)",
    "transform.tfm": "For ITK, SimpleITK and 3D Slicer, as text (.tfm)",
    "transform.nrrd": "Displacement field (.nrrd)",
}
INTRODUCTION = (
    "A transform maps all of the template to the target, not the points alone. It shows how well both match, and "
    "carries labels, points and models over."
)
VIEWS = {"": "Off", "blend": "Blend", "checkerboard": "Checkerboard", "jacobian": "Jacobian"}
WAYS = {"target": "Template → target", "template": "Target → template"}


def transform_tab(name, actions) -> None:
    """Fill the tab.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    known = name.transform
    html.P(INTRODUCTION, classes="hint mb-3", v_if=(f"!{known.title}",))
    _choice(name, actions)
    with html.Div(v_if=(known.title,)):
        _result(name)
        _comparison(name, actions)
        _carrying(name)


def _choice(name, actions) -> None:
    known = name.transform
    VSelect(
        label="Kind",
        v_model=(known.kind,),
        items=(known.kinds,),
        density="compact",
        variant="outlined",
        hide_details=True,
        classes="mb-2",
    )
    html.P(
        "{{ " + f"({known.kinds}.find(kind => kind.value == {known.kind}) || {{}}).text" + " }}", classes="hint mb-2"
    )
    VBtn(
        "Compute transform",
        size="small",
        variant="tonal",
        prepend_icon="mdi-vector-curve",
        click=actions.compute_transform,
        disabled=(f"!!{known.refusal} || {name.is_busy}",),
    )
    html.P("{{ " + known.refusal + " }}", classes="hint mt-1", v_if=(f"{known.refusal} && !{name.is_busy}",))


def _result(name) -> None:
    known = name.transform
    with html.Div(classes="fit"):
        with html.Div(classes="title"):
            html.Span("{{ " + known.title + " }}")
            with VBtn(size="x-small", variant="tonal", append_icon="mdi-menu-down"):
                html.Span("Download")
                with VMenu(activator="parent"), VList(density="compact"):
                    for what, title in DOWNLOADS.items():
                        VListItem(title=title, click=f"window.deepfeatures.save('{what}')")
        html.P("{{ " + known.fit + " }}")
        with html.Details():
            html.Summary("Each point")
            html.P("{{ line }}", v_for=(f"line in {known.details}",), key="line")
        html.P("{{ " + known.outdated + " }}", classes="warning", v_if=(known.outdated,))
    notes_lines(known.notes, "Notes on the transform")


def _comparison(name, actions) -> None:
    known = name.transform
    html.H3("In the template's views", style="margin-top:14px")
    with VBtnToggle(
        model_value=(known.view,),
        update_modelValue=(actions.show_warped, "[$event]"),
        mandatory=True,
        density="compact",
        divided=True,
        variant="outlined",
        style="height:30px;width:100%",
        disabled=(name.is_busy,),
    ):
        for view, title in VIEWS.items():
            VBtn(title, value=view, size="small", style="flex:1", classes="px-1")
    with html.Div(classes="share", v_if=(f"{known.view} == 'blend'",)):
        html.Span("Template", classes="of-template")
        VSlider(
            v_model=(known.share,),
            min=0,
            max=1,
            step=0.02,
            density="compact",
            hide_details=True,
            color="#E69F00",
            raw_attrs=['aria-label="Share of the target in the blend"'],
        )
        html.Span("Target", classes="of-target")
    with html.Div(v_if=(f"{known.view} == 'jacobian'",), classes="jacobian"):
        html.Div(classes="colours")
        with html.Div(classes="scale"):
            for text in (f"÷ {FULL}", "same size", f"× {FULL}"):
                html.Span(text)
        html.P(LEGEND, classes="hint")


def _carrying(name) -> None:
    known = name.transform
    html.H3("Carry files over", style="margin-top:14px")
    with html.Div(style="display:flex;gap:8px"):
        with VBtnToggle(
            v_model=(known.way,),
            mandatory=True,
            density="compact",
            divided=True,
            variant="outlined",
            style="height:30px;flex:1",
        ):
            for way, title in WAYS.items():
                VBtn(title, value=way, size="small", style="flex:1", classes="px-1")
        VBtn(
            "Open",
            size="small",
            variant="tonal",
            click="window.deepfeatures.choose('carried', false)",
            disabled=(f"{name.is_busy} || {name.is_loading}",),
            raw_attrs=['aria-label="Open a file to carry over"'],
        )
    html.P("Images, label maps, points, curves, planes, ROIs and models (.stl, .ply, .vtk).", classes="hint mt-1")
    with html.Div(v_for=(f"file in {known.carried}",), key="file.number", classes="carried"):
        with html.Div():
            html.P("{{ file.name }}", classes="title")
            html.P("{{ file.text }}", classes="hint")
            notes_lines("file.notes", "Notes on the file")
        with VBtn(
            size="x-small",
            variant="tonal",
            click="window.deepfeatures.save('carried/' + file.number)",
            raw_attrs=[':aria-label="`Download ${file.name}`"'],
        ):
            VIcon("mdi-download", size="16")
