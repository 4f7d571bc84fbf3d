"""Commands of packages that are built upon this one, such as the page's `app`: this package must not import them."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

GROUP = "deepfeatures.commands"  # of entry points: the command's name, and the function that typer calls


def add_commands(app: typer.Typer) -> None:
    """Add every command that an installed package has registered."""
    for entry_point in entry_points(group=GROUP):
        app.command(entry_point.name)(entry_point.load())
