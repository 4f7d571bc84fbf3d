"""`deepfeatures quality`: compare raters, find faults, write a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.errors import InputError

FLAGGED = 3  # exit code
NEEDED = ("pandas", "scipy", "statsmodels", "jinja2", "matplotlib")


def quality(
    raters: Annotated[
        list[Path],
        typer.Argument(
            metavar="RATER",
            help="Folders, one a rater and called so, each with a landmark file a scan; or NAME=FOLDER.",
        ),
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for report.html and the tables.")],
    scans: Annotated[
        Path | None,
        typer.Option("--scans", help="Folder with the volumes: finds points outside the head and draws pictures."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="The rater to measure against; by default the median of the others."),
    ] = None,
    machine: Annotated[
        bool,
        typer.Option("--machine", help="Place each scan's landmarks from other scans too, as one more opinion."),
    ] = False,
) -> int:
    """Compare raters, and find swapped, mislabelled, misplaced, missing and outlying points.

    Files are matched to scans by their names. Writes report.html and CSV tables. Exit code 3 says that something is
    flagged.
    """
    _require_extra()
    if machine and scans is None:
        raise InputError("--machine needs the volumes; give their folder with --scans")
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.io.bids import LazyVolumes, find_volumes
    from deepfeatures.quality.annotations import landmark_names, read_rater
    from deepfeatures.quality.report import write_review
    from deepfeatures.quality.review import review

    paths = find_volumes(scans) if scans else {}
    volumes = LazyVolumes(paths)
    annotations = []
    for rater in raters:
        name, equals, folder = (str(rater), "", "") if rater.is_dir() else str(rater).partition("=")
        annotations += read_rater(folder if equals else name, name if equals else None, tuple(paths))
    if len({(annotation.rater, annotation.scan) for annotation in annotations}) < len(annotations):
        raise InputError("two raters bear the same name; give them as NAME=FOLDER with names of their own")
    carried = [one for one in annotations if one.rater == (reference or annotations[0].rater)]
    opinions, trips = {}, None
    if machine:
        opinions, trips = _machine_opinions(carried, volumes, output_dir / "machine", landmark_names(annotations))
    found = review(annotations, reference, volumes, opinions, trips)
    with progress_bar("report") as progress:
        page = write_review(found, output_dir, reference, volumes, progress)
    count = len(found.flagged)
    typer.echo(f"{page}: {count} of {len(found.positions)} points flagged")
    return FLAGGED if count else 0


def _machine_opinions(carried, volumes, folder: Path, names: tuple[str, ...]):
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.matching import Matcher
    from deepfeatures.quality import automatic_rater

    with progress_bar("machine") as progress:
        placed = automatic_rater.place_from_others(carried, volumes, Matcher(), folder, progress)
    return automatic_rater.consensus(placed, names), automatic_rater.round_trips(placed)


def _require_extra() -> None:
    from importlib.util import find_spec

    absent = [package for package in NEEDED if find_spec(package) is None]
    if absent:
        raise InputError(f"quality needs {', '.join(absent)}; install them with pip install '.[quality]'")
