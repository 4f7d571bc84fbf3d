"""Carries a file through a transform: a volume or label map, points and other markups, or a model.

What kind of file it is decides which module carries it. Each of them has one function, from `WarpJob` to `WarpResult`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepfeatures.data.notes import Note
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import is_landmark_file
from deepfeatures.io.model_files import MODEL_SUFFIXES
from deepfeatures.io.transform_files import read_transform
from deepfeatures.transforms.transform import Transform

WarpInterpolation = Literal["auto", "linear", "nearest", "label"]


@dataclass(frozen=True, eq=False)
class WarpJob:
    """One file to carry over.

    Args:
        transform: Points of the input to points of the output, LPS mm: what a transform file holds where the input
            belongs to the template, and its inverse where it belongs to the target.
        like: Volume in whose space the output lies: the target, or the template where the transform is the inverse.
        input: What is carried over.
        output: File to write.
        interpolation: Of volumes; `"auto"` takes `"nearest"` for label maps and `"linear"` for all others.
    """

    transform: Transform
    like: Path
    input: Path
    output: Path
    interpolation: WarpInterpolation = "auto"


@dataclass(frozen=True)
class WarpResult:
    """What was written.

    Args:
        output: The file.
        text: One phrase for people: `"label map with 3 labels, 92 % of the volume covered"`.
        notes: What people should know of the files that were read, and of what could not be carried over exactly.
    """

    output: Path
    text: str
    notes: tuple[Note, ...] = ()


def warp_file(
    transform: Path,
    like: Path,
    input: Path,
    output: Path,
    *,
    inverse: bool = False,
    interpolation: WarpInterpolation = "auto",
) -> WarpResult:
    """Carry a file of the template over to the target, or back, and write it whole or not at all.

    Args:
        transform: File that maps template points to target points, as `read_transform` reads it.
        like: Volume of the space in which the output lies: the target, or the template with `inverse`.
        input: Volume, label map, markups or landmark file, or model.
        output: File to write, of a kind that holds the same.
        inverse: The input belongs to the target, and the output to the template.
        interpolation: See `WarpJob`.

    Raises:
        InputError: A file cannot be read or written, or does not fit the others.
    """
    for path in (transform, like, input):
        if path.resolve() == output.resolve():
            raise InputError(f"the result {output} would replace a file that was given; choose another name")
    mapping = read_transform(transform)
    job = WarpJob(mapping.inverted() if inverse else mapping, like, input, output, interpolation)
    return _warper(input)(job)


def _warper(path: Path) -> Callable[[WarpJob], WarpResult]:
    """What carries a file of its kind."""
    from deepfeatures.pipelines.warp_models import warp_model
    from deepfeatures.pipelines.warp_points import warp_points
    from deepfeatures.pipelines.warp_volume import warp_volume

    if path.suffix.lower() in MODEL_SUFFIXES:
        return warp_model
    return warp_points if is_landmark_file(path) else warp_volume
