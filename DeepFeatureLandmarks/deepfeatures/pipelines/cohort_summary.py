"""What became of each target of a cohort: the marks of attempts, and the summary."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures import __version__
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.provenance import now

if TYPE_CHECKING:
    import pandas as pd

    from deepfeatures.pipelines.cohort import Cohort

SUMMARY, ATTEMPTS = "summary.csv", "attempts"
MEAN_ERROR = "mean_inverse_consistency_error_mm"
REPORTED = ("alternative_probability", "group_size", "worker", "seconds", "note")  # what a worker tells of a target


def mark_attempt(folder: Path, target: str) -> None:
    """Leave a file of a new number that says which version tries, and when."""
    mark = json.dumps({"version": __version__, "date": now()})
    for number in itertools.count(1):
        with suppress(FileExistsError), (folder / f"{target}.{number}").open("x", encoding="utf-8") as file:
            file.write(mark)
            return


def attempts_of(cohort: Cohort) -> dict[str, list[Path]]:
    """The marks of each target, the last one at the end."""
    marks: dict[str, list[Path]] = {}
    for file in sorted((cohort.output_dir / ATTEMPTS).iterdir(), key=lambda file: int(file.name.rsplit(".", 1)[1])):
        marks.setdefault(file.name.rsplit(".", 1)[0], []).append(file)
    return marks


def made_by(marks: list[Path]) -> dict[str, str]:
    """Version of this package and date of the last attempt, which made the result; version 0.1.0 left empty marks."""
    text = marks[-1].read_text(encoding="utf-8") if marks else ""
    return json.loads(text) if text else {"version": "unknown", "date": ""}


def summary_of(cohort: Cohort, reports: Mapping[str, dict], failures: Mapping[str, str]) -> pd.DataFrame:
    """One row a target: what is in its result, or why it failed.

    Args:
        cohort: That was run.
        reports: By target, what workers have told.
        failures: By target, why it has failed.
    """
    import pandas as pd

    marks, told = attempts_of(cohort), {**_told_before(cohort), **reports}
    failures, rows = dict(failures), []
    for target, path in cohort.targets.items():
        own = marks.get(target, [])
        row = {"target": target, "status": "failed", "attempts": len(own), "placed": 0, "missing": "", "ambiguous": 0}
        if target not in failures:
            try:
                row |= _found_in(cohort.output_of(target)) | told.get(target, {}) | made_by(own)
            except InputError:  # somebody else's doing: ours appear whole
                failures[target] = f"{cohort.output_of(target)} is damaged; delete it and run again"
        rows.append({**row, "failure": failures.get(target, ""), "file": str(path)})
    columns = [
        "target",
        "status",
        "attempts",
        "placed",
        "missing",
        "ambiguous",
        MEAN_ERROR,
        *REPORTED,
        "version",
        "date",
    ]
    # as objects: Arrow's strings, which pandas takes where it finds them, cannot hold names that are not UTF-8
    summary = pd.DataFrame(rows, dtype=object).reindex(columns=[*columns, "failure", "file"])
    types = {"attempts": int, "placed": int, "ambiguous": int, MEAN_ERROR: float, "group_size": "Int64"}
    return summary.astype({**types, "alternative_probability": float, "seconds": float})


def _found_in(result: Path) -> dict:
    """What the summary says of a result."""
    placed = read_landmarks(result)
    errors = [error for one in placed if (error := one.inverse_consistency_error_mm) is not None]
    return {
        "status": "some landmarks missing" if placed.missing else "placed",
        "placed": len(placed) - len(placed.missing),
        "missing": "; ".join(placed.missing),
        "ambiguous": sum(landmark.ambiguous for landmark in placed),
        MEAN_ERROR: np.mean(errors).round(3) if errors else None,
    }


def _told_before(cohort: Cohort) -> dict[str, dict]:
    """What workers told of targets in an earlier run, by its summary; former versions had other columns."""
    import pandas as pd

    try:
        summary = pd.read_csv(cohort.output_dir / SUMMARY, dtype={"target": str, "scan": str})
        summary = summary.rename(columns={"scan": "target", "together_with": "group_size"}).set_index("target")
        return summary.reindex(columns=REPORTED).to_dict("index")
    except (OSError, ValueError, KeyError):  # none, or somebody has changed it
        return {}
