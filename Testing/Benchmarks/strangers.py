"""What is said of volumes that do not show the template's anatomy, or show it in another way?

    python Testing/Benchmarks/strangers.py brain 1000 chest_ct.nii.gz abdomen_mr.nii.gz another_head.nrrd …

For each volume: how the pose was found and how similar the volumes are through it; the consistent share, that of the
points that were matched back to where they came from; how many landmarks were given, and the mean probability stated
for these to be within 3 mm; and the seconds it took. Of another organ none should be given.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from cases import data_folder, read_case

from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("template")
    parser.add_argument("volumes", nargs="+", type=Path)
    arguments = parser.parse_args()
    template, matcher = read_case(data_folder() / arguments.set / f"{arguments.template}.nii.gz"), Matcher()
    for path in arguments.volumes:
        target, started = read_volume(path), time.perf_counter()
        result = matcher.match(template.volume, template.landmarks, target)
        seconds = time.perf_counter() - started
        chances = [landmark.probability_within_3mm for landmark in result.landmarks if landmark.is_defined]
        stated = f", probabilities {np.mean(chances):.0%}" if chances else ""
        share = "of too few points" if result.consistent_share is None else f"{result.consistent_share:.2f}"
        print(
            f"{path.name}: {result.pose.initialization}, similarity {result.pose.similarity:.2f}, consistent share"
            f" {share}, {len(chances)} of {len(result.landmarks)} given{stated}, {seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
