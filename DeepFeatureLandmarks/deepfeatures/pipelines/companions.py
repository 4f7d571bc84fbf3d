"""What is found beside the landmarks of every target: curves, surfaces, the asymmetry of pairs, and the transform."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfeatures.data.asymmetry import Asymmetry, asymmetry
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note
from deepfeatures.data.symmetric_pairs import find_pairs
from deepfeatures.data.volume import Volume
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.pair_files import read_pairs
from deepfeatures.io.transform_files import write_transform
from deepfeatures.pipelines.semi_landmarks import (
    PlacedShapes,
    Settled,
    SettlingMatcher,
    Shapes,
    read_shapes,
    settle,
    write_shapes,
)
from deepfeatures.pipelines.transforms import description_of, found_transform

if TYPE_CHECKING:
    from deepfeatures.pipelines.place import Job, LandmarkResult


@dataclass(frozen=True, eq=False)
class Companions:
    """What is placed and told beside the landmarks.

    Args:
        template, landmarks: As given.
        shapes: Curves and surfaces of the template, `None` where there are none.
        pairs: Names of left and right landmarks.
    """

    template: Volume
    landmarks: LandmarkSet
    shapes: Shapes | None
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, job: Job, template: Volume, landmarks: LandmarkSet) -> Companions:
        """Those of a job.

        Raises:
            InputError: A file of it cannot be used.
        """
        shapes = read_shapes(job.curves, job.surfaces, template) if job.curves or job.surfaces else None
        pairs = read_pairs(job.pairs, landmarks) if job.pairs else find_pairs(landmarks)
        return cls(template, landmarks, shapes, pairs)

    def settled(self, matcher: SettlingMatcher, target: Volume) -> Settled | None:
        """Where features put the points of the shapes in a target."""
        return self.shapes and settle(matcher, self.template, self.landmarks, target, self.shapes)

    def written(self, output: Path, placed: LandmarkSet, settled: Settled | None) -> PlacedShapes | None:
        """The shapes of a target, slid and written."""
        if self.shapes is None or settled is None:
            return None
        return write_shapes(output, self.landmarks, placed, self.shapes, settled)

    def write_transform(self, output: Path | None, target: Path, result: LandmarkResult) -> tuple[Note, ...]:
        """Write the transform that a search has found, where a file is named; what that does not hold is noted."""
        if output is None:
            return ()
        description = description_of(self.template.name, image_stem(target))
        return write_transform(found_transform(result, self.template), output, self.template, description)

    def asymmetry(self, placed: LandmarkSet) -> Asymmetry | None:
        """Of the pairs in a target, `None` where too few are placed."""
        return asymmetry(self.landmarks, placed, self.pairs)
