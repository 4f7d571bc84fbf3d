"""Greedy search over networks, layers, patch sizes and search radii: the errors of every setting on many targets.

    python Testing/Benchmarks/sweep.py --output sweep.csv                 # a fifth of the people, at random
    python Testing/Benchmarks/sweep.py --output sweep.csv --subjects all --settings mind:ssc_r1_d2
    python Testing/Benchmarks/sweep.py --make-bundle hippocampus.npz      # for a machine with torch and numpy only
    python Testing/Benchmarks/sweep.py --bundle hippocampus.npz --device cuda --output sweep.csv

Settings are chosen on "dev" (people whose number is a multiple of five) and confirmed on the rest. A target is encoded
once a layer; patch sizes and radii share the features. Rows that are already in the output are not computed again.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from cases import Case, aligned_centres, data_folder, errors, person, read_bundle, read_folder, write_bundle

from deepfeatures.data.intensity import scale_percentiles
from deepfeatures.features.dense import encode_dense
from deepfeatures.features.extractor import Features
from deepfeatures.features.receptive_window import crop_with_margins
from deepfeatures.matching.devices import choose_device, choose_precision
from deepfeatures.matching.greedy.candidates import everywhere, in_ball
from deepfeatures.matching.greedy.descriptors import dense_templates
from deepfeatures.matching.greedy.distance import distance_maps, mean_distance_maps
from deepfeatures.matching.greedy.scoring import CandidateScores, best_candidates
from deepfeatures.matching.preprocessing import on_common_grid
from deepfeatures.networks import catalog

SETTINGS = (
    "mind:ssc_r1_d2",
    "mind:ssc_r2_d2",
    "mind:mind_r1_d2",
    "vgg19-3d-random:conv1_2",
    "vgg19-3d-random:conv2_2",
    "vgg19-3d-random:conv3_2",
    "vgg19-3d-pseudo:conv1_2",
    "vgg19-3d-pseudo:conv2_2",
)
PATCH_SIZES = (12, 16, 20, 24, 28, 32)
RADII_MM = (0.0, 15.0)  # 0: the whole volume
DEV_EVERY = 5
COLUMNS = ("network", "layer", "patch_size", "radius_mm", "precision", "target", "errors_mm", "encode_s", "match_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder() / "hippocampus")
    parser.add_argument("--bundle", type=Path, help="read the cases from this .npz file")
    parser.add_argument("--make-bundle", type=Path, help="write the cases of --data to this .npz file and stop")
    parser.add_argument("--template", default="hippocampus_001")
    parser.add_argument("--subjects", choices=("dev", "all"), default="dev")
    parser.add_argument("--settings", nargs="+", default=SETTINGS, metavar="NETWORK:LAYER")
    parser.add_argument("--patch-sizes", nargs="+", type=int, default=PATCH_SIZES)
    parser.add_argument("--radii", nargs="+", type=float, default=RADII_MM, metavar="MM", help="0: the whole volume")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--output", type=Path, default=Path("sweep.csv"))
    arguments = parser.parse_args()
    if arguments.make_bundle:
        write_bundle(read_folder(arguments.data), arguments.make_bundle)
        return
    cases = read_bundle(arguments.bundle) if arguments.bundle else read_folder(arguments.data)
    everyone = {case.name: case for case in cases}
    template = everyone[arguments.template]
    targets = [case for case in everyone.values() if person(case.name) != person(template.name)]
    if arguments.subjects == "dev":
        targets = [case for case in targets if person(case.name) % DEV_EVERY == 0]
    initial = np.array([errors(aligned_centres(template, target), target) for target in targets])
    print(f"{len(targets)} targets; centres aligned: {initial.mean():.2f} mm", flush=True)
    rows = read_rows(arguments.output)
    for setting in arguments.settings:
        network, layer = setting.split(":")
        done = {key_of(row) for row in rows}
        grid = list(product(arguments.patch_sizes, arguments.radii))
        left = [case for case in targets if any((network, layer, *sizes, case.name) not in done for sizes in grid)]
        new = (row for row in sweep(template, left, network, layer, arguments) if key_of(row) not in done)
        append_rows(arguments.output, new, rows)
    print(table(rows, {target.name for target in targets}))


def sweep(template: Case, targets: Sequence[Case], network: str, layer: str, arguments) -> Iterator[dict]:
    """A row for each target, patch size and radius."""
    device = choose_device(arguments.device)
    encoder = catalog.build(network, layer=layer, device=device)
    precision = choose_precision(arguments.precision, device, encoder)
    spacing = float(template.volume.spacing.min())
    grid = on_common_grid(template.volume, spacing)
    voxels = scale_percentiles(grid.voxels).to(device)
    indices = grid.to_index(template.landmarks.positions)
    at = np.clip(np.rint(indices), 0, np.array(grid.size) - 1)
    offsets, at = indices - at, torch.from_numpy(at[:, ::-1].astype(np.int64))
    settings = [Features(encoder, layer, size, precision) for size in arguments.patch_sizes]
    sought = [dense_templates(features, voxels, at) for features in settings]
    for target in targets:
        grid = on_common_grid(target.volume, spacing)
        shape = tuple(grid.voxels.shape)
        box = tuple((0, n) for n in shape)
        starts = np.ascontiguousarray((grid.to_index(aligned_centres(template, target)) - offsets)[:, ::-1])
        clock = time.perf_counter()
        seen = encode_dense(encoder, layer, scale_percentiles(grid.voxels).to(device), precision=precision)
        _wait(device)
        encode_s = time.perf_counter() - clock
        for features, maps in zip(settings, sought, strict=True):
            clock = time.perf_counter()
            window = features.window
            around, margins = crop_with_margins(seen, box, window.seen_from(box))
            if features.averaged:
                distances = mean_distance_maps(maps, around, window.count, window.stride, margins=margins).cpu()
            else:
                distances = distance_maps(maps, around, window.stride, margins=margins).cpu()
            match_s = time.perf_counter() - clock
            for radius in arguments.radii:
                scores = []
                for landmark, start in enumerate(starts):
                    part = in_ball(shape, start, radius / spacing) if radius else everywhere(shape)
                    window_of = tuple(slice(a, b) for a, b in part.box)
                    scores.append(CandidateScores(landmark, part.voxels, distances[landmark][window_of][part.allowed]))
                found = np.array([best.voxel[::-1] for best in best_candidates(scores, maps, starts)])
                apart = errors(grid.to_world(found + offsets), target)
                setting = (network, layer, features.patch_size, radius, precision, target.name)
                result = (";".join(f"{error:.3f}" for error in apart), f"{encode_s:.3f}", f"{match_s:.3f}")
                yield dict(zip(COLUMNS, (*setting, *result), strict=True))


def key_of(row: dict) -> tuple:
    """What makes a row the same measurement."""
    return row["network"], row["layer"], int(row["patch_size"]), float(row["radius_mm"]), row["target"]


def read_rows(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_rows(path: Path, new: Iterator[dict], rows: list[dict]) -> None:
    """Write each row as it comes, so that a run that is interrupted goes on where it stopped."""
    begins = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if begins:
            writer.writeheader()
        for row in new:
            writer.writerow(row)
            file.flush()
            rows.append(row)


def table(rows: Sequence[dict], targets: set[str]) -> str:
    """Markdown, the best setting first."""
    groups = defaultdict(list)
    for row in rows:
        if row["target"] in targets:
            groups[key_of(row)[:4]].append(row)
    lines = []
    for (network, layer, size, radius), members in groups.items():
        apart = np.array([[float(e) for e in row["errors_mm"].split(";")] for row in members])
        seconds = np.mean([float(row["encode_s"]) + float(row["match_s"]) for row in members])
        where = f"{radius:g}" if radius else "all"
        numbers = f"{apart.mean():.2f} | {np.median(apart):.2f} | {np.quantile(apart, 0.95):.2f} | {seconds:.2f}"
        lines.append((apart.mean(), f"| {network} | {layer} | {size} | {where} | {len(members)} | {numbers} |"))
    head = "| network | layer | patch | radius mm | targets | mean mm | median | p95 | s a target |\n|" + "---|" * 9
    return "\n".join([head, *(line for _, line in sorted(lines))])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
