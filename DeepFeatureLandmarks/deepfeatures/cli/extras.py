"""Packages that only some commands need."""

from __future__ import annotations

from importlib.util import find_spec

from deepfeatures.errors import InputError


def require_extra(command: str, extra: str, *modules: str) -> None:
    """Raise `InputError`, with the way to install them, where modules that a command needs are not there."""
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        raise InputError(f"{command} needs {', '.join(absent)}; install with pip install '.[{extra}]'")
