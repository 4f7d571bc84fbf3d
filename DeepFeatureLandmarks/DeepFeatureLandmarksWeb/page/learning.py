"""The landmark protocol: its choice in the tab Place; learning and definitions in the tab Review."""

from __future__ import annotations

from trame.widgets import client, html
from trame.widgets.vuetify3 import VBtn

REVEAL = "window.deepfeatures.reveal()"
REVEALED = "It holds the whole template, and of the scans their names and small blocks of features, but no image."
DOWNLOAD = "window.deepfeatures.save('protocol.dflp')"


def protocol_choice(name, actions) -> None:
    """Fill the part of the tab Place: what the protocol in use holds.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    known = name.protocol
    with html.Div(classes="protocol"):
        with html.H3():
            html.Span("Landmark protocol")
            html.Div(style="flex:1")
            _small_button(
                "Close",
                click="window.deepfeatures.closeProtocol()",
                v_if=(known.title,),
                raw_attrs=['aria-label="Close the protocol"'],
            )
            _small_button(
                "Open",
                click="window.deepfeatures.choose('protocol', false)",
                disabled=(f"{name.is_busy} || {name.is_loading}",),
                raw_attrs=['aria-label="Open a protocol"'],
            )
        html.P(
            "None. A file (.dflp) holds a template, its landmarks, and what reviewed scans have taught. To begin one, "
            "review placed points and learn from them.",
            classes="hint",
            v_if=(f"!{known.title}",),
        )
        with html.Div(v_if=(known.title,)):
            html.P("{{ " + known.title + " }}", classes="title")
            html.P("{{ " + f"{known.content} + ' ' + {known.taught}" + " }}", classes="hint")
            html.P("{{ " + known.errors + " }}", classes="hint")
            html.P("{{ " + known.unused + " }}", classes="hint warning", v_if=(known.unused,))
            with html.Div(v_if=(known.misfit,)):
                html.P("{{ " + known.misfit + " }}", classes="hint warning")
                _small_button("Open its template and landmarks", click=actions.take_template, disabled=(name.is_busy,))


def learning_section(name, actions) -> None:
    """Fill the part of the tab Review: learning from the scan, undoing it, and what that has brought.

    Args:
        name: Names of the fields of `PageState`.
        actions: What a click calls.
    """
    known = name.protocol
    with html.Div(classes="learning"):
        _buttons(name, actions)
        this = f"({known.is_scan_taught} ? ' This scan is among them.' : '')"
        html.P("{{ " + f"{known.taught} + {this}" + " }}", v_if=(known.taught,), classes="taught")
        _download(name)
    with html.Div(v_if=(known.taught,), classes="learnt"):
        html.P("{{ " + known.errors + " }}", v_if=(known.errors,))
        html.P("{{ " + known.doubts + " }}", v_if=(known.doubts,), classes="warning")
        _details(name)
    client.ClientStateChange(value=f"{known.definition}.name", change=REVEAL)


def definition_row(name) -> None:
    """Build the row of the table of points beneath `row`: what that landmark is, while it is under review.

    Args:
        name: Names of the fields of `PageState`.
    """
    known = name.protocol.definition
    with (
        html.Tr(
            v_if=(f"{known}.name == row.name && ({known}.text || {known}.picture || {known}.link)",),
            classes="definition",
        ),
        html.Td(raw_attrs=['colspan="9"']),
        html.Div(raw_attrs=['role="note"', 'aria-label="Definition"']),
    ):
        html.P("{{ " + known + ".text }}", v_if=(f"{known}.text",))
        html.Img(src=(f"{known}.picture",), v_if=(f"{known}.picture",), alt="Where the landmark lies", v_on_load=REVEAL)
        html.A(
            "{{ " + known + ".link }}",
            v_if=(f"{known}.link",),
            href=(f"{known}.link",),
            raw_attrs=['target="_blank"', 'rel="noopener noreferrer"'],
        )


def _buttons(name, actions) -> None:
    known = name.protocol
    with html.Div(classes="buttons"):
        VBtn(
            "Learn from this scan",
            size="small",
            variant="tonal",
            prepend_icon="mdi-school-outline",
            click=actions.learn,
            disabled=(f"!!{known.refusal} || {name.is_busy}",),
            raw_attrs=['title="Keep what you have accepted and corrected, to place the next scans better"'],
        )
        VBtn(
            "Forget this scan",
            size="small",
            variant="outlined",
            click=actions.forget,
            v_if=(known.is_scan_taught,),
            disabled=(name.is_busy,),
            raw_attrs=['title="As if it had never been learnt from"'],
        )
    html.P("{{ " + known.refusal + " }}", classes="hint", v_if=(f"{known.refusal} && !{name.is_busy}",))
    html.P(
        "A click begins a landmark protocol from this template and its landmarks.",
        classes="hint",
        v_if=(f"!{known.title} && !{known.refusal} && !{name.is_busy}",),
    )


def _download(name) -> None:
    known = name.protocol
    with html.Div(v_if=(f"{known.title} && !{known.is_downloaded}",), classes="keep"):
        html.P("{{ " + known.title + " }} is kept with this session only. Download it to use it again.")
        VBtn(
            "Download",
            size="small",
            variant="outlined",
            click=DOWNLOAD,
            raw_attrs=['aria-label="Download protocol"', f'title="{REVEALED}"'],
        )


def _details(name) -> None:
    """Each landmark and each scan, for those who want to know."""
    known = name.protocol
    with html.Details(v_if=(f"{known.landmarks}.length",)):
        html.Summary("Each landmark and each scan")
        html.P("Mean errors in mm, measured by leaving one person out; ◆ is still doubtful.", classes="hint")
        with html.Table():
            with html.Thead(), html.Tr():
                html.Th("Landmark")
                for title in ("Scans", "Before", "After"):
                    html.Th(title, classes="n")
            with html.Tbody(), html.Tr(v_for=(f"row in {known.landmarks}",), key="row.name"):
                html.Td(
                    "{{ row.name + (row.doubtful ? ' ◆' : '') }}", classes=("row.doubtful ? 'name warning' : 'name'",)
                )
                for field in ("taught", "before", "after"):
                    html.Td("{{ row." + field + " }}", classes="n")
        html.P("{{ line }}", v_for=(f"line in {known.scans}",), key="line", classes="hint")


def _small_button(label: str, **more) -> None:
    VBtn(label, size="x-small", variant="tonal", **more)
