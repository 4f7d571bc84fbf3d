"""`deepfeatures transform`: a transform from template to target, by landmarks or by a search; and its Jacobian map."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.terminal import note, print_table
from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.pipelines.transforms import TransformResult

WORST = 3  # residuals that are printed


class Kind(str, Enum):
    """What `--kind` takes."""

    rigid = "rigid"
    similarity = "similarity"
    affine = "affine"
    tps = "tps"
    bspline = "bspline"
    cpab = "cpab"
    field = "field"


def transform(
    context: typer.Context,
    template: Annotated[Path, typer.Option("--template", help="Volume from which the transform goes.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            help="File to write: .h5 or .tfm (ITK, ANTs, 3D Slicer), .mat (linear), .txt (elastix), or a displacement"
            " field .nrrd, .mha, .nii.gz.",
        ),
    ],
    target: Annotated[Path | None, typer.Option("--target", help="Volume to which it goes.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Landmarks of the template.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="The same landmarks in the target, paired by name.")] = None,
    kind: Annotated[
        Kind, typer.Option("--kind", help="Of the transform; field is what a search of --from finds, without --to.")
    ] = Kind.tps,
    keypoints: Annotated[
        bool,
        typer.Option(
            "--keypoints", help="Also search keypoints between the volumes, which count beside the landmarks."
        ),
    ] = False,
    jacobian: Annotated[
        Path | None,
        typer.Option(
            "--jacobian",
            metavar="FILE",
            help="Instead, write the map of the Jacobian determinant of this transform file, on the template's grid.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file for residuals, by name, and notes.")
    ] = None,
) -> int:
    """Write the transform that maps points of a template to points of a target.

    The file is ITK's resampling transform, LPS mm: with it, tools resample the target on the template's grid.
    `deepfeatures warp` carries what belongs to the template over to the target. Standard output has the residuals.
    """
    if jacobian is not None:
        if target or from_ or to or report or keypoints:
            raise InputError("--jacobian FILE takes --template and --output alone; leave the other options out")
        return _write_jacobian(jacobian, template, output)
    if target is None or from_ is None or (to is None and kind is not Kind.field):
        raise InputError(f"a transform of the kind {kind.value} needs --target, --from and --to; give all of them")
    if keypoints and kind is Kind.field:
        raise InputError("the kind field follows from keypoints in any case; leave out --keypoints")
    result = _found(template, target, from_, to, kind, output, keypoints)
    for one in result.notes:
        note(one.text)
    _print_residuals(result)
    if report is not None:
        _write_report(report, context.obj, result)
    return 0


def _found(
    template: Path, target: Path, from_: Path, to: Path | None, kind: Kind, output: Path, keypoints: bool
) -> TransformResult:
    from deepfeatures.cli.progress import progress_bar
    from deepfeatures.io.native_output import suppress_native_output
    from deepfeatures.pipelines.transforms import find_transform_files, fit_transform_files

    if kind is not Kind.field and not keypoints:
        assert to is not None
        with suppress_native_output():
            return fit_transform_files(template, target, from_, to, kind.value, output)
    from deepfeatures.matching import Matcher
    from deepfeatures.matching.settings import MatchSettings

    matcher = Matcher(MatchSettings())
    with progress_bar("search") as progress:
        if kind is Kind.field:
            return find_transform_files(template, target, from_, to, output, matcher, progress)
        assert to is not None
        return fit_transform_files(template, target, from_, to, kind.value, output, matcher, progress)


def _print_residuals(result: TransformResult) -> None:
    count = len(result.names)
    from deepfeatures.pipelines.transforms import folds_text

    folds = f", {folds_text(result.folded_share)}"
    if not count:
        print(f"{result.output}: {result.kind}{folds}")
        return
    mean, worst = result.residuals_mm.mean(), result.residuals_mm.max()
    print(
        f"{result.output}: {result.kind}, {count} landmarks, residual mean {mean:.2f} mm, worst {worst:.2f} mm{folds}"
    )
    if worst < 0.005:
        return
    from rich.table import Table

    table = Table("landmark", "residual mm", "weight")
    for index in (-result.residuals_mm).argsort()[:WORST]:
        table.add_row(result.names[index], f"{result.residuals_mm[index]:.2f}", f"{result.weights[index]:.2f}")
    print_table(table)


def _write_report(path: Path, arguments: list[str], result: TransformResult) -> None:
    import json

    from deepfeatures.io.atomic_write import write_text
    from deepfeatures.io.provenance import command_line, versions

    content = {"command": command_line(arguments), "versions": versions(), **result.report()}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write_jacobian(transform_file: Path, template: Path, output: Path) -> int:
    from deepfeatures.io.native_output import suppress_native_output
    from deepfeatures.pipelines.transforms import folds_text, write_jacobian

    with suppress_native_output():
        voxels = write_jacobian(transform_file, template, output).voxels
    share = float((voxels <= 0).float().mean())
    span = f"{float(voxels.min()):.2f} to {float(voxels.max()):.2f}"
    print(f"{output}: Jacobian determinant {span}, {folds_text(share)}")
    return 0
