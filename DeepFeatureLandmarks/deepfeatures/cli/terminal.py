"""Messages and tables on the terminal, and standard streams that can take every text."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deepfeatures.data.landmark_checks import names_text

PIPE_WIDTH = 200
BAD_INPUT, INTERRUPTED = 2, 130  # exit codes


def say(message: str) -> None:
    """One line on standard error."""
    print(" ".join(message.split()), file=sys.stderr, flush=True)


def note(text: str | None) -> None:
    """A note on an input; nothing where there is no text."""
    if text:
        say(f"note: {text}")


def note_label_maps(passed_over: Sequence[Path]) -> None:
    """A note on masks and segmentations that were not taken as scans."""
    if passed_over:
        names = names_text([path.name for path in passed_over])
        note(f"masks and segmentations are no scans and are passed over: {names}")


def refuse(message: str) -> int:
    """Say what cannot be done, and return the exit code for it."""
    say(f"error: {message}")
    return BAD_INPUT


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal; a file or a pipe gets its full width."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


def harden_streams() -> None:
    """Let standard streams take every text, also where one is closed or its encoding lacks a character."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:  # a closed stream's number, which another file would have got
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
