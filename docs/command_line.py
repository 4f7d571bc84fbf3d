"""A directive for Sphinx that describes every command of `deepfeatures`, as its own `--help` does."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from deepfeatures.cli.main import app
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

LEFT_OUT = {"--help", "--install-completion", "--show-completion"}


def commands_of(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that can be run, by what is typed for it."""
    children = getattr(command, "commands", {})
    if not children:
        yield name, command
    for child in sorted(children):
        yield from commands_of(children[child], f"{name} {child}")


def described(name: str, command: Any) -> str:
    """A command as Markdown: usage, what it does, arguments and options."""
    shown = [p for p in command.params if not LEFT_OUT & set(p.opts)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    values = " ".join(p.human_readable_name + ("..." if p.nargs == -1 else "") for p in arguments)
    text = f"## {name}\n\n```\n{name} [OPTIONS] {values}\n```\n\n{inspect.cleandoc(command.help or '')}\n\n"
    if arguments:
        rows = [f"| `{p.human_readable_name}` | {p.help or ''} |" for p in arguments]
        text += "\n".join(["| argument | means |", "|---|---|", *rows]) + "\n\n"
    if options:
        rows = [f"| {_names(p)} | {_value(p)} | {p.help or ''}{_remark(p)} |" for p in options]
        text += "\n".join(["| option | value | means |", "|---|---|---|", *rows]) + "\n\n"
    return text


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def _value(option: Any) -> str:
    if option.is_flag:
        return ""
    choices = getattr(option.type, "choices", None)
    if choices:
        return ", ".join(f"`{getattr(choice, 'value', choice)}`" for choice in choices)
    return option.metavar or option.type.name


def _remark(option: Any) -> str:
    if option.required:
        return " *Required.*"
    default = getattr(option.default, "value", option.default)
    is_told = isinstance(default, str | int | float) and not option.is_flag
    return f" Default: `{default}`." if is_told else ""


class Commands(SphinxDirective):
    """All commands, a section each."""

    def run(self) -> list[nodes.Node]:
        command = typer.main.get_command(app)
        text = "".join(described(name, leaf) for name, leaf in commands_of(command, "deepfeatures"))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    sphinx.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
