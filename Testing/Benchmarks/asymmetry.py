"""How near does the asymmetry of placed pairs come to that of the pairs that people marked?

    python Testing/Benchmarks/asymmetry.py FOLDER TEMPLATE [--output asymmetry.json]

FOLDER holds volumes with landmark files of the same names, and TEMPLATE is the name of one of them. Prints the mean
length of the true asymmetry, the mean error of the placed one beside what is expected, and that of the template's own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from deepfeatures.data.asymmetry import asymmetry
from deepfeatures.data.symmetric_pairs import find_pairs
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("template")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    known = read_landmarks(arguments.folder / f"{arguments.template}.mrk.json")
    template = read_volume(arguments.folder / f"{arguments.template}.nii.gz")
    matcher, pairs = Matcher(), find_pairs(known)
    rows = []
    for path in sorted(arguments.folder.glob("*.mrk.json")):
        scan = path.name.removesuffix(".mrk.json")
        if scan == arguments.template:
            continue
        placed = matcher.match(template, known, read_volume(arguments.folder / f"{scan}.nii.gz")).landmarks
        found, true = (asymmetry(known, one, pairs) for one in (placed, read_landmarks(path)))
        truth = {pair.left: pair.vector_mm for pair in true.pairs}
        rows += [
            (
                np.linalg.norm(truth[pair.left]),
                np.linalg.norm(pair.vector_mm - truth[pair.left]),
                pair.expected_error_mm,
                np.linalg.norm(pair.template_mm - truth[pair.left]),
            )
            for pair in found.pairs
            if pair.left in truth
        ]
    names = ("true length", "error", "expected error", "error of the template's")
    means = dict(zip(names, np.mean(np.array(rows, float), 0).round(2).tolist(), strict=True))
    print(f"{len(rows)} pairs: " + ", ".join(f"{name} {value:.2f} mm" for name, value in means.items()))
    if arguments.output:
        arguments.output.write_text(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()
