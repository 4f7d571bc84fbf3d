"""`deepfeatures evaluate`: the paper's study on any folder of cases."""

from __future__ import annotations

from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.errors import InputError

NEEDED = ("pandas", "scipy", "jinja2", "matplotlib")


class Preset(str, Enum):
    paper = "paper"


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="CASES", help="Volumes with landmark files of the same name.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for results, tables and report.html.")],
    template: Annotated[
        str | None, typer.Option("--template", help="Name of the case to place from; by default the first.")
    ] = None,
    preset: Annotated[Preset | None, typer.Option("--preset", help="paper: its 90 cells, densely searched.")] = None,
    network: Annotated[list[str] | None, typer.Option("--network", help="One or more networks of the grid.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", help="Their layers; by default each network's own.")
    ] = None,
    patch_size: Annotated[
        list[int] | None, typer.Option("--patch-size", min=4, help="Patch sizes of the grid; by default 12 to 32 by 4.")
    ] = None,
    search: Annotated[list[str] | None, typer.Option("--search", help="dense (the default), patch.")] = None,
    search_radius: Annotated[
        float | None, typer.Option("--search-radius", help="Of the grid, in mm; by default the whole target.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Whole methods beside the grid: default, ants-affine, ants-syn."),
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
    from deepfeatures.evaluation import study
    from deepfeatures.evaluation.cases import find_cases
    from deepfeatures.evaluation.report import write_results
    from deepfeatures.progress_bar import progress_bar

    chosen = _cells(preset, network or [], layer or [], patch_size or [], search or ["dense"], method or [])
    cases = {case.name: case for case in find_cases(folder)}
    template = template or next(iter(cases))
    if template not in cases:
        raise InputError(
            f"{folder} has no case {template!r} with landmarks; choose one of {', '.join(list(cases)[:5])}"
        )
    others = [case for name, case in cases.items() if name != template][:targets]
    job = study.Study(tuple(chosen), cases[template], tuple(others), output_dir, search_radius, device)
    study.prepare(job)
    with progress_bar("evaluate") as progress:
        study.run(job, workers, progress)
    typer.echo(write_results(job))


def _cells(preset, networks: list[str], layers: list[str], sizes: list[int], searches: list[str], methods: list[str]):
    from deepfeatures.evaluation import cells

    unknown = [one for one in searches if one not in ("dense", "patch")] + [
        one for one in methods if one not in cells.METHODS
    ]
    if unknown:
        known = f"searches dense, patch and methods {', '.join(cells.METHODS)}"
        raise InputError(f"there is no {unknown[0]!r} among {known}; choose one of them")
    if any(one.startswith("ants") for one in methods) and find_spec("ants") is None:
        raise InputError("ANTs needs antspyx; install it with pip install '.[evaluation]'")
    chosen = cells.paper() if preset else []
    chosen += cells.grid(networks, layers, sizes or cells.PATCH_SIZES, searches)
    chosen += [cells.Cell(one) for one in methods]
    if not chosen:
        raise InputError("nothing to compare; give --preset paper, --network or --method")
    return list(dict.fromkeys(chosen))
