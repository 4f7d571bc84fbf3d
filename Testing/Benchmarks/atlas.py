"""Scans with labelled regions as a set of cases: the middle of each region is a landmark.

    python Testing/Benchmarks/atlas.py SCANS LABELS SETS/NAME
    DEEPFEATURES_DATA=SETS python Testing/Benchmarks/defaults.py NAME FIRST_SCAN [--turned]
    deepfeatures evaluate SETS/NAME --template FIRST_SCAN --method default --method ants-syn --output-dir OUT

SCANS and LABELS hold NIfTI files of the same names; labels are whole numbers, 0 for none. Regions that not all scans
have are left out.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from cases import region_numbers
from scipy.ndimage import center_of_mass

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import read_volume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scans = sorted(arguments.scans.glob("*.nii.gz"))
    found = [middles(arguments.labels / scan.name) for scan in scans]
    shared = sorted(set.intersection(*map(set, found)))
    for scan, places in zip(scans, found, strict=True):
        landmarks = LandmarkSet(tuple(Landmark(f"region {label}", places[label]) for label in shared))
        shutil.copy(scan, arguments.out)
        write_landmarks(landmarks, arguments.out / scan.name.replace(".nii.gz", ".mrk.json"))
    print(f"{len(scans)} scans with {len(shared)} landmarks each in {arguments.out}")


def middles(path: Path) -> dict[int, tuple[float, float, float]]:
    """LPS mm of the middle of each labelled region."""
    volume = read_volume(path)
    labels = region_numbers(volume)
    wanted = np.unique(labels[labels > 0])
    indices = np.array(center_of_mass(labels > 0, labels, wanted))[:, ::-1]  # of (z, y, x)
    return dict(zip(wanted.tolist(), map(tuple, volume.to_world(indices).tolist()), strict=True))


if __name__ == "__main__":
    main()
