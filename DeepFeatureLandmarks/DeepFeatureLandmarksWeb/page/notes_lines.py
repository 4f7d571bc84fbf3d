"""Yellow lines that stay: what people should know about something that was read or placed."""

from __future__ import annotations

from trame.widgets import html


def notes_lines(notes: str, label: str) -> None:
    """One line a note; nothing where there is none.

    Args:
        notes: Name of the state's field with the sentences.
        label: What screen readers call them.
    """
    with html.Div(classes="notes", raw_attrs=['role="status"', f'aria-label="{label}"']):
        html.P("{{ note }}", v_for=(f"note in {notes}",), key="note")
