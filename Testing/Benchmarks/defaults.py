"""What `place` does by default on a set of scans with known landmarks, upright or turned.

    python Testing/Benchmarks/defaults.py brain 1000
    python Testing/Benchmarks/defaults.py brain 1000 --turned      # each target turned at random, up to 180 degrees
    python Testing/Benchmarks/defaults.py brain 1000 --independent  # targets do not help one another
    python Testing/Benchmarks/defaults.py brain 1000 --unaligned    # landmarks are not aligned between voxels
    python Testing/Benchmarks/defaults.py hippocampus hippocampus_001 --search dense
    python Testing/Benchmarks/defaults.py hippocampus hippocampus_033 --network cifl/fine_ssc

A turned target keeps its voxels: its header and its true landmarks are rotated and shifted together, so that nothing is
lost by interpolation. Prints errors in mm over all landmarks, then those of each landmark.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import numpy as np
from cases import Case, aligned_centres, data_folder, errors, read_case

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching import Matcher
from deepfeatures.matching.guided.settings import GuidedSettings

SHIFT_MM = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("template")
    parser.add_argument("--search", choices=("guided", "dense"), default="guided")
    parser.add_argument("--turned", action="store_true")
    parser.add_argument("--independent", action="store_true", help="targets do not help one another")
    parser.add_argument("--unaligned", action="store_true", help="landmarks are not aligned between voxels")
    parser.add_argument("--network", metavar="NETWORK/LAYER", help="features other than the default ones")
    arguments = parser.parse_args()
    folder, random = data_folder() / arguments.set, np.random.default_rng(0)
    template = read_case(folder / f"{arguments.template}.nii.gz")
    settings = GuidedSettings(sharp=math.inf, sharp_in_group=math.inf) if arguments.unaligned else None
    network, layer = (arguments.network or "/").split("/")
    matcher = Matcher(network=network or None, layer=layer or None, search=arguments.search, guided=settings)
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{arguments.template}.nii.gz"]
    targets = [read_case(path) for path in paths]
    initial = [errors(aligned_centres(template, target), target) for target in targets]
    if arguments.turned:
        targets = [turned(target, random) for target in targets]
    started = time.perf_counter()
    if arguments.independent:
        placed = [matcher.match(template.volume, template.landmarks, target.volume) for target in targets]
    else:
        placed = matcher.match_together(template.volume, template.landmarks, [target.volume for target in targets])
    seconds = (time.perf_counter() - started) / len(targets)
    found = [errors(one.landmarks.positions, target) for one, target in zip(placed, targets, strict=True)]
    offsets = [
        one.landmarks.positions - target.landmarks.positions for one, target in zip(placed, targets, strict=True)
    ]
    distances = np.array(found)
    missing, known = int(np.isnan(distances).sum()), distances[~np.isnan(distances)]
    print(
        f"{arguments.set} {arguments.template}: {len(found)} targets, centres aligned {np.mean(initial):.2f} mm;"
        f" mean {known.mean():.2f}, median {np.median(known):.2f}, 95th percentile {np.percentile(known, 95):.2f} mm,"
        f" {missing} missing, {seconds:.1f} s a target"
    )
    if not arguments.turned:
        print(
            f"  without the offset that each landmark has in all the other targets: {np.nanmean(apart(offsets)):.2f} mm"
        )
    for landmark, values in zip(template.landmarks, distances.T, strict=True):
        print(f"  {landmark.name}: {np.nanmean(values):.2f} mm")


def apart(offsets: list[np.ndarray]) -> np.ndarray:
    """Errors in mm once each landmark's mean offset in the other targets is taken off, `(targets, landmarks)`.

    An offset that all targets share lies in the template: in how its landmark was placed, or in what is odd about it.
    """
    rows = np.array(offsets)
    others = (np.nansum(rows, 0) - np.nan_to_num(rows)) / (np.isfinite(rows).sum(0) - np.isfinite(rows)).clip(1)
    return np.linalg.norm(rows - others, axis=2)


def turned(case: Case, random: np.random.Generator) -> Case:
    """The same scan in another place and direction of the world."""
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    shift = random.uniform(-SHIFT_MM, SHIFT_MM, 3)
    volume = replace(
        case.volume, direction=rotation @ case.volume.direction, origin=rotation @ case.volume.origin + shift
    )
    moved = [
        replace(landmark, position=tuple(rotation @ landmark.position + shift)) if landmark.is_defined else landmark
        for landmark in case.landmarks
    ]
    return replace(case, volume=volume, landmarks=LandmarkSet(tuple(moved)))


if __name__ == "__main__":
    main()
