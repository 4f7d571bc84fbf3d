"""Notes on volumes that a command reads, told once for all volumes that have the same one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deepfeatures.cli.terminal import note
from deepfeatures.data.landmark_checks import names_text


def tell_notes(volumes: Iterable[Path], series: str | None = None) -> None:
    """Say on standard error what is doubtful about the headers of volumes; for `series` see `open_volume`.

    Raises:
        InputError: A volume cannot be read.
    """
    from deepfeatures.io.image_names import image_stem
    from deepfeatures.io.native_output import suppress_native_output
    from deepfeatures.io.volume_files import open_volume

    names: dict[str, list[str]] = {}
    for path in dict.fromkeys(volumes):
        with suppress_native_output():
            notes = open_volume(path, series).notes
        for one in notes:
            names.setdefault(one.text, []).append(image_stem(path))
    for text, of in names.items():
        note(f"{names_text(of)}: {text}")
