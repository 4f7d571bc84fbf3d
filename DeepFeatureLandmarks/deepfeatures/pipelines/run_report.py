"""The report of a run: everything needed to repeat it."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import deepfeatures
from deepfeatures.data.scores import FORMER_NAMES
from deepfeatures.io.atomic_write import write_text
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.pipelines.place import Outcome

PACKAGES = ("torch", "numpy", "scipy", "SimpleITK")


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of what results depend on."""
    found = {"deepfeatures": deepfeatures.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return {**found, "platform": platform.platform()}


def write_report(path: Path, arguments: Sequence[str], settings: MatchSettings, outcomes: Sequence[Outcome]) -> None:
    """Write the run as JSON, whole or not at all.

    Args:
        path: The file.
        arguments: What was typed after the program's name.
        settings: As the user gave them; those that the matcher chose stand in each target's own report.
        outcomes: One for each target.
    """
    targets = [
        {
            "target": str(outcome.target),
            "output": str(outcome.output) if outcome.output else None,
            "status": outcome.status,
            "placed": outcome.placed,
            "missing": list(outcome.missing),
            "failure": outcome.failure,
            "note": outcome.note,
            "report": outcome.report,
        }
        for outcome in outcomes
    ]
    content = {
        "command": shlex.join(["deepfeatures", *arguments]),
        "versions": versions(),
        "settings": asdict(settings),
        "targets": targets,
        "deprecated_keys": FORMER_NAMES,
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
