"""What people read of a transform: its kinds, how near it comes to the points, and where it folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

KINDS = {  # what each is for, the most asked for first
    "tps": ("Thin plate spline", "Meets every point that you have reviewed, and smooths the others by their doubt."),
    "field": (
        "Field of the search",
        "What the search has found between the points, too. Points moved since do not count.",
    ),
    "cpab": ("Diffeomorphic (CPAB)", "Bends without ever folding: it always has an inverse."),
    "bspline": ("B-spline", "A smooth field on a coarse grid."),
    "affine": ("Affine", "Shift, turn, scale and shear."),
    "similarity": ("Similarity", "Shift, turn and one scale."),
    "rigid": ("Rigid", "Shift and turn only: sizes stay."),
}


@dataclass(frozen=True, eq=False)
class TransformSummary:
    """A transform from template to target.

    Args:
        kind: As it was found: a lower one than asked for where the points settle no other.
        names: Of the pairs of points.
        residuals_mm: Of each pair, the distance of the carried point to its target.
        folded_share: Of the template, 0 to 1, in which space is turned inside out.
        notes: What people should know of the fit, phrases.
        fileNotes: What they should know of the file that holds it.
        description: The direction, in words.
    """

    kind: str
    names: tuple[str, ...]
    residuals_mm: np.ndarray
    folded_share: float
    notes: tuple[str, ...] = ()
    fileNotes: tuple[str, ...] = ()
    description: str = ""

    @property
    def asJson(self) -> dict[str, Any]:
        """What `of` reads."""
        known = asdict(self)
        return {**known, "residuals_mm": self.residuals_mm.tolist(), "file_notes": known.pop("fileNotes")}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TransformSummary:
        """Of the worker's result, see `Event`, or of `asJson`."""
        residuals = np.array(content["residuals_mm"], float)
        names, *notes = (tuple(content[name]) for name in ("names", "notes", "file_notes"))
        return cls(content["kind"], names, residuals, content["folded_share"], *notes, content["description"])

    @property
    def residualText(self) -> str:
        """One sentence."""
        if not len(self.residuals_mm):
            return "No point tells how near it comes."
        worst = int(self.residuals_mm.argmax())
        return (
            f"{len(self.names)} points, on average {self.residuals_mm.mean():.1f} mm off,"
            f" at most {self.residuals_mm[worst]:.1f} mm ({self.names[worst]})."
        )

    @property
    def foldText(self) -> str:
        """One sentence."""
        if not self.folded_share:
            return "It folds nowhere."
        share = f"{self.folded_share:.1%}" if self.folded_share >= 0.001 else "less than 0.1%"
        return f"It folds in {share} of the template, where it has no inverse."

    @property
    def noteLines(self) -> list[str]:
        """A sentence a note."""
        return noteSentences(self.notes)

    @property
    def detailLines(self) -> list[str]:
        """A line a point, the largest residual first, and what is to be known of the file."""
        order = np.argsort(-self.residuals_mm, kind="stable")
        points = [f"{self.names[index]}: {self.residuals_mm[index]:.2f} mm" for index in order]
        return [*points, *noteSentences(self.fileNotes)]


def noteSentences(notes: Iterable[str]) -> list[str]:
    """Phrases as sentences."""
    return [f"{note[:1].upper()}{note[1:]}." for note in notes]
