"""`deepfeatures activations`: what a layer makes of a landmark's neighbourhood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.cli.options import SERIES
from deepfeatures.features import SMALLEST_PATCH
from deepfeatures.matching.settings import setting


def activations(
    volume: Annotated[Path, typer.Option("--volume", help="Volume to encode.")],
    landmarks: Annotated[Path, typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv, .csv, ….")],
    output: Annotated[
        Path,
        typer.Option("--output", help="NAME.png for a picture; NAME.nrrd, or a folder, for a volume of each channel."),
    ],
    landmark: Annotated[
        str | None,
        typer.Option("--landmark", help="Name of the landmark at which to cut the patch; by default the first."),
    ] = None,
    network: Annotated[str, typer.Option("--network", help="A name that `deepfeatures networks` lists.")] = (
        "vgg19-3d-random"
    ),
    layer: Annotated[str | None, typer.Option("--layer", help=setting("layer")["help"])] = None,
    patch_size: Annotated[
        int, typer.Option("--patch-size", min=SMALLEST_PATCH, help="Edge of the patch in voxels.")
    ] = 32,
    series: Annotated[str | None, SERIES] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help=setting("seed")["help"])] = 0,
) -> None:
    """Show what a layer makes of the patch around a landmark (the paper's figure 3)."""
    from deepfeatures.cli.volume_notes import tell_notes
    from deepfeatures.pipelines.activations import write_activations

    tell_notes([volume], series)
    chosen = {"network": network, "layer": layer, "patch_size": patch_size, "seed": seed, "series": series}
    written = write_activations(volume, landmarks, landmark, output, **chosen)
    typer.echo(f"{written[0]}" if len(written) == 1 else f"{written[0]} to {written[-1].name}")
