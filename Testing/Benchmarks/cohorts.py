"""What `deepfeatures cohort` does with a set of scans with known landmarks, together and each independently.

    python Testing/Benchmarks/cohorts.py hippocampus hippocampus_001
    python Testing/Benchmarks/cohorts.py brain 1000

The whole command runs twice on this machine, the template left out of the scans. Prints errors in mm over all
landmarks, how many scans failed, and seconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cases import data_folder, errors, read_case

from deepfeatures.io.landmark_files import read_landmarks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("template")
    arguments = parser.parse_args()
    folder = data_folder() / arguments.set
    scans = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{arguments.template}.nii.gz"]
    template = ["--template", folder / f"{arguments.template}.nii.gz"]
    template += ["--landmarks", folder / f"{arguments.template}.mrk.json"]
    for options in ([], ["--independent"]):
        with tempfile.TemporaryDirectory() as output:
            command = [sys.executable, "-m", "deepfeatures", "cohort", *scans, *template, "--output-dir", output]
            started = time.perf_counter()
            subprocess.run([*command, *options], stdout=subprocess.DEVNULL, check=False)
            seconds = time.perf_counter() - started
            summary = pd.read_csv(Path(output) / "summary.csv")
            found = [
                errors(read_landmarks(path).positions, read_case(scan))
                for scan in scans
                if (path := Path(output) / scan.name.replace(".nii.gz", ".mrk.json")).exists()
            ]
        known = np.concatenate(found)
        known = known[np.isfinite(known)]
        print(
            f"{arguments.set} {arguments.template} {' '.join(options) or 'together'}: {len(scans)} scans,"
            f" {int((summary.status == 'failed').sum())} failed; mean {known.mean():.2f} mm,"
            f" 95th percentile {np.percentile(known, 95):.2f}; {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
