"""`deepfeatures evaluate`: the paper's study on any folder of cases."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.extras import require_extra
from deepfeatures.cli.options import CASES, option_of
from deepfeatures.cli.terminal import note
from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.evaluation.cases import Case
    from deepfeatures.evaluation.configurations import Configuration
    from deepfeatures.evaluation.results import Study

EACH = "each"  # case in turn is the template


class Preset(str, Enum):
    paper = "paper"


def evaluate(
    context: typer.Context,
    folder: Annotated[Path, CASES],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for results, tables and report.html.")],
    template: Annotated[
        str | None, typer.Option("--template", help="Name of the case to place from, by default the first; or each.")
    ] = None,
    protocol: Annotated[
        str | None, option_of("protocol", "Place from this protocol; the default method with what it was taught.")
    ] = None,
    preset: Annotated[
        Preset | None, typer.Option("--preset", help="paper: its 90 configurations, densely searched.")
    ] = None,
    network: Annotated[list[str] | None, option_of("network", "One or more networks of the grid.")] = None,
    layer: Annotated[list[str] | None, option_of("layer", "Their layers; by default each network's own.")] = None,
    patch_size: Annotated[
        list[int] | None, option_of("patch_size", "Patch sizes of the grid; by default 12 to 32 by 4.")
    ] = None,
    search: Annotated[list[str] | None, option_of("search", "dense (the default), patch, guided.")] = None,
    initialization: Annotated[
        list[str] | None, option_of("initialization", "How guided searches start: auto, centres, world, any.")
    ] = None,
    intensity: Annotated[
        list[str] | None, option_of("intensity", "Policies of the grid: auto, percentile, zscore and so on.")
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
    require_extra("evaluate", "evaluation", "pandas", "scipy", "statsmodels", "jinja2", "matplotlib")
    from deepfeatures.evaluation.results import Study

    axes = {
        "network": network or [],
        "layer": layer or [],
        "patch_size": patch_size or [],
        "search": search or ["dense"],
        "initialization": initialization or ["auto"],
        "intensity": intensity or ["auto"],
    }
    chosen = _configurations(preset, axes, method or [])
    if protocol and template:
        raise InputError(f"the protocol {protocol} holds the template; leave out --template, or --protocol")
    cases = _from_protocol(folder, protocol, targets) if protocol else _templates_and_targets(folder, template, targets)
    _run(Study(tuple(chosen), *cases, output_dir, search_radius, device, protocol), workers, context.obj)


def _templates_and_targets(
    folder: Path, template: str | None, targets: int | None
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The case to place from, or each; and the first so many of those to place in."""
    from deepfeatures.evaluation.cases import find_cases

    cases = {case.name: case for case in find_cases(folder)}
    template = template or next(iter(cases))
    if template != EACH and template not in cases:
        raise InputError(
            f"{folder} has no case {template!r} with landmarks; choose one of {', '.join(list(cases)[:5])}, or {EACH}"
        )
    templates = cases if template == EACH else [template]
    others = [case for name, case in cases.items() if template == EACH or name != template][:targets]
    return tuple(cases[name] for name in templates), tuple(others)


def _from_protocol(folder: Path, protocol: str, targets: int | None) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """A protocol's template, and the first so many cases of people who have not taught it."""
    from deepfeatures.evaluation.cases import Case, annotated_cases
    from deepfeatures.matching.learning.protocol_file import read_protocol
    from deepfeatures.pipelines.learning import without_taught_people

    known = read_protocol(protocol)
    cases = annotated_cases(folder)
    kept, left_out = without_taught_people(known, {case.name: case for case in cases})
    note(left_out)
    if not kept:
        raise InputError(f"{folder} has no annotated scan of a person who has not taught the protocol; give others")
    return (Case(known.template.name, Path(protocol), None),), tuple(kept.values())[:targets]


def _run(job: Study, workers: int, arguments: Sequence[str]) -> None:
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.cli.volume_notes import tell_notes
    from deepfeatures.evaluation import study
    from deepfeatures.evaluation.cases import read_points
    from deepfeatures.evaluation.report import write_results

    for one in read_points(job.cases)[1]:
        note(one.text)
    tell_notes(case.image for case in job.cases if case.landmarks)
    if outdated := study.prepare(job, arguments):
        typer.echo(
            f"note: {outdated} results in {job.output_dir} are of other scans, landmarks or settings, or of another"
            " version of deepfeatures; they are computed anew",
            err=True,
        )
    with progress_bar("evaluate") as progress:
        study.run(job, workers, progress)
    typer.echo(write_results(job))


def _configurations(preset: Preset | None, axes: dict[str, list], methods: list[str]) -> list[Configuration]:
    from deepfeatures.evaluation import configurations
    from deepfeatures.evaluation.baselines import BASELINES
    from deepfeatures.matching.settings import setting

    allowed = {name: setting(name)["choices"] for name in ("search", "initialization", "intensity")}
    for kind, choices in {**allowed, "method": configurations.METHODS}.items():
        for one in {**axes, "method": methods}[kind]:
            if one not in choices:
                raise InputError(f"there is no {kind} {one!r}; choose one of {', '.join(choices)}")
    for one in methods:
        if one in BASELINES and not is_installed(BASELINES[one].package):
            raise InputError(f"{one} needs {BASELINES[one].package}; install it with pip install '.[evaluation]'")
    chosen = configurations.paper() if preset else []
    chosen += configurations.grid(*{**axes, "patch_size": axes["patch_size"] or configurations.PATCH_SIZES}.values())
    chosen += [configurations.Configuration(one) for one in methods]
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
