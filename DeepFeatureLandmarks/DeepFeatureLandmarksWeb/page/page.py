"""The page: template and target side by side, and a panel with five tabs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets.vuetify3 import (
    VAlert,
    VBtn,
    VIcon,
    VList,
    VListItem,
    VMenu,
    VProgressCircular,
    VProgressLinear,
    VRangeSlider,
    VTab,
    VTabs,
    VTooltip,
)
from trame_server import Server
from trame_server.utils.typed_state import TypedState

from DeepFeatureLandmarksWeb.page.buttons import icon_button
from DeepFeatureLandmarksWeb.page.inspection_tab import inspection_tab
from DeepFeatureLandmarksWeb.page.notes_lines import notes_lines
from DeepFeatureLandmarksWeb.page.place_tab import place_tab
from DeepFeatureLandmarksWeb.page.quality_tab import quality_tab
from DeepFeatureLandmarksWeb.page.review_tab import review_tab
from DeepFeatureLandmarksWeb.page.series_list import series_list
from DeepFeatureLandmarksWeb.page.state import PageState
from DeepFeatureLandmarksWeb.page.transform_tab import transform_tab
from DeepFeatureLandmarksWeb.views.volume_views import PLANES, TARGET, TEMPLATE, THREE_D, view_tag
from deepfeatures.io.landmark_files import FORMATS

STATIC = Path(__file__).parent / "static"
TABS = {"place": "Place", "review": "Review", "transform": "Transform", "inspect": "Inspect", "quality": "Quality"}
EXPORTS_FOR_OTHERS = {
    f"target{suffix}": f"{FORMATS[suffix.lower()].program} ({suffix})"
    for suffix in (".fcsv", ".mps", ".tag", ".landmarkAscii", ".pts", ".txt", ".ants.csv", ".tps", ".dcm")
}
EXPORTS = {
    "target.mrk.json": "Placed landmarks, for Slicer (.mrk.json)",
    "target.csv": "Placed landmarks, as a table (.csv)",
    "template.mrk.json": "Template's landmarks (.mrk.json)",
    "report.html": "Report (.html)",
    "transform.h5": "Transform, from template to target (.h5)",
    "protocol.dflp": "Landmark protocol, with what it has learnt (.dflp)",
    "scene.mrb": "Everything, as a Slicer scene (.mrb)",
}


@dataclass(frozen=True)
class Actions:
    """What a click on the page calls."""

    open_demo: Callable
    choose_series: Callable
    toggle_marking: Callable
    rename: Callable
    delete: Callable
    show: Callable
    place: Callable
    place_again: Callable
    cancel: Callable
    revert: Callable
    accept: Callable
    reject: Callable
    next_unreviewed: Callable
    compare: Callable
    take: Callable
    request_maps: Callable
    request_distances: Callable
    pick_channel: Callable
    hide_overlay: Callable
    toggle_3d: Callable
    toggle_windowing: Callable
    fit: Callable
    learn: Callable
    forget: Callable
    close_protocol: Callable
    take_template: Callable
    compute_transform: Callable
    show_warped: Callable


class Page:
    """Builds the page once; after that only its state changes."""

    def __init__(self, server: Server, typed: TypedState[PageState], actions: Actions):
        self._name, self._actions = typed.name, actions
        server.enable_module({"serve": {"page": str(STATIC)}, "scripts": ["page/page.js"], "styles": ["page/page.css"]})
        server.state.trame__title = "DeepFeatureLandmarks"
        server.state.trame__favicon = ICON
        server.state.client_only(typed.name.template.upload, typed.name.target.upload)  # the sending window's alone
        server.trigger("key")(self._on_key)
        server.trigger("close_protocol")(actions.close_protocol)
        with VAppLayout(server) as layout:
            layout.root.theme = "dark"
            with html.Div(classes="workspace"):
                self._bar()
                with html.Div(classes="sides"):
                    self._side(TEMPLATE)
                    self._side(TARGET)
                    self._messages()
                self._panel()

    def _on_key(self, key: str) -> None:
        {"n": self._actions.next_unreviewed, "a": self._actions.accept, "x": self._actions.reject}[key]()

    def _bar(self) -> None:
        name, actions = self._name, self._actions
        with html.Div(classes="bar"):
            html.H1("DeepFeatureLandmarks")
            html.Span("Research only, not a medical device", classes="research")
            html.Div(classes="space")
            icon_button(
                "mdi-contrast-circle",
                "Drag in a view to change brightness and contrast",
                actions.toggle_windowing,
                active=name.is_windowing,
            )
            icon_button("mdi-fit-to-screen-outline", "Show all of both volumes", actions.fit)
            icon_button("mdi-cube-outline", "3D views", actions.toggle_3d, active=name.is_3d)
            VBtn(
                "Demo pair",
                size="small",
                variant="tonal",
                click=actions.open_demo,
                disabled=(f"{name.is_loading} || {name.is_busy}",),
            )
            with VBtn(
                size="small", variant="tonal", append_icon="mdi-menu-down", disabled=(f"!{name.landmarks}.length",)
            ):
                html.Span("Export")
                with VMenu(activator="parent"), VList(density="compact"):
                    for what, title in EXPORTS.items():
                        needs = _needs(name, what)
                        VListItem(
                            title=title,
                            click=f"window.deepfeatures.save('{what}')",
                            **({"disabled": (needs,)} if needs else {}),
                        )
                    with (
                        VListItem(
                            title="Placed landmarks, for another program",
                            append_icon="mdi-menu-right",
                            disabled=(f"!{name.rows}.length",),
                        ),
                        VMenu(activator="parent", submenu=True, location="start"),
                        VList(density="compact"),
                    ):
                        for what, title in EXPORTS_FOR_OTHERS.items():
                            VListItem(title=title, click=f"window.deepfeatures.save('{what}')")

    def _side(self, side: str) -> None:
        state = getattr(self._name, side)
        with html.Div(classes=f"side side-{side}"):
            self._head(side, state)
            notes_lines(state.notes, f"Notes on the {side}")
            with html.Div(
                classes=(f"'views' + ({self._name.enlarged} ? ' only' : {self._name.is_3d} ? ' with-3d' : '')",)
            ):
                for plane in PLANES:
                    with html.Div(
                        classes=f"view-{plane.lower()}",
                        v_if=(f"!{self._name.enlarged} || {self._name.enlarged} == '{plane}'",),
                    ):
                        client.ServerTemplate(name=view_tag(side, plane))
                with html.Div(classes="view-3d", v_if=(f"{self._name.is_3d} && !{self._name.enlarged}",)):
                    client.ServerTemplate(name=view_tag(side, THREE_D))
            self._empty(side, state)
            series_list(side, state.series, self._actions)

    def _head(self, side: str, state) -> None:
        compares = f"{self._name.compared} >= 0"
        on_the_left = side == TEMPLATE
        warped = f"['blend', 'checkerboard'].includes({self._name.transform.view})" if on_the_left else "false"
        extra = f"{compares} ? ' head-compared' : {warped} ? ' head-warped' : ''"
        with html.Div(classes=(f"'head' + ({extra})",) if on_the_left else "head"):
            place = "target, other place" if on_the_left else "target, as shown"
            html.Span("{{ " + f"{compares} ? '{place}' : '{side}'" + " }}", classes="role")
            if on_the_left:
                html.Span("+ warped target", v_if=(f"{warped} && !({compares})",), classes="role of-target")
            with html.Span(classes="name"):
                title = f"{compares} ? {self._name.target.title} : {state.title}" if on_the_left else state.title
                html.Span("{{ " + title + " }}")
                VTooltip(
                    "{{ " + state.facts + " }}",
                    activator="parent",
                    location="bottom",
                    v_if=(f"{state.facts} && !({compares})",),
                )
            VProgressCircular(
                model_value=(state.upload,), size=22, width=3, color="#56B4E9", v_if=(f"{state.upload} >= 0",)
            )
            shown = f"{state.title} && !({compares})" if on_the_left else state.title
            self._brightness(side, state, shown)
            with VBtn(
                icon=True,
                variant="text",
                size="small",
                density="comfortable",
                raw_attrs=[f'aria-label="Open files for the {side}"'],
            ):
                VIcon("mdi-folder-open-outline")
                with VMenu(activator="parent"), VList(density="compact"):
                    for role, folder, title in _sources(side):
                        VListItem(title=title, click=f"window.deepfeatures.choose('{role}', {folder})")

    def _brightness(self, side: str, state, shown: str) -> None:
        with VBtn(
            icon=True,
            variant="text",
            size="small",
            density="comfortable",
            v_if=(shown,),
            raw_attrs=[f'aria-label="Brightness and contrast of the {side}"'],
        ):
            VIcon("mdi-brightness-6")
            with (
                VMenu(activator="parent", close_on_content_click=False),
                html.Div(style="background:#23262a;padding:14px 20px;width:300px;font-size:13px"),
            ):
                html.Div("Black and white at")
                VRangeSlider(
                    v_model=(state.window,),
                    min=(state.low,),
                    max=(state.high,),
                    hide_details=True,
                    strict=True,
                    step=(f"({state.high} - {state.low}) / 500 || 1",),
                    density="compact",
                    color="#56B4E9",
                )
                html.Div(
                    "{{ "
                    + f"{state.window}[0].toPrecision(3)"
                    + " }} to {{ "
                    + f"{state.window}[1].toPrecision(3)"
                    + " }}"
                )

    def _empty(self, side: str, state) -> None:
        name = self._name
        with html.Div(classes="empty", v_if=(f"!{state.title}",)):
            VIcon("mdi-image-plus-outline", size="40", color="#7cc7f2" if side == TEMPLATE else "#f0b43c")
            html.H2("Template" if side == TEMPLATE else "Target")
            if side == TEMPLATE:
                html.P("The volume in which you know the landmarks. Drop it here, and then its landmarks.")
            else:
                html.P("The volume in which to find them. Drop it here.")
            with html.Div(style="display:flex;gap:8px"):
                VBtn(
                    "Open a volume", variant="tonal", size="small", click=f"window.deepfeatures.choose('{side}', false)"
                )
                VBtn("DICOM folder", variant="tonal", size="small", click=f"window.deepfeatures.choose('{side}', true)")
            protocol = ", or a landmark protocol (.dflp)" if side == TEMPLATE else ""
            html.P(f"NIfTI, NRRD, MHA or DICOM, up to 2 GB{protocol}", classes="hint")
            if side == TEMPLATE:
                VBtn(
                    "Try the demo pair",
                    color="#56B4E9",
                    variant="flat",
                    classes="mt-4",
                    click=self._actions.open_demo,
                    disabled=(name.is_loading,),
                )

    def _messages(self) -> None:
        name = self._name
        with html.Div(classes="dim", v_if=(name.is_loading,)):
            VProgressCircular(indeterminate=True, color="#56B4E9")
            html.Span("{{ " + name.loading_text + " }}")
        for key, kind in ((name.message, "error"), (name.notice, "success")):
            VAlert(
                "{{ " + key + " }}",
                classes=f"toast toast-{kind}",
                v_if=(key,),
                closable=True,
                density="compact",
                color="#7a2e12" if kind == "error" else "#1d3b33",
                icon="mdi-alert-outline" if kind == "error" else "mdi-check",
                click_close=f"{key} = ''",
            )

    def _panel(self) -> None:
        name, actions = self._name, self._actions
        with html.Div(classes="panel"):
            with html.Div(classes="run"):
                with html.Div(style="display:flex;gap:8px"):
                    VBtn(
                        "Place landmarks",
                        color="#E69F00",
                        variant="flat",
                        style="flex:1;color:#111;font-weight:600",
                        click=actions.place,
                        v_if=(f"!{name.is_busy}",),
                        disabled=(f"!!{name.validation_message} || {name.is_loading}",),
                    )
                    VBtn("Cancel", variant="outlined", style="flex:1", click=actions.cancel, v_if=(name.is_busy,))
                    icon_button(
                        "mdi-undo",
                        "Revert the last run",
                        actions.revert,
                        disabled=f"!{name.can_revert} || {name.is_busy}",
                    )
                with html.Div(v_if=(name.is_busy,)):
                    VProgressLinear(
                        model_value=(name.progress,),
                        indeterminate=(f"!{name.progress}",),
                        color="#E69F00",
                        height=6,
                        rounded=True,
                    )
                    html.Div("{{ " + name.progress_text + " }}", classes="why mt-1 progress-text")
                message = name.validation_message
                html.Div("{{ " + message + " }}", classes="why", v_if=(f"!{name.is_busy} && {message}",))
            with VTabs(v_model=(name.tab,), density="compact", grow=True, color="#56B4E9", style="flex:none"):
                for tab, title in TABS.items():
                    VTab(title, value=tab, min_width=60, classes="px-1")
            with html.Div(classes="body"):
                for tab, build in (
                    ("place", place_tab),
                    ("review", review_tab),
                    ("transform", transform_tab),
                    ("inspect", inspection_tab),
                    ("quality", quality_tab),
                ):
                    with html.Div(v_show=(f"{name.tab} == '{tab}'",), classes=f"tab-{tab}"):
                        build(name, actions)


def _needs(name, what: str) -> str:
    """When a file cannot be exported, as an expression of the page; empty where it always can."""
    if what.startswith("protocol"):
        return f"!{name.protocol.title}"
    if what.startswith("transform"):
        return f"!{name.transform.title}"
    return "" if what.startswith(("template", "scene")) else f"!{name.rows}.length"


def _sources(side: str) -> list[tuple[str, str, str]]:
    volumes = [(side, "false", "Volume (NIfTI, NRRD, MHA, DICOM file)"), (side, "true", "DICOM series (folder)")]
    if side == TEMPLATE:
        others = ("landmarks", "Landmarks (.mrk.json, .fcsv, .csv, …)"), ("protocol", "Landmark protocol (.dflp)")
        return [*volumes, *((role, "false", title) for role, title in others)]
    return [*volumes, ("reference", "false", "Second set of landmarks, to compare with")]


ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='3' fill='%23111'/%3E"
    "%3Ccircle cx='6' cy='9' r='3' fill='none' stroke='%2356B4E9' stroke-width='1.6'/%3E"
    "%3Cpath d='M11 3v6M8 6h6' stroke='%23E69F00' stroke-width='1.6'/%3E%3C/svg%3E"
)
