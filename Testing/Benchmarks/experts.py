"""The same points, put into other heads by other experts: found from T1, and from T2?

    python Testing/Benchmarks/experts.py VOLUME POINTS [VOLUME POINTS …] [--rival ants-syn] [--output experts.json]

The templates are MNI152 T1 and T2, which share their 32 expert points (AFIDs); every volume comes with the points that
experts put into it, under the same names in the same order. Prints the errors in mm, their median along the three axes
(left, back, up), which would tell a volume and points that lie apart, and what was stated: the mean expected error, and
the mean chance to be within 3 mm beside the share that was; and landmarks that were far off, with their chance.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from cases import Case, errors
from contrasts import heads, text

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher

FAR_MM = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="VOLUME POINTS")
    parser.add_argument("--rival", choices=sorted(BASELINES))
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    pairs = zip(arguments.files[::2], arguments.files[1::2], strict=True)
    targets = [Case(read_volume(volume), read_landmarks(points)) for volume, points in pairs]
    figures = {}
    for contrast, template in heads().items():
        matcher = Matcher()
        for target in targets:
            if [a.name for a in template.landmarks] != [b.name for b in target.landmarks]:
                parser.error(f"The points of {target.name} have other names than those of MNI152.")
            placed = matcher.match(template.volume, template.landmarks, target.volume).landmarks
            found = {f"{contrast} in {target.name}": placed.positions}
            if arguments.rival:
                rival = BASELINES[arguments.rival].place(template.volume, template.landmarks, target.volume)
                found[f"{contrast} in {target.name}, {arguments.rival}"] = rival
            for name, positions in found.items():
                figures[name] = float(np.nanmean(errors(positions, target)))
                print(told(name, positions, target))
            print(stated(placed, target), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def told(name: str, positions: np.ndarray, target: Case) -> str:
    x, y, z = np.nanmedian(positions - target.landmarks.positions, axis=0)
    return f"{name}: {text(errors(positions, target))}, median along the axes {x:.1f}, {y:.1f}, {z:.1f} mm"


def stated(placed: LandmarkSet, target: Case) -> str:
    seen = errors(placed.positions, target)
    given = [landmark for landmark in placed if landmark.is_defined]
    far = [
        f", {landmark.description or landmark.name} {error:.0f} mm off ({landmark.probability_within_3mm:.0%})"
        for landmark, error in zip(placed, seen, strict=True)
        if error > FAR_MM
    ]
    chances = [landmark.probability_within_3mm for landmark in given]
    return (
        f"  stated {np.mean([landmark.expected_error_mm for landmark in given]):.2f} mm, within 3 mm"
        f" {np.mean(chances):.0%} ({np.mean(seen[~np.isnan(seen)] < 3):.0%})" + "".join(far)
    )


if __name__ == "__main__":
    main()
