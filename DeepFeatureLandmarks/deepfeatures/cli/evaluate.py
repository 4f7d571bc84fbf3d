"""`deepfeatures evaluate`: the paper's study on any folder of cases."""

from __future__ import annotations

from enum import Enum
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.errors import InputError

PACKAGES = {
    "ants-affine": "antspyx",
    "ants-syn": "antspyx",
    "elastix": "itk-elastix",  # a part of the module itk, which may be there without it
    "convexadam": "convexAdam",
}
EACH = "each"  # case in turn is the template
NEEDED = ("pandas", "scipy", "statsmodels", "jinja2", "matplotlib")


class Preset(str, Enum):
    paper = "paper"


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="CASES",
            help="Folder of volumes with landmark files of the same name, or a CSV file: volume,landmarks.",
        ),
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for results, tables and report.html.")],
    template: Annotated[
        str | None, typer.Option("--template", help="Name of the case to place from, by default the first; or each.")
    ] = None,
    preset: Annotated[Preset | None, typer.Option("--preset", help="paper: its 90 cells, densely searched.")] = None,
    network: Annotated[list[str] | None, typer.Option("--network", help="One or more networks of the grid.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", help="Their layers; by default each network's own.")
    ] = None,
    patch_size: Annotated[
        list[int] | None, typer.Option("--patch-size", min=4, help="Patch sizes of the grid; by default 12 to 32 by 4.")
    ] = None,
    search: Annotated[list[str] | None, typer.Option("--search", help="dense (the default), patch, guided.")] = None,
    pose: Annotated[
        list[str] | None, typer.Option("--pose", help="How guided searches start: auto, centres, world, any.")
    ] = None,
    intensity: Annotated[
        list[str] | None, typer.Option("--intensity", help="Policies of the grid: auto, percentile, zscore and so on.")
    ] = None,
    search_radius: Annotated[
        float | None,
        typer.Option("--search-radius", help="Of dense and patch searches, in mm; else the whole target."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="Whole methods beside the grid: default, ants-affine, ants-syn, elastix, convexadam."
        ),
    ] = None,
    targets: Annotated[int | None, typer.Option("--targets", min=1, help="Only so many targets, the first.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    device: Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Compare networks, layers, patch sizes, searches and other methods on cases with known landmarks.

    A run that was stopped goes on where it was. Writes tidy CSV tables and report.html.
    """
    absent = [package for package in NEEDED if find_spec(package) is None]
    if absent:
        raise InputError(f"evaluate needs {', '.join(absent)}; install them with pip install '.[evaluation]'")
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.evaluation import study
    from deepfeatures.evaluation.cases import find_cases
    from deepfeatures.evaluation.report import write_results

    axes = (network or [], layer or [], patch_size or [], search or ["dense"], pose or ["auto"], intensity or ["auto"])
    chosen = _cells(preset, axes, method or [])
    cases = {case.name: case for case in find_cases(folder)}
    template = template or next(iter(cases))
    if template != EACH and template not in cases:
        raise InputError(
            f"{folder} has no case {template!r} with landmarks; choose one of {', '.join(list(cases)[:5])}, or {EACH}"
        )
    templates = cases if template == EACH else [template]
    others = [case for name, case in cases.items() if template == EACH or name != template][:targets]
    job = study.Study(
        tuple(chosen), tuple(cases[name] for name in templates), tuple(others), output_dir, search_radius, device
    )
    study.prepare(job)
    with progress_bar("evaluate") as progress:
        study.run(job, workers, progress)
    typer.echo(write_results(job))


def _cells(preset: Preset | None, axes: tuple, methods: list[str]):
    from deepfeatures.evaluation import configurations
    from deepfeatures.matching.settings import INITIALIZATIONS, INTENSITIES, SEARCHES

    networks, layers, sizes, searches, poses, intensities = axes
    known = {
        "search": (searches, SEARCHES),
        "pose": (poses, INITIALIZATIONS),
        "intensity": (intensities, INTENSITIES),
        "method": (methods, configurations.METHODS),
    }
    for kind, (given, allowed) in known.items():
        for one in given:
            if one not in allowed:
                raise InputError(f"there is no {kind} {one!r}; choose one of {', '.join(allowed)}")
    for one in methods:
        package = PACKAGES.get(one)
        if package and not is_installed(package):
            raise InputError(f"{one} needs {package}; install it with pip install '.[evaluation]'")
    chosen = configurations.paper() if preset else []
    chosen += configurations.grid(networks, layers, sizes or configurations.PATCH_SIZES, searches, poses, intensities)
    chosen += [configurations.Cell(one) for one in methods]
    if not chosen:
        raise InputError("nothing to compare; give --preset paper, --network or --method")
    return list(dict.fromkeys(chosen))


def is_installed(package: str) -> bool:
    """Whether pip knows this package."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
