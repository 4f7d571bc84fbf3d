"""What other programs make of our transform files: the same points and the same warped volume, or not.

    python Testing/Benchmarks/transform_readers.py OUT [--kinds rigid … field] [--readers simpleitk …]

Brain 1000 onto 1001, whose world origins are 40 mm apart, so that a wrong direction shows. For each kind of transform
and each reader it writes the file that our documentation names for that reader, lets the reader carry points of the
template to the target and resample a volume of the target on the template's grid, and prints in mm how far that is from
what the file says. The volume holds its own coordinates, so that its warped voxels are places. Then how far the file is
from the transform itself, where that had to be sampled. Writes OUT/transform_readers.json. Needs the extra
`evaluation` and slicer-core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from cases import Case, data_folder, read_case
from transform_reading import READERS, Reader

from deepfeatures.data.volume import Volume
from deepfeatures.io.transform_files import read_transform, write_transform
from deepfeatures.matching import Matcher
from deepfeatures.transforms.fitting import fit_transform
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.pairing import pair_by_name
from deepfeatures.transforms.transform import Transform

KINDS = ("rigid", "similarity", "affine", "tps", "bspline", "cpab", "field")
PLACES, GRID_MM, TARGET_MM, BORDER_MM = 400, 6.0, 4.0, 25.0


@dataclass(frozen=True, eq=False)
class Question:
    """What every reader is asked.

    Args:
        places: Points of the template, LPS mm, `(N, 3)`.
        grid: Onto which the target is resampled.
        coordinates: Three volumes in the target's space, whose voxels are L, P and S.
    """

    places: np.ndarray
    grid: Volume
    coordinates: tuple[sitk.Image, ...]

    @classmethod
    def of(cls, template: Volume, target: Volume) -> Question:
        inside = template.to_world(np.random.default_rng(1).random((PLACES, 3)) * (np.array(template.size) - 1))
        return cls(inside, template.resampled(GRID_MM), _coordinates(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    template, target = (read_case(data_folder() / "brain" / f"{name}.nii.gz") for name in ("1000", "1001"))
    question = Question.of(template.volume, target.volume)
    rows = []
    for kind in arguments.kinds:
        transform = find(kind, template, target)
        for name in arguments.readers:
            rows.append({"kind": kind, "reader": name, **ask(READERS[name], kind, transform, question, arguments.out)})
            print(line(rows[-1]), flush=True)
    (arguments.out / "transform_readers.json").write_text(json.dumps(rows, indent=1))
    print(markdown(rows))


def find(kind: str, template: Case, target: Case) -> Transform:
    """A transform from template to target."""
    if kind == "field":
        found = Matcher().match(template.volume, template.landmarks, target.volume)
        return found.mapping.transform(template.volume)
    pairs = pair_by_name(template.landmarks, target.landmarks)
    return fit_transform(kind, pairs, Grid.of(template.volume)).transform


def ask(reader: Reader, kind: str, transform: Transform, question: Question, out: Path) -> dict:
    """How far a reader is from the file, and the file from the transform, mm; or what it says."""
    path = out / f"{kind}{reader.suffix(kind)}"
    write_transform(transform, path, question.grid)
    stated = read_transform(path)
    sampled = np.linalg.norm(stated(question.places) - transform(question.places), axis=1)
    row = {"file": path.suffix if path.suffix != ".gz" else ".nii.gz", "sampling_mm": float(sampled.max())}
    try:
        points = reader.points(path, question.places)
        warped = reader.warp(path, question.coordinates, question.grid)
    except Exception as error:
        return {**row, "said": f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"}
    off = np.linalg.norm(points - stated(question.places), axis=1)
    voxels = Grid.of(question.grid).points()
    expected = stated(voxels)
    seen = warped.reshape(-1, 3)
    is_known = _is_inside(question.coordinates[0], expected) & np.isfinite(seen).all(1)
    in_volume = np.linalg.norm(seen - expected, axis=1)[is_known]
    return {**row, "points_mm": float(off.max()), "volume_mm": float(in_volume.max()), "voxels": int(is_known.sum())}


def line(row: dict) -> str:
    told = row.get("said") or f"points {row['points_mm']:.1e} mm, volume {row['volume_mm']:.1e} mm ({row['voxels']})"
    return f"{row['kind']:10} {row['reader']:12} {row['file']:8} {told}; sampling {row['sampling_mm']:.1e} mm"


def markdown(rows: list[dict]) -> str:
    """The table for the documentation."""
    readers = list(dict.fromkeys(row["reader"] for row in rows))
    lines = ["| kind | " + " | ".join(readers) + " |", "|---" * (1 + len(readers)) + "|"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        cells = [_cell(next(row for row in rows if (row["kind"], row["reader"]) == (kind, name))) for name in readers]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: dict) -> str:
    if "said" in row:
        return f"`{row['file']}`: cannot read"
    worst = max(row["points_mm"], row["volume_mm"])
    return f"`{row['file']}` {'< 0.001' if worst < 1e-3 else format(worst, '.3f')}"


def _coordinates(target: Volume) -> tuple[sitk.Image, ...]:
    """Volumes that reach beyond the target: linear interpolation of coordinates is exact."""
    grid = Grid.of(target).padded(BORDER_MM).with_spacing(TARGET_MM)
    places = grid.points().reshape(*grid.size[::-1], 3)
    images = []
    for axis in range(3):
        image = sitk.GetImageFromArray(places[..., axis])
        image.SetOrigin(grid.origin.tolist())
        image.SetSpacing(grid.spacing.tolist())
        image.SetDirection(grid.direction.ravel().tolist())
        images.append(image)
    return tuple(images)


def _is_inside(image: sitk.Image, points: np.ndarray) -> np.ndarray:
    """Which points lie a voxel or more within an image."""
    grid = Grid(
        np.array(image.GetOrigin()),
        np.array(image.GetSpacing()),
        np.reshape(image.GetDirection(), (3, 3)),
        image.GetSize(),
    )
    index = grid.to_index(points)
    return ((index >= 1) & (index <= np.array(grid.size) - 2)).all(1)


if __name__ == "__main__":
    main()
