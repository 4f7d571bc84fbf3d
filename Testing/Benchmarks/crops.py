"""Are landmarks that a target does not show reported missing? Part of each target is cut away at random.

    python Testing/Benchmarks/crops.py brain 1000
    python Testing/Benchmarks/crops.py hippocampus hippocampus_001 --first 40

Each target loses 20 to 45 % of its length at one end of one axis. Prints the share of landmarks in the part cut away
that came back missing, the share of those inside that wrongly did, and the error of those inside, beside the error in
the whole target.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from cases import Case, data_folder, errors, read_case

from deepfeatures.matching import Matcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("template")
    parser.add_argument("--first", type=int, help="so many targets")
    parser.add_argument("--cuts", type=int, default=2, help="crops of each target")
    arguments = parser.parse_args()
    folder, matcher, random = data_folder() / arguments.set, Matcher(), np.random.default_rng(0)
    template = read_case(folder / f"{arguments.template}.nii.gz")
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{arguments.template}.nii.gz"]
    outside, missing, found, whole = [], [], [], []
    for path in paths[: arguments.first]:
        target = read_case(path)
        full = errors(matcher.match(template.volume, template.landmarks, target.volume).landmarks.positions, target)
        for _ in range(arguments.cuts):
            case, cut = cropped(target, random)
            placed = matcher.match(template.volume, template.landmarks, case.volume).landmarks.positions
            outside.append(~case.volume.contains(case.landmarks.positions))
            missing.append(np.isnan(placed[:, 0]))
            found.append(errors(placed, case))
            whole.append(full)
            print(
                f"{case.name} {cut}: {(outside[-1] & missing[-1]).sum()} of {outside[-1].sum()} outside missing,"
                f" {(~outside[-1] & missing[-1]).sum()} of {(~outside[-1]).sum()} inside; error of those found inside"
                f" {np.nanmean(found[-1][~outside[-1]]):.2f} mm, in the whole target {full[~outside[-1]].mean():.2f}",
                flush=True,
            )
    out, gone, error, full = (np.concatenate(values) for values in (outside, missing, found, whole))
    print(
        f"outside {out.sum()}: {gone[out].mean():.1%} missing; inside {(~out).sum()}: {gone[~out].mean():.1%} missing,"
        f" error {np.nanmean(error[~out]):.2f} mm (whole targets {full[~out].mean():.2f})"
    )


def cropped(case: Case, random: np.random.Generator) -> tuple[Case, str]:
    """The scan without one end, and what was cut away in words."""
    volume, axis, start = case.volume, int(random.integers(3)), bool(random.integers(2))
    length = volume.size[axis]
    cut = round(length * random.uniform(0.2, 0.45))
    kept = slice(cut, length) if start else slice(0, length - cut)
    voxels = volume.voxels[tuple(kept if 2 - axis == k else slice(None) for k in range(3))].contiguous()
    first = np.eye(3)[axis] * (cut if start else 0)
    origin = volume.origin + volume.direction @ (first * volume.spacing)
    text = f"without {'the first' if start else 'the last'} {cut} of {length} along {'xyz'[axis]}"
    return replace(case, volume=replace(volume.with_voxels(voxels), origin=origin)), text


if __name__ == "__main__":
    main()
