"""Do points on the border of a region come to lie on the border of the same region in another scan?

    python Testing/Benchmarks/borders.py SCANS LABELS [--rival ants-syn] [--output borders.json]

For regions whose middles no one could point at, such as lungs, which fill and empty: nobody knows which places on two
borders are the same, but a point that left the border is wrong. SCANS and LABELS hold NIfTI files of the same names;
labels are whole numbers, 0 for none. Every scan in turn is the template of all others. Prints distances in mm from the
border.
"""

from __future__ import annotations

import argparse
import json
from itertools import permutations
from pathlib import Path

import numpy as np
from cases import region_numbers
from contrasts import text
from scipy.ndimage import distance_transform_edt, map_coordinates

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher

POINTS = 30  # a region


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--rival", choices=sorted(BASELINES))
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    regions = {path.name: read_volume(path) for path in sorted(arguments.labels.glob("*.nii.gz"))}
    scans = {name: read_volume(arguments.scans / name) for name in regions}
    points = {name: on_borders(labels, random) for name, labels in regions.items()}
    matcher, found = Matcher(), {}
    for template, target in permutations(scans, 2):
        places = {"default": matcher.match(scans[template], points[template], scans[target]).landmarks.positions}
        if arguments.rival:
            places[arguments.rival] = BASELINES[arguments.rival].place(scans[template], points[template], scans[target])
        for name, positions in places.items():
            found.setdefault(name, []).append(from_borders(points[template], positions, regions[target]))
            print(f"{template} in {target}, {name}: {text(found[name][-1])}", flush=True)
    for name, distances in found.items():
        print(f"{name}: {text(np.concatenate(distances))}")
    if arguments.output:
        figures = {name: float(np.nanmean(np.concatenate(distances))) for name, distances in found.items()}
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def on_borders(labels: Volume, random: np.random.Generator) -> LandmarkSet:
    """Random places between a voxel of a region and one beside it that is not; their description is the region."""
    voxels = region_numbers(labels)
    landmarks = []
    for region in np.unique(voxels[voxels > 0]).tolist():
        inside = voxels == region
        faces = []
        for axis in range(3):
            places = np.argwhere(np.diff(inside, axis=axis)).astype(float)
            places[:, axis] += 0.5
            faces.append(places[:, ::-1])  # (x, y, z)
        chosen = random.permutation(np.concatenate(faces))[:POINTS]
        landmarks += [
            Landmark(f"region {region} point {number}", tuple(place), description=str(region))
            for number, place in enumerate(labels.to_world(chosen).tolist(), 1)
        ]
    return LandmarkSet(tuple(landmarks))


def from_borders(points: LandmarkSet, positions: np.ndarray, labels: Volume) -> np.ndarray:
    """Distances in mm of places `(N, 3)` from the border of their point's region, NaN where missing.

    Exact where voxels are cubes.
    """
    voxels = region_numbers(labels)
    sampling, half = labels.spacing[::-1], labels.spacing.mean() / 2  # a border lies between two voxels
    indices = labels.to_index(np.nan_to_num(positions))[:, ::-1].T
    regions = np.array([int(point.description) for point in points])
    distances = np.full(len(positions), np.nan)
    for region in np.unique(regions):
        outside, inside = (distance_transform_edt(side, sampling) for side in (voxels != region, voxels == region))
        signed = np.where(outside > 0, outside - half, half - inside)
        mine = (regions == region) & ~np.isnan(positions).any(1)
        distances[mine] = np.abs(map_coordinates(signed, indices[:, mine], order=1, mode="nearest"))
    return distances


if __name__ == "__main__":
    main()
