"""`deepfeatures place`: the landmarks of a template in other volumes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.given_series import one_of_each_series
from deepfeatures.cli.given_template import given_templates
from deepfeatures.cli.options import SERIES, with_match_settings
from deepfeatures.cli.terminal import note, refuse, say
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings

if TYPE_CHECKING:
    from deepfeatures.data.notes import Note
    from deepfeatures.pipelines.place import Job, Outcome

SOME_MISSING = 3
NO_TRANSFORM = (
    "only the default search with one template finds a transform; leave out --search, --mask and further templates, or"
    " --transform"
)
CURVES = typer.Option("--curves", help="Curves of the template, .mrk.json; their points slide along them.")
SURFACES = typer.Option("--surfaces", help="Points spread over a surface of the template, .mrk.json; they slide on it.")
PAIRS = typer.Option("--pairs", help="CSV file with columns left and right; by default pairs are found by names.")
TRANSFORM = typer.Option(
    "--transform",
    help="File for the transform from template to target that is found, such as T.h5; for several targets a folder.",
)
ASYMMETRY = typer.Option("--asymmetry", help="Print how far each pair is from being symmetric.")


@with_match_settings
def place(
    context: typer.Context,
    targets: Annotated[list[Path], typer.Argument(metavar="TARGET", help="Volumes to find the landmarks in.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for one .mrk.json a target.")],
    settings: MatchSettings,
    template: Annotated[
        list[Path] | None,
        typer.Option("--template", help="Volume in which the landmarks were placed; several are brought to agree."),
    ] = None,
    landmarks: Annotated[
        list[Path] | None,
        typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv, .csv, …; one a template."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="Volume that is not zero where the one target may be searched."),
    ] = None,
    independent: Annotated[
        bool,
        typer.Option(
            "--independent",
            help="Place each target without regard to the others. Else three targets or more help one another.",
        ),
    ] = False,
    series: Annotated[str | None, SERIES] = None,
    curves: Annotated[list[Path] | None, CURVES] = None,
    surfaces: Annotated[list[Path] | None, SURFACES] = None,
    pairs: Annotated[Path | None, PAIRS] = None,
    asymmetry: Annotated[bool, ASYMMETRY] = False,
    transform: Annotated[Path | None, TRANSFORM] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file for settings, versions, times and distances.")
    ] = None,
) -> int:
    """Find the landmarks of a template in other volumes.

    The template is --template and --landmarks, or --protocol with a file of `deepfeatures learn`, which holds both.
    Volumes are NIfTI, NRRD, MetaImage, OME-Zarr, or a DICOM series: its folder or one of its files. Writes
    OUTPUT_DIR/TARGET.mrk.json for each target, whole or not at all. Exit code 3 says that some landmarks were not
    found; they are named, and have no position in the output.
    """
    (first, points), *others = given_templates(template or [], landmarks or [], settings.protocol)
    from deepfeatures.pipelines.place import Job

    settings = _within_mask(settings) if mask else settings
    if transform and (others or not settings.is_guided):
        raise InputError(NO_TRANSFORM)
    given = tuple(one_of_each_series(targets))
    beside = {"curves": tuple(curves or ()), "surfaces": tuple(surfaces or ()), "pairs": pairs, "transform": transform}
    job = Job(first, points, given, output_dir, mask, report, tuple(others), series=series, **beside)
    outcomes = _place(job, settings, independent, context.obj)
    if asymmetry:
        _print_asymmetry(outcomes)
    return _conclude(outcomes)


def _place(job: Job, settings: MatchSettings, independent: bool, arguments: Sequence[str]) -> list[Outcome]:
    """What became of each target in the end, told as it becomes known; with the report."""
    from deepfeatures.pipelines.run_report import write_report

    outcomes: dict[Path, Outcome] = {}
    told: set[Note] = set()
    for outcome in _outcomes(job, settings, independent):
        known = outcomes.get(outcome.target)
        outcomes[outcome.target] = outcome
        _tell_notes(outcome, told)
        if known is None and outcome.output:
            _tell(outcome)
        if job.report and known is None and len(outcomes) == len(job.targets):  # refining may be interrupted
            write_report(job.report, arguments, settings, list(outcomes.values()))
    if job.report:
        write_report(job.report, arguments, settings, list(outcomes.values()))
    return list(outcomes.values())


def _tell(outcome: Outcome) -> None:
    """What was written of a target."""
    total = outcome.placed + len(outcome.missing)
    doubted = f", {len(outcome.ambiguous)} ambiguous" if outcome.ambiguous else ""
    print(f"{outcome.output}: {outcome.placed} of {total} landmarks{doubted}", flush=True)
    for shape in outcome.shapes.reports if outcome.shapes else ():
        lost = f", {shape['not_found']} of them by the others" if shape["not_found"] else ""
        print(f"{outcome.shapes.output}: {shape['name']}, {shape['points']} points{lost}", flush=True)


def _print_asymmetry(outcomes: list[Outcome]) -> None:
    from deepfeatures.cli.asymmetry_table import asymmetry_table
    from deepfeatures.cli.terminal import print_table

    for outcome in outcomes:
        if outcome.asymmetry is not None:
            print_table(asymmetry_table(outcome.target.name, outcome.asymmetry))
        elif outcome.output:
            note(f"{outcome.target}: too few pairs and midline points for a plane of symmetry; three are needed")


def _within_mask(settings: MatchSettings) -> MatchSettings:
    """With a greedy search, for only that takes a mask."""
    if settings.protocol:
        raise InputError("a search within a mask does not learn; leave out --mask, or --protocol")
    return replace(settings, search="dense") if settings.is_guided and settings.search is None else settings


def _tell_notes(outcome: Outcome, told: set[Note]) -> None:
    """Notes that were not told before, which become told."""
    for new in outcome.notes:
        if new not in told:
            note(new.text)
            told.add(new)


def _outcomes(job: Job, settings: MatchSettings, independent: bool) -> Iterator[Outcome]:
    """What becomes of each target; of those that help one another twice, alone and refined."""
    from deepfeatures import matching
    from deepfeatures.matching.groupwise import FEWEST
    from deepfeatures.pipelines import place as pipeline

    template, landmarks, mask = pipeline.prepare(job)
    others = [pipeline.read_template(*other, job.series) for other in job.others]
    together = settings.is_guided and not others and not independent and len(job.targets) > FEWEST
    with _progress_bar(len(job.targets), turns=2 if together else 1) as progress:
        if together:
            yield from pipeline.place_together(job, template, landmarks, matching.Matcher(settings), progress)
            return
        matcher = matching.MultiTemplateMatcher(others, settings) if others else matching.Matcher(settings)
        yield from pipeline.place(job, template, landmarks, mask, matcher, progress)


def _conclude(outcomes: list[Outcome]) -> int:
    for outcome in outcomes:
        if outcome.ambiguity_text:
            note(f"ambiguous in {outcome.target}: {outcome.ambiguity_text}")
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed:
        good = len(outcomes) - len(failed)
        others = f" (the other {good} of {len(outcomes)} targets were placed)" if good else ""
        return refuse("; ".join(outcome.failure.removesuffix(".") for outcome in failed) + others)
    missing = [f"{outcome.target}: {outcome.missing_text}" for outcome in outcomes if outcome.missing]
    if missing:
        say("landmarks missing in " + "; ".join(missing))
    shapes = [f"{one.target}: {', '.join(one.shapes.missing)}" for one in outcomes if one.shapes and one.shapes.missing]
    if shapes:
        say("curves of which less than half was found, in " + "; ".join(shapes))
    return SOME_MISSING if missing or shapes else 0


@contextmanager
def _progress_bar(targets: int, turns: int = 1) -> Iterator[Callable[[int, float], None]]:
    """A bar on the terminal, nothing elsewhere; yields what to call with a target's index and its fraction done.

    With several turns, the indices of the second follow those of the first.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        auto_refresh=False,  # a frame must not fall into the moment when native output is silenced
        redirect_stdout=sys.stdout.isatty(),  # print above the bar, but never from a pipe to the terminal
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("", total=turns * targets)

        def update(index: int, done: float) -> None:
            again = "" if index < targets else ", beside the others"
            description = f"target {index % targets + 1} of {targets}{again}"
            bar.update(task, completed=index + done, description=description, refresh=True)

        yield update
