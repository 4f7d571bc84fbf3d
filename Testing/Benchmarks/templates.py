"""What several annotated templates are worth: error with one, three and five of them.

    python Testing/Benchmarks/templates.py hippocampus hippocampus_001 hippocampus_033 hippocampus_097 ...   # five
    python Testing/Benchmarks/templates.py brain 1000 1001 1007 --every 2

The first template is the one that `place` would have alone. Targets are every so many scans that are no template.
"""

from __future__ import annotations

import argparse

import numpy as np
from cases import data_folder, errors, read_case

from deepfeatures.matching import Matcher
from deepfeatures.matching.multi_template import consensus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("templates", nargs="+")
    parser.add_argument("--every", type=int, default=5)
    arguments = parser.parse_args()
    folder = data_folder() / arguments.set
    templates = [read_case(folder / f"{name}.nii.gz") for name in arguments.templates]
    matchers = [Matcher() for _ in templates]
    counts = [count for count in (1, 3, 5) if count <= len(templates)]
    found: dict[int, list[np.ndarray]] = {count: [] for count in counts}
    paths = [p for p in sorted(folder.glob("*.nii.gz")) if p.name.removesuffix(".nii.gz") not in arguments.templates]
    for path in paths[:: arguments.every]:
        target = read_case(path)
        proposals = [
            matcher.match(template.volume, template.landmarks, target.volume).landmarks
            for template, matcher in zip(templates, matchers, strict=True)
        ]
        for count in counts:
            placed = consensus(templates[0].landmarks, proposals[:count])
            found[count].append(errors(placed.positions, target))
    for count, values in found.items():
        known = np.concatenate(values)
        known = known[~np.isnan(known)]
        print(
            f"{arguments.set}, {len(values)} targets, {count} templates: mean {known.mean():.2f}, median"
            f" {np.median(known):.2f}, 95th percentile {np.percentile(known, 95):.2f} mm"
        )


if __name__ == "__main__":
    main()
