"""Tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 200


def print_table(table: Table) -> None:
    """Print a table; a file or a pipe has no width to fit into."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)
