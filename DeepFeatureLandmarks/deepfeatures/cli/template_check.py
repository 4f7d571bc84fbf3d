"""`deepfeatures quality --template-check`: which annotated scan makes a good template, and which points to trust."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from deepfeatures.cli.terminal import note, say

WORTH_TELLING_S = 60.0  # of the time that placing takes


def run(
    folders: Sequence[Path],
    volumes: Path | None,
    candidates: Sequence[str],
    output_dir: Path,
    arguments: Sequence[str],
) -> int:
    """Check, write, and tell the advice; returns the exit code.

    Args:
        folders: With landmark files, and perhaps volumes beside them.
        volumes: Folder of volumes.
        candidates: Scans to check as templates; all where none is named.
        output_dir: For what is written.
        arguments: What was typed after the program's name.
    """
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.cli.volume_notes import tell_notes
    from deepfeatures.matching import Matcher
    from deepfeatures.quality.annotated_scans import read_annotated_scans
    from deepfeatures.quality.template_check import check_templates, pairs_to_place
    from deepfeatures.quality.template_report import write_check

    scans = read_annotated_scans(folders, volumes)
    for one in scans.notes:
        note(one.text)
    pairs = pairs_to_place(scans.annotations, candidates)
    tell_notes(scans.paths[one.scan] for pair in pairs for one in pair)
    with progress_bar("template check") as progress:
        told = _with_duration(progress, len(pairs))
        check = check_templates(scans, Matcher(), output_dir / "automatic_rater", candidates, told)
    page = write_check(check, output_dir, arguments)
    typer.echo(f"{page}: {check.advice}")
    return 0


def _with_duration(progress: Callable[[float], None], pairs: int) -> Callable[[float], None]:
    """The same, which says after the second pair how long all will take, where that is long."""
    ends: list[float] = []  # of the first pairs; the very first loads the network

    def update(done: float) -> None:
        progress(done)
        if len(ends) < 2:
            ends.append(time.perf_counter())
            seconds = pairs * (ends[-1] - ends[0])
            if seconds > WORTH_TELLING_S:
                say(f"{pairs} placements take about {seconds / 60:.0f} minutes; what is done is kept if you stop")

    return update
