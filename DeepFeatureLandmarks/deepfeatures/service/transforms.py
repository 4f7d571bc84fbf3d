"""Transforms, as the worker finds, writes and uses them: one file holds one, from template to target points, LPS mm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from deepfeatures.errors import InputError
from deepfeatures.io.transform_files import read_transform, write_transform
from deepfeatures.io.volume_files import write_volume
from deepfeatures.pipelines import warp
from deepfeatures.pipelines.transforms import description_of
from deepfeatures.transforms.fitting import FIELD, KINDS, TransformKind, compare_with_pairs, fit_transform
from deepfeatures.transforms.folding import jacobian_map
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.pairing import pair_by_name
from deepfeatures.transforms.resampling import Resampled, resample

if TYPE_CHECKING:
    from deepfeatures.data.landmarks import LandmarkSet
    from deepfeatures.data.volume import Volume
    from deepfeatures.transforms.transform import Transform


def find(
    kind: str,
    template: Volume,
    target: Volume,
    landmarks: LandmarkSet,
    points: LandmarkSet,
    path: Path,
    mapping: Callable[[], Transform],
) -> dict[str, Any]:
    """Find the transform of a kind, and write it.

    Args:
        kind: See `TransformRequests.transform`, as for the others.
        template: Which the transform covers.
        target: To which it goes.
        landmarks: Of the template.
        points: Of the target.
        path: To write.
        mapping: Returns what the search has found; called where the kind is `"field"`.

    Returns:
        What `protocol.Event` says of `transform`.

    Raises:
        InputError: There is no such kind, the points settle no transform, or the file cannot be written.
    """
    if kind not in (*KINDS, FIELD):
        raise InputError(f"There is no transform of the kind {kind}; choose one of {', '.join((*KINDS, FIELD))}.")
    pairs, box = pair_by_name(landmarks, points), Grid.of(template)
    if kind == FIELD:
        found = compare_with_pairs(mapping(), pairs, box)
    else:
        found = fit_transform(cast(TransformKind, kind), pairs, box)
    description = description_of(template.name, target.name)
    written = write_transform(found.transform, path, template, description)
    return {
        "path": str(path),
        "kind": found.kind,
        "names": list(pairs.names),
        "residuals_mm": found.residuals_mm.tolist(),
        "folded_share": found.folded_share,
        "notes": [note.text for note in found.notes],
        "file_notes": [note.text for note in written],
        "description": description,
    }


def write_again(transform: Path, template: Volume, path: Path, description: str) -> dict[str, Any]:
    """Write the transform of a file in another format; see `TransformRequests.write_transform`."""
    written = write_transform(read_transform(transform), path, template, description)
    return {"path": str(path), "notes": [note.text for note in written]}


def warp_volume(transform: Path, volume: Volume, like: Volume, *, inverse: bool, labels: bool) -> Resampled:
    """A volume on the grid of another one; see `TransformRequests.warp`."""
    known = read_transform(transform)
    return resample(volume, known if inverse else known.inverted(), like, "label" if labels else "linear")


def warp_file(transform: Path, path: Path, output: Path, like: Volume, *, inverse: bool) -> dict[str, Any]:
    """Carry over what a file holds; see `TransformRequests.warp_file`."""
    with TemporaryDirectory() as folder:
        grid = Path(folder) / "like.mha"
        write_volume(like, grid)
        done = warp.warp_file(transform, grid, path, output, inverse=inverse)
    return {"path": str(done.output), "text": done.text, "notes": [note.text for note in done.notes]}


def jacobian(transform: Path, template: Volume) -> Volume:
    """The Jacobian determinant at each voxel of the template."""
    return jacobian_map(read_transform(transform), template)
