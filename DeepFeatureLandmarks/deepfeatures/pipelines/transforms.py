"""Transforms from landmark files: fitted to pairs of points of the same name, and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepfeatures.data.notes import Note
from deepfeatures.transforms.fitting import Fit, TransformKind


@dataclass(frozen=True, eq=False)
class TransformResult:
    """A transform that was fitted to pairs of landmarks and written.

    Args:
        fit: The transform, template points to target points, its residuals and the share of space that it folds.
        names: Of the pairs, in the order of the residuals.
        output: The file.
        notes: What people should know of the files, of the fit, and of what the file holds.
    """

    fit: Fit
    names: tuple[str, ...]
    output: Path
    notes: tuple[Note, ...] = ()


def fit_transform_files(
    template: Path, target: Path, from_: Path, to: Path, kind: TransformKind, output: Path
) -> TransformResult:
    """Fit a transform to landmarks of the same name, and write it whole or not at all.

    Args:
        template, target: Volumes.
        from_: Landmarks of the template.
        to: The same landmarks in the target; points without a position on either side are left out.
        kind: Of the transform.
        output: File to write; its suffix says which program it is for, see `write_transform`.

    Raises:
        InputError: A file cannot be read or written, the points do not lie in their volumes, or they are too few.
    """
