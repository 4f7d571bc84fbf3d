"""Coordinates as landmark files state them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from deepfeatures.errors import InputError, quoted

# Slicer wrote numbers before it wrote names.
SYSTEMS = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}


def coordinate_system(stated: object, path: Path) -> str:
    """`"LPS"` or `"RAS"` for what a file states: either name, or Slicer's old codes 1 and 0."""
    system = SYSTEMS.get(str(stated).strip().upper())
    if system is None:
        raise InputError(f"{path} states the coordinate system {quoted(stated)}; give LPS or RAS")
    return system


def require_millimetres(unit: object, path: Path) -> None:
    """Raise `InputError` where coordinates are in another unit than mm."""
    if str(unit).strip().lower() not in ("mm", "millimeter", "millimetre"):
        raise InputError(f"{path} has coordinates in {quoted(unit)}; convert them to mm")


def to_lps(values: Sequence[object], system: str, where: str, path: Path) -> tuple[float, float, float]:
    """LPS mm from three numbers, or texts of numbers, in `system`.

    Args:
        values: As the file has them.
        system: `"LPS"` or `"RAS"`.
        where: What the message calls the point, such as `"'AC' in row 3"`.
        path: Of the file, for the message.
    """
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise InputError(f"{path} has no three numbers as the position of {where}; correct or remove it")
    x, y, z = (_number(value, axis, where, path) for axis, value in zip("xyz", values, strict=True))
    return (x, y, z) if system == "LPS" else (-x, -y, z)


def from_lps(position: Sequence[float], system: str) -> tuple[float, float, float]:
    """A position in LPS mm in the coordinates of `system`."""
    x, y, z = (float(value) for value in position)
    return (x, y, z) if system == "LPS" else (-x, -y, z)


def _number(value: object, axis: str, where: str, path: Path) -> float:
    try:
        if isinstance(value, bool) or "_" in str(value):  # Python alone takes 1_000 for a number
            raise ValueError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} has no three numbers as the position of {where}: its {axis} is {quoted(value)}; "
            "correct or remove it"
        ) from error
    if not math.isfinite(number):
        raise InputError(f"{path} has a position of {where} that is not finite, its {axis}; correct or remove it")
    return number
