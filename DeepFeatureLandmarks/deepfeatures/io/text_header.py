"""What the headers of NRRD and MetaImage files have in common: lines of text, a name and a value each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TextHeader:
    """A header whose numbers are sound.

    Args:
        path: The file.
        fields: By name, as text.
        end: Bytes of the header.
        voxels: How many.
    """

    path: Path
    fields: dict[str, str]
    end: int
    voxels: int


def are_finite(texts: Sequence[str]) -> bool:
    """Whether all texts are finite numbers."""
    try:
        return all(math.isfinite(float(text)) for text in texts)
    except ValueError:
        return False
