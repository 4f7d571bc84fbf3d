"""`deepfeatures learn`: what people have accepted or corrected makes the next scans better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.options import SERIES, option_of
from deepfeatures.cli.terminal import note, refuse
from deepfeatures.matching.settings import MatchSettings, with_features

if TYPE_CHECKING:
    from deepfeatures.pipelines.learning import Lesson

PROTOCOL = typer.Argument(metavar="PROTOCOL", help="A file NAME.dflp.")


def learn(
    protocol: Annotated[Path, PROTOCOL],
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="SCAN=POINTS", help="Scans, each with the landmark file that a person has reviewed."),
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="Volume in which the landmarks were placed, for a new protocol.")
    ] = None,
    landmarks: Annotated[
        Path | None, typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv, .csv, ….")
    ] = None,
    definitions: Annotated[
        Path | None,
        typer.Option("--definitions", help="JSON file: text, picture and link by landmark; else its description."),
    ] = None,
    series: Annotated[str | None, SERIES] = None,
    device: Annotated[str, option_of("device", "Where to compute: auto, cpu, cuda or mps.")] = "auto",
) -> int:
    """Teach a protocol what you have accepted or corrected in scans.

    The protocol is made where it does not exist, from --template and --landmarks, and extended where it does. Give it
    to place, cohort, evaluate or quality with --protocol. From scans of three people on it changes what is placed.
    """
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.cli.protocol_tables import print_protocol
    from deepfeatures.data.volume import notes_of
    from deepfeatures.matching import Matcher
    from deepfeatures.pipelines import learning

    given = [learning.split_pair(pair) for pair in pairs or ()]
    learning.check_names(given)
    known = learning.open_protocol(protocol, template, landmarks, series)
    for one in notes_of(known.template) if template else ():
        note(one.text)
    matcher = Matcher(with_features(MatchSettings(device=device), known.features))
    if definitions is not None:
        known = learning.change_definitions(protocol, known, definitions)
    elif not given:
        known = learning.write_begun(protocol, known)
    lessons = []
    with progress_bar("learn") as progress:
        for number, lesson in enumerate(learning.learn(protocol, known, given, matcher, series), 1):
            lessons.append(lesson)
            _tell(lesson)
            progress(number / len(given))
    failures = [lesson.failure for lesson in lessons if lesson.failure]
    if len(failures) < len(lessons) or not lessons:
        print_protocol(protocol)
    return _conclude(failures, len(lessons))


def _tell(lesson: Lesson) -> None:
    for one in lesson.notes:
        note(one.of(lesson.name).text)
    if not lesson.failure:
        count = lesson.corrected + lesson.accepted
        counts = f"{count} landmarks taught, {lesson.corrected} corrected and {lesson.accepted} accepted"
        print(f"{lesson.name}: {counts}; {lesson.seconds:.1f} s", flush=True)


def _conclude(failures: Sequence[str], count: int) -> int:
    if not failures:
        return 0
    good = count - len(failures)
    others = f" (the other {good} of {count} scans were taught)" if good else ""
    return refuse("; ".join(failure.removesuffix(".") for failure in failures) + others)
