"""`deepfeatures quality --template-check`: which annotated scan makes a good template, and which points to trust."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deepfeatures.cli.terminal import note, say

if TYPE_CHECKING:
    from deepfeatures.matching.learning.protocol import Protocol
    from deepfeatures.quality.annotated_scans import AnnotatedScans

WORTH_TELLING_S = 60.0  # of the time that placing takes


def run(
    folders: Sequence[Path],
    volumes: Path | None,
    candidates: Sequence[str],
    protocol: str | None,
    output_dir: Path,
    arguments: Sequence[str],
) -> int:
    """Check, write, and tell the advice; returns the exit code.

    Args:
        folders: With landmark files, and perhaps volumes beside them.
        volumes: Folder of volumes.
        candidates: Scans to check as templates; all where none is named.
        protocol: File whose template is the only one to check; `None` for none.
        output_dir: For what is written.
        arguments: What was typed after the program's name.
    """
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.cli.volume_notes import tell_notes
    from deepfeatures.matching import Matcher
    from deepfeatures.matching.settings import MatchSettings
    from deepfeatures.quality.annotated_scans import read_annotated_scans
    from deepfeatures.quality.template_check import check_templates, pairs_to_place
    from deepfeatures.quality.template_report import write_check

    scans, matcher = read_annotated_scans(folders, volumes), Matcher(MatchSettings(protocol=protocol))
    if protocol is not None:
        scans, candidates = _with_protocol(scans, Path(protocol), matcher.protocol)
    for one in scans.notes:
        note(one.text)
    pairs = pairs_to_place(scans.annotations, candidates)
    tell_notes(scans.paths[one.scan] for pair in pairs for one in pair if one.scan not in scans.in_memory)
    with progress_bar("template check") as progress:
        told = _with_duration(progress, len(pairs))
        check = check_templates(scans, matcher, output_dir / "automatic_rater", candidates, told)
    page = write_check(check, output_dir, arguments)
    typer.echo(f"{page}: {check.advice}")
    return 0


def _with_protocol(scans: AnnotatedScans, file: Path, protocol: Protocol) -> tuple[AnnotatedScans, list[str]]:
    """The scans of people who have not taught the protocol, with its template, which is the only one to check."""
    from deepfeatures.pipelines.learning import without_taught_people

    kept, left_out = without_taught_people(protocol, {one.scan: one for one in scans.annotations})
    note(left_out)
    others = replace(scans, annotations=tuple(kept.values()))
    return others.with_template(protocol.template, protocol.landmarks, file), [protocol.template.name]


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
