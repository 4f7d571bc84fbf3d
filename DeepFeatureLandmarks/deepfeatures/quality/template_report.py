"""The check of templates as one HTML page, as JSON and as CSV tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deepfeatures.io.atomic_write import ensure_folder, write_text
from deepfeatures.io.provenance import command_line, versions
from deepfeatures.quality import figures, pages
from deepfeatures.quality.template_comparison import TemplateCheck

NAME = "template_check"


def write_check(check: TemplateCheck, folder: str | Path, arguments: Sequence[str]) -> Path:
    """Write what `write_tables` writes, and `template_check.html`, which is returned; arguments are the same."""
    write_tables(check, folder, arguments)
    page = Path(folder) / f"{NAME}.html"
    shown = {"advice": check.advice, "templates": check.templates.to_dict("records")}
    text = pages.render(f"{NAME}.html", "Check of templates", _sections(check), check.notes, **shown)
    write_text(page, text)
    return page


def write_tables(check: TemplateCheck, folder: str | Path, arguments: Sequence[str]) -> None:
    """Write `template_check.csv`, `template_landmarks.csv` and `template_check.json`, each whole or not at all.

    Args:
        check: What was found.
        folder: Made where it does not exist.
        arguments: Of the command line, after the program's name, with which this is found.
    """
    folder = ensure_folder(folder)
    for name, table in ((NAME, check.templates), ("template_landmarks", check.landmarks)):
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    content = {"command": command_line(arguments), "versions": versions(), **as_json(check)}
    write_text(folder / f"{NAME}.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def as_json(check: TemplateCheck) -> dict:
    """Advice, notes and tables; what is not known is `None`."""
    templates = _records(check.templates)
    for row in templates:
        row["landmarks"] = _records(check.landmarks[check.landmarks.template == row["template"]])
    return {
        "advice": check.advice,
        "notes": [note.as_json() for note in check.notes],
        "templates": templates,
    }


def _records(table: pd.DataFrame) -> list[dict]:
    return json.loads(table.to_json(orient="records"))


def _sections(check: TemplateCheck):
    yield pages.section(
        "Templates",
        "The best first. Mean error: distance in mm of the placed points from those of people. Comparable error, by"
        " which templates are ranked: the same as if all had been tried on the same points. Error without offsets: what"
        " would be left without the template's own labelling. Behind best: by how much it is worse on the same targets,"
        " with the 95 % interval; where this begins below 0, the two cannot be told apart. The picture has"
        " each landmark's offset in mm, bold where it is labelled unlike the others'.",
        check.templates.drop(columns=["unlike", "advice"]),
        [figures.offsets_chart(check.landmarks)],
    )
    yield pages.section(
        "Landmarks",
        "Offset: how far, on average, the template's point lies from where the other scans' points would have it, with"
        " an interval that holds for all landmarks of a template together in 19 of 20 cases; and its parts to the left,"
        " back and up. Scatter: root mean square distance of single targets from the offset. Unlike: the offset is"
        " surely not 0, and not smaller than the scatter.",
        check.landmarks.drop(columns="sentence"),
    )
