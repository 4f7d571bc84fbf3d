"""`deepfeatures convert`: landmarks from one file format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    landmarks: Annotated[Path, typer.Argument(help="Landmark file of a known format.")],
    output: Annotated[
        Path,
        typer.Argument(
            help="File to write: .mrk.json, .fcsv, .csv, .ants.csv, .mps, .tag, .landmarkAscii, .pts, .txt, .tps, .dcm."
        ),
    ],
    scan: Annotated[
        Path | None,
        typer.Option(
            "--scan", help="DICOM folder or file in which the landmarks lie: a .dcm report belongs to its study."
        ),
    ] = None,
) -> None:
    """Write landmarks in another file format; what it cannot hold is said on standard error."""
    from deepfeatures.cli.terminal import note
    from deepfeatures.io.landmark_files import read_landmarks, write_landmarks

    points = read_landmarks(landmarks)
    for new in (*points.notes, *write_landmarks(points, output, scan)):
        note(new.text)
    typer.echo(f"{output}: {len(read_landmarks(output))} landmarks")
