"""How good annotated scans are as templates, as both faces show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from DeepFeatureLandmarksLib.scene.place_request import NAMES_SHOWN
from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmark_scores import Score

FOLDER = "template_check"  # beside the scans, for what is written

# Columns of the table, fields of `TemplateRow`.
COLUMNS = (
    Score(
        "mean_error_mm", "Error", "Mean distance in mm of its placed points from a person's", "mm", ".2f", "Error mm"
    ),
    Score(
        "error_without_offsets_mm",
        "Error if corrected",
        "What would be left in mm if its points lay where the other scans have them",
        "mm",
        ".2f",
        "If corrected",
    ),
)


@dataclass(frozen=True)
class TemplateRow:
    """One scan as a template; an error that is not known is `None`.

    Args:
        name: Of the scan.
        mean_error_mm: Of its points in other scans.
        error_without_offsets_mm: The same without what is its own labelling.
        unlike: The first names of landmarks that are labelled unlike the others', the worst first.
        advice: On this scan.
        details: A sentence on each landmark.
    """

    name: str
    mean_error_mm: float | None
    error_without_offsets_mm: float | None
    unlike: str
    advice: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class TemplateCheck:
    """What was found.

    Args:
        advice: Which template to take.
        rows: The best first.
        notes: On how files were read, sentences without full stop.
        folder: With the tables.
    """

    advice: str
    rows: tuple[TemplateRow, ...]
    notes: tuple[str, ...]
    folder: Path


def templateCheck(content: Mapping, folder: Path) -> TemplateCheck:
    """What the worker has found and written to a folder; see `quality.template_report.as_json`."""
    rows = tuple(
        TemplateRow(
            row["template"],
            row["mean_error_mm"],
            row["error_without_offsets_mm"],
            names_text(_unlike(row["landmarks"]), NAMES_SHOWN),
            row["advice"],
            tuple(landmark["sentence"] for landmark in row["landmarks"]),
        )
        for row in content["templates"]
    )
    return TemplateCheck(content["advice"], rows, tuple(note["text"] for note in content["notes"]), folder)


def _unlike(landmarks: Iterable[Mapping]) -> list[str]:
    """Names of those that are labelled unlike the others', the worst first."""
    unlike = (landmark for landmark in landmarks if landmark["unlike"])
    return [landmark["landmark"] for landmark in sorted(unlike, key=lambda landmark: -landmark["offset_mm"])]
