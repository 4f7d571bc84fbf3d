"""Slices of one DICOM series that are given one by one."""

from __future__ import annotations

from pathlib import Path

from deepfeatures.cli.terminal import note


def one_of_each_series(targets: list[Path]) -> list[Path]:
    """The targets without further slices of a series; a note names each series of which several were given."""
    from deepfeatures.io import given_slices

    kept, given = given_slices.one_of_each_series(targets)
    for first, count in given.items():
        note(f"{count} files are slices of one series, which is placed once: {first}")
    return kept
