"""Compare dense features by the simplest matching there is: greedy, one window around each landmark, no regularisation.

    python Testing/Benchmarks/features.py cifl.safetensors [other.safetensors …] [--data FOLDER] [--hippocampi 16]

For choosing between networks on development data: what is better here helps any search. The start is the template's
position carried over with the volumes' centres aligned; the truth plays no part in the search.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.networks.cifl import build_cifl, normalise, self_similarity

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Set:
    """Volumes with landmarks: the first is the template. Lengths in voxels, which are 1 mm here."""

    name: str
    folder: str
    cases: tuple[str, ...]
    window: int
    search: int


def cifl(weights: Path, dtype: torch.dtype) -> Encode:
    """Fine features of a network that `deepfeatures train cifl` has trained."""
    network = build_cifl("cifl", load_file(weights)).to(dtype)
    return lambda x: network.maps(normalise(x).to(dtype), coarse=False)["fine"].float()


def greedy(
    template: torch.Tensor, target: torch.Tensor, landmark: np.ndarray, start: np.ndarray, window: int, search: int
):
    """The voxel of `target` whose surroundings look most like those of the template's landmark.

    Args:
        template, target: features `(1, channels, d, h, w)`.
        landmark, start: voxel indices `(z, y, x)` in the template and in the target.
        window: Radius in voxels over which squared feature differences are averaged.
        search: Radius in voxels of the cube around `start` that is searched.
    """
    kernel = _cube(template, np.round(landmark).astype(int), window)
    first = np.round(start).astype(int)
    region = _cube(target, first, search + window)
    ones = torch.ones((1, 1, *kernel.shape[2:]))
    score = 2 * F.conv3d(region, kernel) - F.conv3d(region.square().sum(1, keepdim=True), ones)
    inside = _cube(torch.ones_like(target[:, :1]), first, search, outside=0.0)
    score = torch.where(inside > 0, score, -torch.inf)[0, 0]
    best = np.array(np.unravel_index(int(score.argmax()), score.shape))
    # The landmark lies a fraction of a voxel off the window's centre.
    return best + first - search + landmark - np.round(landmark)


def _cube(features: torch.Tensor, centre: np.ndarray, radius: int, outside: float | None = None) -> torch.Tensor:
    """Features of a cube, replicated beyond the volume (or `outside` there)."""
    result = features
    for axis, middle in enumerate(centre):
        index = torch.arange(int(middle) - radius, int(middle) + radius + 1)
        n = features.shape[2 + axis]
        result = result.index_select(2 + axis, index.clamp(0, n - 1))
        if outside is not None:
            beyond = (index < 0) | (index >= n)
            result.index_fill_(2 + axis, torch.nonzero(beyond)[:, 0], outside)
    return result


def evaluate(encode: Encode, chosen: Set, data: Path) -> tuple[np.ndarray, float]:
    """Errors in mm of all landmarks of all targets, and seconds a volume for encoding."""
    cases = [_load(data / chosen.folder, case) for case in chosen.cases]
    seconds, encoded = [], []
    for volume, _ in cases:
        begun = time.perf_counter()
        with torch.inference_mode():
            encoded.append(encode(volume.voxels[None, None]))
        seconds.append(time.perf_counter() - begun)
    template, points = cases[0]
    errors = []
    for (target, truth), features in zip(cases[1:], encoded[1:], strict=True):
        starts = target.to_index(points.positions - template.centre + target.centre)[:, ::-1]
        sources = template.to_index(points.positions)[:, ::-1]
        true_positions = {point.name: point.position for point in truth if point.is_defined}
        for point, source, start in zip(points, sources, starts, strict=True):
            if point.is_defined and point.name in true_positions:
                found = greedy(encoded[0], features, source, start, chosen.window, chosen.search)
                errors.append(np.linalg.norm(target.to_world(found[None, ::-1])[0] - true_positions[point.name]))
    return np.array(errors), float(np.median(seconds))


def _load(folder: Path, case: str) -> tuple[Volume, object]:
    return read_volume(folder / f"{case}.nii.gz"), read_landmarks(folder / f"{case}.mrk.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="*", help="networks to compare with self-similarity")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DEEPFEATURES_DATA", "../shared/data")))
    parser.add_argument("--hippocampi", type=int, default=16, help="number of hippocampus targets")
    parser.add_argument("--brains", type=int, default=2, help="number of brain targets")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    chosen = parser.parse_args()
    hippocampi = sorted(path.name.removesuffix(".nii.gz") for path in (chosen.data / "hippocampus").glob("*.nii.gz"))
    brains = sorted(path.name.removesuffix(".nii.gz") for path in (chosen.data / "brain").glob("*.nii.gz"))
    # Every twelfth hippocampus: neighbouring numbers are two sides of one person.
    sets = [
        Set("hippocampus", "hippocampus", tuple(hippocampi[:1] + hippocampi[3::12][: chosen.hippocampi]), 6, 10),
        Set("brain", "brain", tuple(brains[: 1 + chosen.brains]), 6, 15),
    ]
    networks: dict[str, Encode] = {"self-similarity": self_similarity}
    for path in chosen.weights:
        networks[str(path)] = cifl(path, getattr(torch, chosen.precision))
    for known in sets:
        for name, encode in networks.items():
            if len(known.cases) > 1:
                errors, seconds = evaluate(encode, known, chosen.data)
                print(
                    f"{known.name} ({len(known.cases) - 1} targets) {name}: mean {errors.mean():.2f} mm,"
                    f" median {np.median(errors):.2f} mm, encoding {seconds:.2f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
