"""What each stage of the default search is worth: error and time with one stage off at a time.

    python Testing/Benchmarks/ablation.py brain 1000 --first 5
    python Testing/Benchmarks/ablation.py hippocampus hippocampus_001 --first 40
    python Testing/Benchmarks/ablation.py brain 1000 --first 3 --syn

`--syn` also runs what a user would pick instead, antspyx's SyN with its defaults, on the same targets in the same run.
Prints a table, and writes it as JSON with `--output`. Times are of the whole call a target, on this machine.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from cases import Place, aligned_centres, by, data_folder, read_case, tried
from syn import register

from deepfeatures.matching import Matcher
from deepfeatures.matching.guided.settings import GuidedSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("template")
    parser.add_argument("--first", type=int, help="so many targets")
    parser.add_argument("--syn", action="store_true", help="only the default and SyN")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    folder = data_folder() / arguments.set
    template = read_case(folder / f"{arguments.template}.nii.gz")
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{arguments.template}.nii.gz"]
    if arguments.first:
        paths = paths[:: max(1, len(paths) // arguments.first)][: arguments.first]
    targets = [read_case(path) for path in paths]
    table = []
    for name, place in (rivals() if arguments.syn else stages()).items():
        values, seconds = tried(place, [(template, target) for target in targets])
        known = values[~np.isnan(values)]
        table.append(
            {
                "what": name,
                "mean_mm": round(float(known.mean()), 3),
                "median_mm": round(float(np.median(known)), 3),
                "p95_mm": round(float(np.percentile(known, 95)), 2),
                "missing": int(np.isnan(values).sum()),
                "seconds": round(seconds, 2),
            }
        )
        row = table[-1]
        print(
            f"| {name} | {row['mean_mm']:.2f} | {row['median_mm']:.2f} | {row['p95_mm']:.2f} | {row['missing']} |"
            f" {row['seconds']:.1f} |",
            flush=True,
        )
    if arguments.output:
        arguments.output.write_text(json.dumps({"set": arguments.set, "targets": len(targets), "rows": table}) + "\n")


def stages() -> dict[str, Place]:
    """The default, and the default without one of its stages."""
    whole = GuidedSettings()
    wide, coarse, fine = whole.levels
    alone = {
        "no regularization: each point goes where its block fits best": replace(
            whole,
            levels=tuple(
                replace(level, regularization_weights=tuple(0.0 for _ in level.regularization_weights))
                for level in whole.levels
            ),
        ),
        "no keypoints beside the landmarks": replace(whole, keypoints=0),
        "landmarks are neighbours as all points are": replace(whole, landmarks_sigma=0.0),
        "no displacement field between the levels": replace(whole, uses_field=False),
        "no wide level": replace(whole, levels=(coarse, fine)),
        "no wide and no coarse level": replace(whole, levels=(fine,)),
        "no fine level": replace(whole, levels=(wide, coarse)),
        "one round at the fine level": replace(
            whole, levels=(wide, coarse, replace(fine, search_radii=fine.search_radii[:1]))
        ),
        "no alignment between voxels": replace(whole, sharp=math.inf, sharp_in_group=math.inf),
        "no fine round of the pose": replace(whole, pose=replace(whole.pose, fine=())),
        "no affine pose: translation only": replace(
            whole, pose=replace(whole.pose, coarse=whole.pose.coarse[:1], fine=())
        ),
    }
    return {
        "default": by(Matcher()),
        **{name: by(Matcher(guided=settings)) for name, settings in alone.items()},
        "start at the centres, no test of the pose": by(Matcher(initialization="centres")),
        "greedy instead of guided": by(Matcher(search="dense")),
        "centres aligned, nothing else": aligned_centres,
    }


def rivals() -> dict[str, Place]:
    return {"default": by(Matcher()), "antspyx SyN": register, "centres aligned": aligned_centres}


if __name__ == "__main__":
    main()
