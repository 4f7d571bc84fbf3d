"""The report of a run: everything needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deepfeatures.data.landmark_scores import FORMER_NAMES
from deepfeatures.data.notes import joined
from deepfeatures.io.atomic_write import write_text
from deepfeatures.io.provenance import command_line, versions
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.pipelines.place import Outcome


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
            "ambiguous": list(outcome.ambiguous),
            "failure": outcome.failure,
            "note": joined(outcome.notes),
            "notes": [note.as_json() for note in outcome.notes],
            "curves": [] if outcome.shapes is None else list(outcome.shapes.reports),
            "asymmetry": outcome.asymmetry and outcome.asymmetry.report(),
            "report": outcome.report,
        }
        for outcome in outcomes
    ]
    content = {
        "command": command_line(arguments),
        "versions": versions(),
        "settings": asdict(settings),
        "targets": targets,
        "deprecated_keys": FORMER_NAMES,
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
