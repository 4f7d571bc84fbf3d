"""A bar on the terminal for the fraction of a command that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[float], None]]:
    """A bar with the time left, on a terminal only; yields a function to call with the fraction done, from 0 to 1."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    # no refreshing thread: a frame must not be drawn while native output is suppressed
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, auto_refresh=False
    ) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda done: bar.update(task, completed=done, refresh=True)
