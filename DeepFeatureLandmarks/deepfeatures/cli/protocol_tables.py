"""What a protocol knows, as tables for the terminal and as JSON."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from deepfeatures.cli.terminal import note, print_table
from deepfeatures.data.landmark_scores import UNKNOWN
from deepfeatures.matching.learning.protocol_file import read_protocol

REVEALS = (
    "the whole image of the template, and of each taught scan its name, its person's name and small blocks of features"
    " around the landmarks, but no image"
)
TEXT_LENGTH = 60  # of a definition in the table


def protocol_facts(path: Path) -> dict[str, Any]:
    """All that `show` tells, as JSON takes it; definitions without their pictures.

    Raises:
        InputError: The file cannot be read.
    """
    protocol = read_protocol(path)
    definitions = {
        name: {"text": one.text, "picture": one.picture is not None, "link": one.link}
        for name, one in protocol.definitions.items()
    }
    summary = protocol.summary()
    scans = sorted(summary["scans"], key=lambda scan: scan["name"])
    return {**summary, "scans": scans, "definitions": definitions, "reveals": REVEALS}


def print_protocol(path: Path) -> None:
    """Print what the file knows and reveals."""
    facts = protocol_facts(path)
    if facts["scans"]:
        print_table(_scan_table(facts))
    print_table(_landmark_table(facts))
    typer.echo(f"{path}: {_state(facts)}")
    for scan in facts["scans"]:
        if scan["odd"]:
            note(
                f"{scan['name']}: most points lie elsewhere than those of the other scans, and count little; check them"
            )
    typer.echo(f"The file holds {REVEALS}.")


def _state(facts: dict[str, Any]) -> str:
    scans, people = _counted(facts["taught_by"], "scan", "scans"), _counted(facts["people"], "person", "people")
    taught = f"taught by {scans} of {people}"
    if not facts["in_use"]:
        return f"{taught}; scans of three people or more are needed to change what is placed"
    if facts["error_after_mm"] is None:
        return f"{taught}; it changes what is placed, and one person more tells how far the error has fallen"
    before, after = (_number(facts[f"error_{when}_mm"]) for when in ("before", "after"))
    return f"{taught}; mean error in people left out {before} mm before, {after} mm after"


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _scan_table(facts: dict[str, Any]) -> Table:
    table = Table(title="Taught scans")
    for column, justify in (("scan", "left"), ("person", "left"), ("corrected", "right"), ("accepted", "right")):
        table.add_column(column, justify=justify)
    for scan in facts["scans"]:
        table.add_row(scan["name"], scan["person"], str(scan["corrected"]), str(scan["accepted"]))
    return table


def _landmark_table(facts: dict[str, Any]) -> Table:
    table = Table(title="Landmarks, judged in people left out")
    table.add_column("landmark")
    for column in ("taught by", "error before (mm)", "error after (mm)", "90% radius (mm)"):
        table.add_column(column, justify="right")
    table.add_column("still in doubt")
    if facts["definitions"]:
        table.add_column("definition")
    for one in facts["landmarks"]:
        numbers = (_number(one[name]) for name in ("error_before_mm", "error_after_mm", "radius_90_mm"))
        row = [one["name"], str(one["taught"]), *numbers, "yes" if one["doubtful"] else ""]
        if facts["definitions"]:
            text = facts["definitions"].get(one["name"], {}).get("text", "")
            row.append(textwrap.shorten(text, TEXT_LENGTH, placeholder=" …"))
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
