"""Training settings: frozen dataclasses, read from a TOML file."""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any, TypeVar

from deepfeatures.errors import InputError

Settings = TypeVar("Settings")


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """The settings in a TOML file; what it leaves out keeps its default.

    Raises:
        InputError: where the file cannot be read or names something unknown.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The settings file {path} cannot be read ({error}); give a TOML file.") from error
    return from_values(kind, values)


def from_values(kind: type[Settings], values: dict[str, Any], where: str = "") -> Settings:
    """A dataclass from nested tables, with types checked."""
    types = typing.get_type_hints(kind)
    given = {}
    for name, value in values.items():
        label = f"{where}{name}"
        if name not in types:
            known = ", ".join(sorted(types))
            raise InputError(f"The setting {label} is unknown; those that exist here are {known}.")
        wanted = types[name]
        if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
            given[name] = from_values(wanted, value, f"{label}.")
        elif typing.get_origin(wanted) is tuple and isinstance(value, list | tuple):
            if len(value) != len(typing.get_args(wanted)):
                raise InputError(f"The setting {label} needs {len(typing.get_args(wanted))} numbers, got {len(value)}.")
            given[name] = tuple(_number(entry, label) for entry in value)
        elif wanted is float:
            given[name] = _number(value, label)
        elif type(value) is wanted:
            given[name] = value
        else:
            raise _wrong_type(label, wanted, value)
    return kind(**given)


def _number(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(label, float, value)
    return float(value)


def _wrong_type(label: str, wanted: type, value: Any) -> InputError:
    return InputError(f"The setting {label} must be of type {wanted.__name__}, got {value!r}.")
