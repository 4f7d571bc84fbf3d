"""`deepfeatures warp`: volumes, label maps, points and models carried through a transform file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from deepfeatures.cli.terminal import note

if TYPE_CHECKING:
    from deepfeatures.pipelines.warp import WarpInterpolation


class Choice(str, Enum):
    """What `--interpolation` takes."""

    auto = "auto"
    linear = "linear"
    nearest = "nearest"
    label = "label"


def warp(
    input_: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Volume, label map, markups or landmark file, or model.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="File to write.")],
    transform: Annotated[
        Path,
        typer.Option("--transform", help="File that maps template points to target points, as every ITK transform."),
    ],
    like: Annotated[
        Path, typer.Option("--like", help="Volume in whose space OUTPUT lies: the target; with --inverse the template.")
    ],
    inverse: Annotated[
        bool, typer.Option("--inverse", help="INPUT belongs to the target, and OUTPUT lies in the template.")
    ] = False,
    interpolation: Annotated[
        Choice,
        typer.Option(
            "--interpolation",
            help="Of volumes: auto is nearest for label maps and linear for others; label gives smoother borders.",
        ),
    ] = Choice.auto,
) -> None:
    """Carry what belongs to the template over to the target, or back with --inverse.

    A volume or label map is resampled on the grid of --like. Points, curves and models are moved. The output is
    written whole or not at all.
    """
    from deepfeatures.io.native_output import suppress_native_output
    from deepfeatures.pipelines.warp import warp_file

    chosen = cast("WarpInterpolation", interpolation.value)
    with suppress_native_output():
        result = warp_file(transform, like, input_, output, inverse=inverse, interpolation=chosen)
    for one in result.notes:
        note(one.text)
    print(f"{result.output}: {result.text}")
