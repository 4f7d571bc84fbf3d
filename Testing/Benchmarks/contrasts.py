"""Landmarks carried from one MRI contrast to the other, by the defaults of `place`.

    python Testing/Benchmarks/contrasts.py mni152 [--draws 10] [--warp 12 --wave 40] [--independent]
    python Testing/Benchmarks/contrasts.py stored [--networks mind/ssc_r1_d2 cifl/fine]
    python Testing/Benchmarks/contrasts.py series [TEMPLATE TARGET]

`mni152`: the template is MNI152 T1 or T2 with its expert points; each target is T1 or T2 after a random affine and a
random smooth deformation, the same draws for all four pairs of contrasts, so that T1 -> T1 tells what the deformation
alone costs; `--warp` and `--wave` draw larger deformations. `stored`: the same volumes with nothing deformed, which
tells what the contrast alone costs, and whether other features see the same. `series`: two series of one patient in
one world, the T1 and T2 of `dicom` unless others are given; the landmarks are strong edges of the first, spread over
it, that lie in the second, too, which is tried as it is and turned.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from cases import Case, data_folder, errors
from scipy.ndimage import gaussian_filter, map_coordinates

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.keypoints import detect_keypoints, subsample
from deepfeatures.matching.settings import BEST_GUIDED

WARP_MM, WAVE_MM = 3.0, 16.0  # of the smooth deformation: standard deviation, and that of the Gaussian that smooths it
TURN_DEG, STRETCH, SHIFT_MM = 15.0, 0.1, 10.0
EDGES = 40  # landmarks of a series
TUMOUR = [data_folder() / "dicom" / f"tumour1_{name}" for name in ("T1", "T2")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("mni152", "stored", "series"))
    parser.add_argument("volumes", nargs="*", type=Path, help="for series: two volumes of one patient")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--warp", type=float, default=WARP_MM, help="for mni152: standard deviation of the warp, mm")
    parser.add_argument("--wave", type=float, default=WAVE_MM, help="for mni152: the Gaussian that smooths it, mm")
    parser.add_argument("--independent", action="store_true", help="for mni152: targets do not help one another")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["/".join(BEST_GUIDED[:2])],
        metavar="NETWORK/LAYER",
        help="for stored: which features",
    )
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    figures = {
        "mni152": lambda: mni152(arguments.draws, arguments.warp, arguments.wave, arguments.independent),
        "stored": lambda: stored(arguments.networks),
        "series": lambda: series(arguments.volumes or TUMOUR, arguments.draws),
    }[arguments.set]()
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def guided(network: str) -> Matcher:
    """The default search with the features of NETWORK/LAYER."""
    name, layer = network.split("/")
    return Matcher(network=name, layer=layer, patch_size=BEST_GUIDED[2], search="guided")


def heads() -> dict[str, Case]:
    """MNI152 in both contrasts, with the same expert points."""
    folder = data_folder() / "mni152"
    points = read_landmarks(next(folder.glob("*.fcsv")))
    return {name: Case(read_volume(next(folder.glob(f"*{name}*.nii.gz"))), points) for name in ("T1", "T2")}


def mni152(draws: int, warp_mm: float, wave_mm: float, independent: bool) -> dict[str, float]:
    """Mean error in mm of each pair of contrasts."""
    templates = heads()
    found: dict[str, list[np.ndarray]] = {}
    matchers = {name: Matcher() for name in templates}  # each keeps its template
    deformed = {
        name: [deform(case, draw, warp_mm, wave_mm) for draw in range(draws)] for name, case in templates.items()
    }
    for template, matcher in matchers.items():
        volume, points = templates[template].volume, templates[template].landmarks
        for target, cases in deformed.items():
            started = time.perf_counter()
            if independent:
                placed = [matcher.match(volume, points, case.volume) for case in cases]
            else:
                placed = matcher.match_together(volume, points, [case.volume for case in cases])
            seconds = (time.perf_counter() - started) / draws
            name = f"{template} -> {target}"
            found[name] = [errors(one.landmarks.positions, case) for one, case in zip(placed, cases, strict=True)]
            print(f"{name}: {text(np.concatenate(found[name]))}, {seconds:.1f} s a target", flush=True)
    means = {name: float(np.nanmean(values)) for name, values in found.items()}
    for name in ("T1 -> T2", "T2 -> T1"):
        print(f"{name} / T1 -> T1: {means[name] / means['T1 -> T1']:.2f}")
    return means


def stored(networks: list[str]) -> dict[str, float]:
    """Mean error in mm of each network from T1 to T2 and back, and how alike the offsets are."""
    cases = heads()
    offsets = {}
    for network in networks:
        for template, target in (("T1", "T2"), ("T2", "T1")):
            matcher = guided(network)
            placed = matcher.match(cases[template].volume, cases[template].landmarks, cases[target].volume)
            name = f"{network} {template} -> {target}"
            offsets[name] = placed.landmarks.positions - cases[target].landmarks.positions
            print(f"{name}: {text(np.linalg.norm(offsets[name], axis=1))}", flush=True)
    found = ~np.isnan(sum(offsets.values())).any(1)
    figures = {name: float(np.nanmean(np.linalg.norm(values, axis=1))) for name, values in offsets.items()}
    for one, other in combinations(offsets, 2):
        alike = float(np.corrcoef(offsets[one][found].ravel(), offsets[other][found].ravel())[0, 1])
        figures[f"{one}, {other}"] = alike
        print(f"correlation of the offsets {one} and {other}: {alike:.2f}")
    return figures


def series(paths: list[Path], draws: int) -> dict[str, float]:
    """Mean error in mm from the first volume to the second, as stored and turned."""
    template, target = (read_volume(path) for path in paths)
    points = shown(edges(template, EDGES), target)
    truth, matcher, found = Case(target, points), Matcher(), {}
    found["as stored"] = errors(matcher.match(template, points, target).landmarks.positions, truth)
    turned = []
    for draw in range(draws):
        random = np.random.default_rng(draw)
        turn, shift = rotation(random, 180.0), random.uniform(-100, 100, 3)
        moved = replace(target, direction=turn @ target.direction, origin=turn @ target.origin + shift)
        placed = matcher.match(template, points, moved).landmarks.positions
        turned.append(np.linalg.norm(placed - (points.positions @ turn.T + shift), axis=1))
    found["turned"] = np.concatenate(turned)
    print(f"slice thickness {max(target.spacing):.1f} mm")
    for name, values in found.items():
        print(f"{name}: {text(values)}")
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def deform(case: Case, seed: int, warp_mm: float = WARP_MM, wave_mm: float = WAVE_MM) -> Case:
    """The same head after a random affine and a random smooth deformation, on the same grid; points move along."""
    random, volume = np.random.default_rng(seed), case.volume
    matrix = rotation(random, TURN_DEG) @ np.diag(1 + random.uniform(-STRETCH, STRETCH, 3))
    shift, size, spacing = random.uniform(-SHIFT_MM, SHIFT_MM, 3), np.array(volume.size), volume.spacing
    waves = [gaussian_filter(random.normal(size=size[::-1]), wave_mm / spacing[::-1]) for _ in range(3)]
    field = np.stack([wave * warp_mm / wave.std() for wave in waves])  # (3, d, h, w), mm along x, y, z of the world
    world = volume.direction @ np.diag(spacing)

    def to_source(points: np.ndarray) -> np.ndarray:
        """From LPS mm of the deformed head to those of the head itself, `(N, 3)`."""
        index = (points - volume.origin) @ np.linalg.inv(world).T
        moved = np.stack([map_coordinates(wave, index[:, ::-1].T, order=1, mode="nearest") for wave in field], 1)
        return (points - volume.centre) @ matrix.T + volume.centre + shift + moved

    grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1).reshape(-1, 3)
    source = (to_source(grid @ world.T + volume.origin) - volume.origin) @ np.linalg.inv(world).T
    voxels = map_coordinates(volume.voxels.numpy(), source[:, ::-1].T, order=1, mode="constant")
    voxels = voxels.reshape(tuple(size)).transpose(2, 1, 0).astype(np.float32)
    return Case(
        volume.with_voxels(torch.from_numpy(np.ascontiguousarray(voxels))),
        LandmarkSet(
            tuple(
                replace(landmark, position=tuple(place))
                for landmark, place in zip(case.landmarks, invert(to_source, case.landmarks.positions), strict=True)
            )
        ),
    )


def invert(function: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """Where a smooth map `(N, 3)` takes the wanted values, by steps that shrink the difference."""
    places = wanted.copy()
    for _ in range(100):
        places = places - 0.8 * (function(places) - wanted)
    if np.abs(function(places) - wanted).max() > 0.01:
        raise ArithmeticError("The deformation could not be inverted to 0.01 mm; draw a smoother one.")
    return places


def edges(volume: Volume, count: int) -> LandmarkSet:
    """The strongest edges of a volume, spread over it."""
    found = subsample(detect_keypoints(volume.voxels / volume.voxels.max()), count).numpy().astype(float)
    return LandmarkSet(tuple(Landmark(f"edge-{k}", tuple(p)) for k, p in enumerate(volume.to_world(found))))


def shown(points: LandmarkSet, volume: Volume) -> LandmarkSet:
    """Those that lie in a volume."""
    inside = volume.contains(points.positions)
    return LandmarkSet(tuple(point for point, is_in in zip(points, inside, strict=True) if is_in))


def rotation(random: np.random.Generator, largest_deg: float) -> np.ndarray:
    """About a random axis, by a random angle of at most `largest_deg`."""
    axis = random.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = math.radians(random.uniform(0, largest_deg))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def text(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return f"all {len(values)} missing"
    return (
        f"mean {known.mean():.2f}, median {np.median(known):.2f}, 95th percentile {np.percentile(known, 95):.2f} mm,"
        f" {len(values) - len(known)} of {len(values)} missing"
    )


if __name__ == "__main__":
    main()
