"""Points for ANTs' `antsApplyTransformsToPoints`, `.ants.csv`: LPS mm in the first three columns.

ANTs takes these columns whatever their names, so that a table with the name first would be misread. The name stands as
a comment, which ANTs does not keep. The label is a number, which it does.
"""

from __future__ import annotations

import csv
import io

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.io.landmark_formats.landmark_csv import parse
from deepfeatures.io.landmark_formats.numbering import numbers_of
from deepfeatures.io.landmark_formats.rows import on_one_line

__all__ = ["parse", "render"]


def render(landmarks: LandmarkSet) -> str:
    """The text of the table; points without a position are left out, and the others keep their numbers."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*"xyz", "t", "label", "comment"])
    for number, landmark in zip(numbers_of(landmarks, first=1), landmarks, strict=True):
        if landmark.is_defined:
            writer.writerow([*map(float, landmark.position), 0, number, on_one_line(landmark.name)])
    return buffer.getvalue()
