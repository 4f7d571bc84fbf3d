"""`deepfeatures cohort`: the landmarks of one template in thousands of targets."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.extras import require_extra
from deepfeatures.cli.given_series import one_of_each_series
from deepfeatures.cli.given_template import given_template
from deepfeatures.cli.options import SERIES, with_match_settings
from deepfeatures.cli.terminal import note, note_label_maps
from deepfeatures.errors import InputError
from deepfeatures.matching.settings import MatchSettings

if TYPE_CHECKING:
    import pandas as pd
    from dask.distributed import Client, Worker

    from deepfeatures.pipelines.cohort import Cohort
    from deepfeatures.pipelines.cohort_suggestion import Suggestion

FAILED, SOME_MISSING = 2, 3  # exit codes, as of `place`
CONNECT_S = 30
NAMES_SHOWN = NOTES_SHOWN = 5


@with_match_settings
def cohort(
    context: typer.Context,
    targets: Annotated[
        list[Path], typer.Argument(metavar="TARGETS", help="Folders of volumes, flat or BIDS, or volumes.")
    ],
    output_dir: Annotated[
        Path, typer.Option("--output-dir", help="Folder for one .mrk.json a target and summary.csv.")
    ],
    settings: MatchSettings,
    template: Annotated[
        Path | None, typer.Option("--template", help="Volume in which the landmarks were placed.")
    ] = None,
    landmarks: Annotated[
        Path | None, typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv, .csv, ….")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes on this machine; by default one a GPU, or a core.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Of a running dask scheduler, such as tcp://host:8786."),
    ] = None,
    series: Annotated[str | None, SERIES] = None,
    suggest: Annotated[
        int,
        typer.Option(
            "--suggest", min=0, help="Name so many scans to review next: those whose review teaches a protocol most."
        ),
    ] = 0,
    independent: Annotated[
        bool,
        typer.Option(
            "--independent", help="Place each target without regard to the others. Else they help one another."
        ),
    ] = False,
) -> int:
    """Place the landmarks of one template in thousands of targets.

    The template is --template and --landmarks, or --protocol with a file of `deepfeatures learn`, which holds both.
    Run it again after whatever went wrong: targets that have a result are left as they are. Exit code 3 says that some
    landmarks are missing, 2 that targets failed; summary.csv names them.
    """
    require_extra("cohort", "cluster", "distributed", "pandas")
    from deepfeatures.matching.devices import choose_device
    from deepfeatures.pipelines import cohort as cohorts
    from deepfeatures.pipelines.cohort_summary import SUMMARY

    volume, points = given_template(template, landmarks, settings.protocol)
    if scheduler is None:  # refuse at once what every worker would refuse
        workers = workers or _default_workers(choose_device(settings.device).type)
    settings = _with_absolute_files(settings)
    given = volume.resolve(), points and points.resolve(), _all_targets(targets), output_dir.resolve()
    label_maps = _label_maps(targets)
    note_label_maps(label_maps)
    job = cohorts.Cohort(*given, settings, independent, series, tuple(label_maps))
    summary = _run(cohorts.prepare(job, context.obj), scheduler, workers, suggest)
    return _conclude(summary, output_dir / SUMMARY)


def _run(job: Cohort, scheduler: str | None, workers: int | None, suggest: int) -> pd.DataFrame:
    """Place, and name scans to review; returns the summary."""
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.pipelines import cohort as cohorts
    from deepfeatures.pipelines import cohort_suggestion

    if others := cohorts.results_of_other_versions(job):
        _note_versions(others)
    if suggest:
        cohort_suggestion.check(job)
    with _client(scheduler, workers) as client:
        with progress_bar("cohort") as progress:
            summary = cohorts.run(job, client, progress)
        if suggest:
            with progress_bar("scans to review") as progress:
                _print_suggestions(cohort_suggestion.suggest(job, client, suggest, progress))
    return summary


def _print_suggestions(found: list[Suggestion]) -> None:
    for number, one in enumerate(found, 1):
        typer.echo(f"review {number}: {one.target} (expected error {one.expected_error_mm:.1f} mm)  {one.file}")


def _with_absolute_files(settings: MatchSettings) -> MatchSettings:
    """With files as every worker can open them, after they were found to be of use."""
    from deepfeatures.matching import Matcher

    files = {"calibration": settings.calibration, "protocol": settings.protocol}
    if any(files.values()):
        Matcher(settings)
    return replace(settings, **{name: file and str(Path(file).resolve()) for name, file in files.items()})


def _all_targets(given: list[Path]) -> dict[str, Path]:
    targets: dict[str, Path] = {}
    for path in one_of_each_series(given):
        if not path.exists():
            raise InputError(f"{path} does not exist; give folders of volumes, or volumes")
        for name, file in _targets_of(path).items():
            file = file.resolve()
            if targets.setdefault(name, file) != file:
                raise InputError(f"{targets[name]} and {file} bear the same name; give them in two runs")
    return targets


def _targets_of(path: Path) -> dict[str, Path]:
    from deepfeatures.io.bids import find_volumes
    from deepfeatures.io.dicom.headers import holds_dicom
    from deepfeatures.io.image_names import image_stem
    from deepfeatures.io.ome_zarr import is_zarr

    if path.is_dir() and not is_zarr(path):
        try:
            return find_volumes(path)
        except InputError:
            if not holds_dicom(path):
                raise
    return {image_stem(path): path}


def _label_maps(given: list[Path]) -> list[Path]:
    """Those in the folders; one that is given itself is a target."""
    from deepfeatures.io.bids import find_label_maps
    from deepfeatures.io.ome_zarr import is_zarr

    return [file for path in given if path.is_dir() and not is_zarr(path) for file in find_label_maps(path)]


def _default_workers(kind: str) -> int:
    """One process a GPU, whose memory two would share; else one a core."""
    if kind != "cuda":
        return os.cpu_count() or 1
    import torch

    return torch.cuda.device_count()


@contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """Of the scheduler at this address, or of one made for this run."""
    from dask.distributed import Client, LocalCluster

    if scheduler is None:
        local = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": 50, "preload": __name__}
        with LocalCluster(n_workers=workers, **local) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=CONNECT_S)
        client.wait_for_workers(1, timeout=CONNECT_S)
    except (OSError, asyncio.TimeoutError, ValueError) as error:  # until Python 3.11 not the built-in TimeoutError
        raise InputError(
            f"no dask scheduler with workers answers at {scheduler}; check the address and that workers run"
        ) from error
    with client:
        yield client


def dask_setup(worker: Worker) -> None:
    """Called by dask in every process of this machine's cluster: Ctrl+C reaches them all, and only we are to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _note_versions(others: dict[str, int]) -> None:
    counts = ", ".join(f"{count} of {version}" for version, count in others.items())
    typer.echo(
        f"note: the folder has results of other versions of deepfeatures ({counts}); they stay, and summary.csv names"
        " the version of each; delete those that are to be placed anew",
        err=True,
    )


def _tell_notes(summary, path: Path) -> None:
    """The first notes on how volumes were read; all stand in the summary."""
    texts = [text for joined in summary.note.dropna() for text in str(joined).split("; ") if text]
    distinct = list(dict.fromkeys(texts))
    for text in distinct[:NOTES_SHOWN]:
        note(text)
    if len(distinct) > NOTES_SHOWN:
        note(f"{len(distinct) - NOTES_SHOWN} more stand in the column note of {path}")


def _tell_ambiguous(summary, path: Path) -> None:
    names = summary[summary.ambiguous > 0].target.tolist()
    if names:
        note(f"targets with ambiguous landmarks: {len(names)}{_named(names)}; see the column ambiguous of {path}")


def _conclude(summary, path: Path) -> int:
    counts = ", ".join(f"{count} {status}" for status, count in summary.status.value_counts().items())
    retried = summary[summary.attempts > 1].target.tolist()
    typer.echo(f"{path}: {counts}; {len(retried)} took more than one attempt{_named(retried)}")
    _tell_notes(summary, path)
    _tell_ambiguous(summary, path)
    failed = summary[summary.status == "failed"]
    if len(failed):
        typer.echo(
            f"error: {failed.target.iloc[0]}: {failed.failure.iloc[0]}{_named(failed.target.tolist())}", err=True
        )
        return FAILED
    return SOME_MISSING if summary.missing.ne("").any() else 0


def _named(targets: list[str]) -> str:
    if not targets:
        return ""
    return f" ({', '.join(targets[:NAMES_SHOWN])}{', …' if len(targets) > NAMES_SHOWN else ''})"
