"""`deepfeatures calibrate`: radii and chances refitted to one's own annotated scans."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.options import CASES, with_match_settings
from deepfeatures.cli.terminal import note, print_table, say
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings

if TYPE_CHECKING:
    from rich.table import Table

    from deepfeatures.evaluation.calibration import Recalibration


@with_match_settings
def calibrate(
    context: typer.Context,
    folder: Annotated[Path, CASES],
    output: Annotated[Path, typer.Option("--output", help="JSON file for the calibration.")],
    settings: MatchSettings,
) -> None:
    """Fit radii and chances to your own annotated scans.

    Places the landmarks of some scans in others, 40 times at most, and compares them with where they were marked. Give
    the file to place or cohort with --calibration. Needs scans of three people or more.
    """
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.cli.volume_notes import tell_notes
    from deepfeatures.evaluation import calibration
    from deepfeatures.evaluation.cases import annotated_cases, read_points
    from deepfeatures.io.atomic_write import ensure_folder, write_text
    from deepfeatures.io.provenance import command_line, now, versions
    from deepfeatures.matching import Matcher
    from deepfeatures.matching.uncertainty.calibration_file import calibration_text

    if settings.protocol:
        raise InputError("calibrate places from your own scans; leave out --protocol")
    start = time.monotonic()
    matcher = Matcher(settings)
    if matcher.error_model is None:
        raise InputError("only the default search states expected errors; leave out network, layer, search and radius")
    cases = annotated_cases(folder)
    calibration.check_people(cases, folder)
    if output.resolve() in {path.resolve() for case in cases for path in (case.image, case.landmarks)}:
        raise InputError(f"the calibration {output} would replace a file that was given; choose another --output")
    ensure_folder(output.parent)
    pairs = calibration.choose_pairs(cases)
    points, notes = read_points(cases)
    for one in notes:
        note(one.text)
    tell_notes(case.image for case in cases)
    with progress_bar(f"{len(pairs)} pairs") as progress:
        samples = calibration.place_pairs(pairs, points, matcher, _telling_time(len(pairs), progress))
    found = calibration.recalibrate(matcher.error_model, samples)
    origin = {"command": command_line(context.obj), "time": now(), "versions": versions(), "pairs": len(pairs)}
    write_text(output, calibration_text(found.model, matcher.features_key, {**origin, **found.facts()}))
    print_table(comparison_table(found))
    minutes = (time.monotonic() - start) / 60
    people = len(found.facts()["people"])
    typer.echo(f"{output}: {people} people, {len(pairs)} pairs, {len(samples)} landmarks; {minutes:.1f} minutes")


def _telling_time(pairs: int, progress: Callable[[float], None]) -> Callable[[float], None]:
    """The same, which says after the first pair how long all will take."""
    start, first = time.monotonic(), iter((True,))

    def update(done: float) -> None:
        if next(first, False):
            say(f"{pairs} pairs take about {math.ceil((time.monotonic() - start) / done / 60)} minutes")
        progress(done)

    return update


def comparison_table(found: Recalibration) -> Table:
    """What the calibration changes, judged on people whom it did not know."""
    from rich.table import Table

    from deepfeatures.evaluation.calibration import figures

    before, after = figures(found.before), figures(found.after)
    table = Table(title="On people left out")
    for column, justify in (("", "left"), ("before", "right"), ("after", "right"), ("true or wanted", "right")):
        table.add_column(column, justify=justify)

    def row(label: str, name: str, form: str, wanted: str) -> None:
        table.add_row(label, format(before[name], form), format(after[name], form), wanted)

    row("50 % radius holds", "radius_50_holds", ".0%", "50%")
    row("90 % radius holds", "radius_90_holds", ".0%", "90%")
    row("90 % radius, median (mm)", "median_radius_90_mm", ".1f", "")
    row("expected error, mean (mm)", "mean_expected_error_mm", ".1f", f"{before['mean_error_mm']:.1f}")
    row("probability within 3 mm, mean", "probability_within_3mm", ".0%", f"{before['share_within_3mm']:.0%}")
    return table
