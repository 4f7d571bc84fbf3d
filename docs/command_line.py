"""A directive for Sphinx that shows the help of every command of `deepfeatures`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from sphinx.util.docutils import SphinxDirective

from deepfeatures.cli.main import app

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

PLAIN = {"TYPER_USE_RICH": "0", "COLUMNS": "100"}  # text without boxes


def commands_of(command: Any, name: str = "deepfeatures") -> Iterator[str]:
    """What is typed for each command that can be run."""
    children = getattr(command, "commands", {})
    if not children:
        yield name
    for child in sorted(children):
        yield from commands_of(children[child], f"{name} {child}")


def help_of(name: str) -> str:
    """What `--help` prints after a command."""
    arguments = [sys.executable, "-m", *name.split(), "--help"]
    run = subprocess.run(arguments, env={**os.environ, **PLAIN}, capture_output=True, text=True, check=True)
    return run.stdout.strip()


class Commands(SphinxDirective):
    """All commands, a section each."""

    def run(self) -> list[nodes.Node]:
        names = commands_of(typer.main.get_command(app))
        text = "\n\n".join(f"## {name}\n\n```text\n{help_of(name)}\n```" for name in names)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    sphinx.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
