"""What greedy search costs and what it gains, on one pair of hippocampus volumes.

    python Testing/Benchmarks/greedy.py --output bench/                # patch, dense, precisions, SyN, growth, devices
    python Testing/Benchmarks/greedy.py --output bench/ --accuracy 10  # also both modes' errors on ten targets (slow)

Writes `greedy.json` and, where matplotlib is there, `greedy.png`. Every measurement runs in a process of its own, so
that its peak memory is its own. Time on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from cases import Case, data_folder, errors, person, read_bundle, read_case, scaled_boxes
from syn import register

from deepfeatures.data.intensity import scale_percentiles
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.features.extractor import Features
from deepfeatures.matching import Matcher
from deepfeatures.matching.devices import device_name, memory_to_use, peak_bytes
from deepfeatures.matching.greedy.candidates import everywhere, in_ball
from deepfeatures.matching.greedy.descriptors import dense_templates, patch_templates
from deepfeatures.matching.greedy.scoring import best_candidates, dense_scores, patch_scores
from deepfeatures.matching.preprocessing import on_common_grid
from deepfeatures.matching.timing import Timer
from deepfeatures.networks import catalog

NETWORK = "vgg19-3d-random"
CELLS = ("conv2_2:20", "conv4_2:32")  # layer and patch size
PATCHES = 200  # encoded one by one to extrapolate patch mode
RADIUS_MM = 5.0
LANDMARKS = (1, 4, 16, 64)
EDGES = (32, 48, 64, 96)  # voxels along each edge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder() / "hippocampus")
    parser.add_argument("--bundle", type=Path, help="read the cases from this .npz file of sweep.py; leaves SyN out")
    parser.add_argument("--template", default="hippocampus_001")
    parser.add_argument("--target", default="hippocampus_003")
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="LAYER:PATCH_SIZE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--accuracy", type=int, default=0, metavar="N", help="targets on which both modes are compared")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.bundle:
        cases = {case.name: case for case in read_bundle(arguments.bundle)}
    else:
        names = [path.name.removesuffix(".nii.gz") for path in sorted(arguments.data.glob("*.nii.gz"))]
        chosen = {arguments.template, arguments.target, *names[: arguments.accuracy + 1]}
        cases = {name: read_case(arguments.data / f"{name}.nii.gz") for name in sorted(chosen)}
    template, target = cases[arguments.template], cases[arguments.target]
    result: dict = {
        "template": template.name,
        "target": target.name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "search": [],
    }
    cells = [
        {"network": NETWORK, "layer": layer, "patch_size": int(size), "device": arguments.device}
        for layer, size in (cell.split(":") for cell in arguments.cells)
    ]
    for cell, precision in product(cells, ("float32", "bfloat16")):
        row = apart(dense_and_patch, template, target, {**cell, "precision": precision})
        result["search"].append(row)
        print(
            f"{title(row)}: dense {row['dense_s']:.2f} s, patch {row['patch_s']:.0f} s"
            f" (extrapolated from {row['patches']} patches), ratio {row['ratio']:.0f},"
            f" error {row['error_mm']:.2f} mm, peak {row['peak_bytes'].get('process', 0) / 2**20:.0f} MiB",
            flush=True,
        )
    if find_spec("ants") and not arguments.bundle:
        result["syn"] = apart(syn, template, target)
        print(f"SyN: {result['syn']['seconds']:.2f} s, error {result['syn']['error_mm']:.2f} mm", flush=True)
    result["landmarks"] = apart(growth_with_landmarks, template, target, cells[0])
    result["voxels"] = apart(growth_with_voxels, template, target, cells[0])
    if torch.cuda.is_available():
        result["cuda"] = apart(devices_agree, template, target, cells[0])
    if arguments.accuracy:
        others = [case for case in cases.values() if person(case.name) != person(template.name)][: arguments.accuracy]
        result["accuracy"] = [apart(accuracy, template, others, cell) for cell in cells]
    (arguments.output / "greedy.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in result if key not in ("search", "syn")}, indent=1))
    if find_spec("matplotlib"):
        plot(result, arguments.output / "greedy.png")


def apart(measure: Callable, *arguments) -> dict:
    """`measure(*arguments)` in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def dense_and_patch(template: Case, target: Case, setting: dict) -> dict:
    """The whole target searched densely, and some of its voxels patch by patch."""
    matcher = Matcher(**setting)
    matcher.match(template.volume, template.landmarks, target.volume)  # plans and template features, once a session
    seconds, placed = _timed(matcher.match, template.volume, template.landmarks, target.volume)
    report = placed.report()
    few = np.random.default_rng(0).choice(target.volume.voxels.numel(), PATCHES, replace=False)
    mask = torch.zeros_like(target.volume.voxels).flatten()
    mask[few.tolist()] = 1
    mask = target.volume.with_voxels(mask.reshape(target.volume.voxels.shape))
    patches = Matcher(**setting, search="patch")
    patches.match(template.volume, template.landmarks, target.volume, mask=mask)
    some_seconds, _ = _timed(patches.match, template.volume, template.landmarks, target.volume, mask=mask)
    voxels = target.volume.voxels.numel()
    patch_s = some_seconds / PATCHES * voxels
    return {
        **setting,
        "device_name": report["device"],
        "voxels": voxels,
        "dense_s": seconds,
        "stages_s": report["seconds"],
        "patches": PATCHES,
        "patches_s": some_seconds,
        "patch_s": patch_s,
        "ratio": patch_s / seconds,
        "error_mm": float(errors(placed.landmarks.positions, target).mean()),
        "positions": placed.landmarks.positions.tolist(),
        "peak_bytes": report["peak_bytes"],
    }


def syn(template: Case, target: Case) -> dict:
    """antspyx SyN with its defaults."""
    seconds, moved = _timed(register, template, target)
    return {
        "seconds": seconds,
        "error_mm": float(errors(moved, target).mean()),
        "peak_bytes": peak_bytes(torch.device("cpu")),
    }


def growth_with_landmarks(template: Case, target: Case, settings: dict) -> dict:
    """Seconds a target against the number of landmarks."""
    depth, height, width = template.volume.voxels.shape
    generator = np.random.default_rng(0)
    seconds = {}
    for count in LANDMARKS:
        indices = generator.uniform(0, np.array([width, height, depth]) - 1, (count, 3))
        points = template.volume.to_world(indices)
        many = LandmarkSet(tuple(Landmark(str(k), tuple(point)) for k, point in enumerate(points)))
        matcher = Matcher(**settings)
        matcher.match(template.volume, many, target.volume)
        seconds[count] = _timed(matcher.match, template.volume, many, target.volume)[0]
    return seconds


def growth_with_voxels(template: Case, target: Case, settings: dict) -> dict:
    """Seconds a target against its number of voxels; the target is stretched in memory to cubes."""
    seconds = {}
    for edge in EDGES:
        voxels = torch.nn.functional.interpolate(target.volume.voxels[None, None], (edge,) * 3)[0, 0]
        cube = replace(target.volume, voxels=voxels)
        matcher = Matcher(**settings)
        matcher.match(template.volume, template.landmarks, cube)
        seconds[edge**3] = _timed(matcher.match, template.volume, template.landmarks, cube)[0]
    return seconds


def devices_agree(template: Case, target: Case, settings: dict) -> dict:
    """The same search on the CPU and on CUDA, in float32."""
    found, seconds = {}, {}
    for device in ("cpu", "cuda"):
        matcher = Matcher(**{**settings, "device": device, "precision": "float32"})
        matcher.match(template.volume, template.landmarks, target.volume)
        seconds[device], found[device] = _timed(matcher.match, template.volume, template.landmarks, target.volume)
    apart_mm = np.linalg.norm(found["cpu"].landmarks.positions - found["cuda"].landmarks.positions, axis=1)
    distances = [[landmark.feature_distance for landmark in found[device].landmarks] for device in ("cpu", "cuda")]
    return {
        "device": device_name(torch.device("cuda")),
        "seconds": seconds,
        "largest_difference_mm": float(apart_mm.max()),
        "largest_relative_difference_of_distances": float(np.max(np.abs(np.divide(*distances) - 1))),
    }


def accuracy(template: Case, targets: list[Case], settings: dict) -> dict:
    """Mean error of both modes within a ball around the box-scaled start."""
    device = torch.device(settings["device"])
    matcher = Matcher(**settings)
    precision = matcher.settings.precision
    encoder = catalog.build(settings["network"], layer=settings["layer"], device=device)
    features = Features(encoder, settings["layer"], settings["patch_size"], precision)
    spacing = float(template.volume.spacing.min())
    grid = on_common_grid(template.volume, spacing)
    indices = grid.to_index(template.landmarks.positions)
    at = np.clip(np.rint(indices), 0, np.array(grid.size) - 1)
    offsets, at = indices - at, torch.from_numpy(at[:, ::-1].astype(np.int64))
    sought = {
        "dense": dense_templates(features, scale_percentiles(grid.voxels).to(device), at),
        "patch": patch_templates(features, grid.voxels.to(device), at),
    }
    found: dict[str, list] = {"start": [], "dense": [], "patch": []}
    common = {"timer": Timer(device), "progress": lambda _: None}
    for target in targets:
        grid = on_common_grid(target.volume, spacing)
        at_start = scaled_boxes(template, target)
        found["start"].append(errors(at_start, target))
        starts = np.ascontiguousarray((grid.to_index(at_start) - offsets)[:, ::-1])
        shape = tuple(grid.voxels.shape)
        candidates = [in_ball(shape, start, RADIUS_MM / spacing) or everywhere(shape) for start in starts]
        scores = {
            "dense": dense_scores(
                features,
                scale_percentiles(grid.voxels).to(device),
                sought["dense"],
                candidates,
                memory_bytes=memory_to_use(device),
                **common,
            ),
            "patch": patch_scores(features, grid.voxels.to(device), sought["patch"], candidates, **common),
        }
        for mode, parts in scores.items():
            voxels = np.array([best.voxel[::-1] for best in best_candidates(parts, sought[mode], starts)])
            found[mode].append(errors(grid.to_world(voxels + offsets), target))
    mean = {mode: float(np.mean(values)) for mode, values in found.items()}
    return {
        "layer": settings["layer"],
        "precision": precision,
        "targets": len(targets),
        "radius_mm": RADIUS_MM,
        "mean_error_mm": mean,
        "dense_over_patch": mean["dense"] / mean["patch"],
    }


def plot(result: dict, path: Path) -> None:
    """Times side by side, and how they grow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    bars = {}
    for row in result["search"]:
        bars[f"dense {title(row)}"] = row["dense_s"], row["error_mm"]
        bars[f"patch* {title(row)}"] = row["patch_s"], None
    if "syn" in result:
        bars["SyN"] = result["syn"]["seconds"], result["syn"]["error_mm"]
    left.barh(list(bars), [seconds for seconds, _ in bars.values()])
    for place, (seconds, error) in enumerate(bars.values()):
        left.text(seconds, place, f" {seconds:.3g} s" + ("" if error is None else f", {error:.2f} mm"), va="center")
    left.set(xscale="log", xlabel="seconds a target", title="one target (* extrapolated)")
    left.set_xlim(right=left.get_xlim()[1] * 30)
    for axes, key in ((middle, "landmarks"), (right, "voxels")):
        axes.plot([int(k) for k in result[key]], list(result[key].values()), "o-")
        axes.set(xscale="log", yscale="log", xlabel=key, ylabel="seconds a target", title=f"growth with {key}")
    figure.savefig(path, dpi=120)


def title(row: dict) -> str:
    return f"{row['layer']} {row['patch_size']}³ {row['precision']}"


def _timed(action: Callable, *arguments, **options) -> tuple:
    """Seconds and result of `action(*arguments, **options)`."""
    start = time.perf_counter()
    result = action(*arguments, **options)
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
