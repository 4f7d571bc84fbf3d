"""Options for the fields of `MatchSettings`, with their names, choices, help and defaults, for every command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Annotated, Any

import typer

from deepfeatures.features import SMALLEST_PATCH
from deepfeatures.matching.settings import MatchSettings, setting

TYPES = {"patch_size": int, "search_radius_mm": float, "tolerance_mm": float, "seed": int}
LIMITS = {"patch_size": {"min": SMALLEST_PATCH}, "seed": {"min": 0}}
SERIES = typer.Option(
    "--series", help="Of DICOM folders with several: number, UID or description of the series to read."
)
CASES = typer.Argument(
    metavar="CASES", help="Folder of volumes with landmark files of the same name, or a CSV file: volume,landmarks."
)
NAMES = tuple(one.name for one in fields(MatchSettings))


def option_name(name: str) -> str:
    """How a setting is given on the command line: `"--search-radius"` for `"search_radius_mm"`."""
    return "--" + name.removesuffix("_mm").replace("_", "-")


def with_match_settings(command: Callable) -> Callable:
    """A command that takes an option for each setting, for one that takes `settings`, a `MatchSettings`."""

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        values = {name: _plain(given.pop(name)) for name in NAMES}
        defaults = MatchSettings()
        chosen = {name: getattr(defaults, name) if value is None else value for name, value in values.items()}
        return command(settings=MatchSettings(**chosen), **given)

    own = inspect.signature(command, eval_str=True)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != "settings"]
    options = [_parameter(name) for name in NAMES]
    run.__signature__ = own.replace(parameters=_in_order([*kept, *options]))
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in run.__signature__.parameters.values()}
    return run


def option_of(name: str, help_text: str) -> Any:
    """The option of a setting with a help text of its own, for studies, where it may be given several times."""
    return typer.Option(option_name(name), help=help_text, **LIMITS.get(name, {}))


def _parameter(name: str) -> inspect.Parameter:
    known = setting(name)
    option = option_of(name, known["help"])
    kind = _choices(name) or TYPES.get(name, str)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


@functools.cache
def _choices(name: str) -> type[Enum] | None:
    """The choices of a setting as typer wants them; a device may also be a numbered one, so it stays a text."""
    choices = setting(name)["choices"]
    return None if name == "device" or not choices else Enum(name.title(), {one: one for one in choices}, type=str)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _in_order(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """As keywords, so that options may follow those without a default."""
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
