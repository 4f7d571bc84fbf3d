"""Coordinates as landmark files state them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from deepfeatures.errors import InputError

# Slicer wrote numbers before it wrote names.
SYSTEMS = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}


def coordinate_system(stated: object, path: Path) -> str:
    """`"LPS"` or `"RAS"` for what a file states: either name, or Slicer's old codes 1 and 0."""
    system = SYSTEMS.get(str(stated).strip().upper())
    if system is None:
        raise InputError(f"{path} states the coordinate system {stated!r}; give LPS or RAS")
    return system


def require_millimetres(unit: object, path: Path) -> None:
    """Raise `InputError` where coordinates are in another unit than mm."""
    if str(unit).strip().lower() not in ("mm", "millimeter", "millimetre"):
        raise InputError(f"{path} has coordinates in {unit}; convert them to mm")


def to_lps(values: Sequence[object], system: str, name: str, path: Path) -> tuple[float, float, float]:
    """LPS mm from three numbers, or texts of numbers, in `system`."""
    try:
        x, y, z = (float(value) for value in values if not isinstance(value, bool))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} has no three numbers as the position of {name!r}; correct or remove it") from error
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise InputError(f"{path} has a position of {name!r} that is not finite; correct or remove it")
    return (x, y, z) if system == "LPS" else (-x, -y, z)
