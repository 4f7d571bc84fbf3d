"""HTML pages of titled tables and charts, each one file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from deepfeatures.data.notes import Note


def render(template: str, title: str, sections: Iterable[dict], notes: Sequence[Note], **content: Any) -> str:
    """The page.

    Args:
        template: File of this package, which extends `page.html`.
        title: Of the page.
        sections: As `section` makes them.
        notes: How files were read.
        content: What the template shows besides.
    """
    from jinja2 import Environment, PackageLoader

    pages = Environment(loader=PackageLoader("deepfeatures.quality", ""), autoescape=True)
    pages.filters["text"] = _text
    notes_texts = [note.text for note in notes]
    return pages.get_template(template).render(title=title, sections=list(sections), notes=notes_texts, **content)


def _text(value: Any) -> str:
    """A table's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:.3g}" if value == value else "–"  # NaN is not itself


def section(title: str, note: str, table: pd.DataFrame, charts: Sequence[bytes] = ()) -> dict:
    """A table with a title, a note on it and PNG charts."""
    return {
        "title": title,
        "note": note,
        "columns": [column.replace("_mm", ", mm").replace("_", " ") for column in table.columns],
        "rows": table.to_numpy(object).tolist(),
        "charts": [encoded(chart) for chart in charts],
    }


def encoded(png: bytes) -> str:
    """A picture as the text of a `data:` address."""
    return base64.b64encode(png).decode("ascii")
