"""Features side by side: each network matches the landmarks of a guided search on every set of development data.

    python Testing/Benchmarks/networks.py [--networks mind/ssc_r1_d2 cifl/fine_ssc] [--hippocampi 33] [--brains 3]
                                          [--draws 2] [--output networks.json]

Everything but the features is that of the defaults; the pose is found by self-similarity for all. Prints the mean error
in mm over all landmarks that were found, how many were not, and the median time of a target, for:

- hippocampus: template 001, targets spread evenly over the others; brain: template 1000, likewise;
- MNI152: see `contrasts.py`: each contrast to itself and to the other, the same draws for all;
- DICOM: T1 to T2 of one patient.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cases import Case, data_folder, errors, read_case
from contrasts import EDGES, TUMOUR, deform, edges, guided, heads

from deepfeatures.io.volume_files import read_volume

NETWORKS = ("mind/ssc_r1_d2", "cifl/fine_ssc", "cifl/fine")
TEMPLATES = {"hippocampus": "hippocampus_001", "brain": "1000"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NETWORK/LAYER")
    parser.add_argument("--hippocampi", type=int, default=33)
    parser.add_argument("--brains", type=int, default=3)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    wanted = {"hippocampus": arguments.hippocampi, "brain": arguments.brains}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.networks:
        matcher = guided(name)
        found: dict[str, list[tuple[np.ndarray, float]]] = {}
        for label, template, target in pairs(wanted, arguments.draws):
            started = time.perf_counter()
            placed = matcher.match(template.volume, template.landmarks, target.volume)
            seconds = time.perf_counter() - started
            found.setdefault(label, []).append((errors(placed.landmarks.positions, target), seconds))
        figures[name] = {label: summary(rows) for label, rows in found.items()}
        for label, values in figures[name].items():
            numbers = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
            print(f"{name} {label}: {numbers}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def pairs(targets: dict[str, int], draws: int) -> Iterator[tuple[str, Case, Case]]:
    """Set, template and target; those of one template come together, so that a matcher reads it once."""
    for name, template_name in TEMPLATES.items():
        folder = data_folder() / name
        template = read_case(folder / f"{template_name}.nii.gz")
        others = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{template_name}.nii.gz"]
        for path in others[:: max(1, len(others) // targets[name])][: targets[name]]:
            yield name, template, read_case(path)
    contrasts = heads()
    deformed = [(name, deform(case, draw)) for draw in range(draws) for name, case in contrasts.items()]
    for template_name, template in contrasts.items():
        for name, case in deformed:
            yield f"MNI152 {template_name} to {name}", template, case
    first, second = (read_volume(path) for path in TUMOUR)
    points = edges(first, EDGES)
    yield "DICOM T1 to T2", Case(first, points), Case(second, points)


def summary(rows: list[tuple[np.ndarray, float]]) -> dict[str, float]:
    """Of the errors and seconds of each target."""
    distances = np.concatenate([row for row, _ in rows])
    return {
        "mean_mm": float(np.nanmean(distances)),
        "median_mm": float(np.nanmedian(distances)),
        "p95_mm": float(np.nanpercentile(distances, 95)),
        "missing": int(np.isnan(distances).sum()),
        "seconds": float(np.median([seconds for _, seconds in rows])),
    }


if __name__ == "__main__":
    main()
