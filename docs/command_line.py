"""A directive for Sphinx that shows the help of every command of `deepfeatures`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from sphinx.util.docutils import SphinxDirective
from typer.testing import CliRunner

from deepfeatures.cli.main import app

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx


def commands_of(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """What is typed after `deepfeatures` for each command that can be run."""
    children = getattr(command, "commands", {})
    if not children:
        yield words
    for child in sorted(children):
        yield from commands_of(children[child], (*words, child))


def described(words: tuple[str, ...]) -> str:
    """A section with what `--help` prints after a command."""
    run = CliRunner().invoke(app, [*words, "--help"], prog_name="deepfeatures", catch_exceptions=False)
    return f"## deepfeatures {' '.join(words)}\n\n```text\n{run.output.strip()}\n```"


class Commands(SphinxDirective):
    """All commands, a section each."""

    def run(self) -> list[nodes.Node]:
        text = "\n\n".join(map(described, commands_of(typer.main.get_command(app))))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    sphinx.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
