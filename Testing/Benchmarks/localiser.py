"""The localiser beside the rotation search: how often, how well and how fast each finds where a turned target lies.

    deepfeatures train localiser --settings …/recipes/localiser-cpu.toml --out run
    python Testing/Benchmarks/localiser.py run/localiser.safetensors hippocampus hippocampus_001 --first 40
    python Testing/Benchmarks/localiser.py run/localiser.safetensors brain 1000
    python Testing/Benchmarks/localiser.py run/localiser.safetensors hippocampus hippocampus_001 --first 40 --balls

Each target is turned at random, by up to 180 degrees, and shifted, as `defaults.py --turned` does. The turn is known up
to how people lay in the scanner: a start counts as right where its rotation is less than 30 degrees off. From each of
them the pose is refined by keypoints, the same way for all, and carries the landmarks. Prints shares, errors in mm and
seconds, and those of the localiser as ratios to the search's. With `--balls` the localiser sees balls cut out of both
volumes, so that how a crop was cut tells nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from cases import Case, data_folder, read_case
from defaults import turned
from safetensors.torch import load_file

from deepfeatures.data.intensity import scaling
from deepfeatures.features.dense import encode_dense
from deepfeatures.matching.geometry.pyramid import Image, ImagePyramid, SamplingGrid
from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.matching.guided.search import POSE_LAYER
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.pose.initialization import centres_aligned
from deepfeatures.matching.pose.refinement import refine_pose, usable_spacing
from deepfeatures.matching.pose.rotation_search import best_rotation
from deepfeatures.matching.preprocessing import in_canonical_order
from deepfeatures.networks.cifl import normalise
from deepfeatures.networks.localiser import EDGE, Localiser
from deepfeatures.networks.mind import Mind

RIGHT_DEG = 30.0
ROOM = 1.25  # edge of the localiser's cubes, in that of the longest side of both volumes
LOOKS = 2
SETTINGS = GuidedSettings().pose
MIND = Mind()
Start = Callable[[ImagePair, float], torch.Tensor]


@dataclass
class Tally:
    """What one way of starting came to, a target each."""

    off_deg: list[float] = field(default_factory=list)
    errors_mm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def right(self) -> float:
        return float(np.mean(np.array(self.off_deg) < RIGHT_DEG))

    @property
    def mean_mm(self) -> float:
        return float(np.mean(self.errors_mm))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="what a run of `deepfeatures train localiser` left")
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("template")
    parser.add_argument("--balls", action="store_true", help="the localiser sees no corners and faces of the volumes")
    parser.add_argument("--first", type=int, help="only so many targets")
    arguments = parser.parse_args()
    localiser = Localiser().eval().requires_grad_(False)
    localiser.load_state_dict(load_file(arguments.weights))
    folder, random = data_folder() / arguments.set, np.random.default_rng(0)
    template = read_case(folder / f"{arguments.template}.nii.gz")
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{arguments.template}.nii.gz"]
    starts: dict[str, Start] = {
        "centres": lambda pair, _: centres_aligned(pair.template.image, pair.target.image),
        "rotation search": lambda pair, spacing: best_rotation(pair, 1.0, spacing, SETTINGS),
        "localiser": lambda pair, _: localised(pair, localiser, arguments.balls),
    }
    tallies = {name: Tally() for name in starts}
    of_template = pyramid(template, template)
    for path in paths[: arguments.first]:
        upright = read_case(path)
        target = turned(upright, random)
        turn = target.volume.direction @ np.linalg.inv(upright.volume.direction)
        pair = ImagePair(of_template, pyramid(target, template), encode)
        for name, start in starts.items():
            _try(start, pair, template, target, turn, tallies[name])
    print(f"{arguments.set} {arguments.template}: {len(tallies['localiser'].off_deg)} targets")
    for name, tally in tallies.items():
        print(
            f"  {name}: right {tally.right:.0%}, median {np.median(tally.off_deg):.0f} degrees off; pose's mean error"
            f" {tally.mean_mm:.2f} mm, median {np.median(tally.errors_mm):.2f}; start {np.median(tally.seconds):.3f} s"
        )
    ours, rival = tallies["localiser"], tallies["rotation search"]
    print(
        f"  localiser / rotation search: right {ours.right / rival.right:.2f}, mean error"
        f" {ours.mean_mm / rival.mean_mm:.2f}, seconds {np.median(ours.seconds) / np.median(rival.seconds):.2f}"
    )


def localised(pair: ImagePair, localiser: Localiser, balls: bool = False) -> torch.Tensor:
    """Template millimetres to target millimetres `(4, 4)`, as the localiser sees both around their centres."""
    least = float(torch.minimum(pair.template.image.extent.min(), pair.target.image.extent.min()))
    template, target = pair.template.image, pair.target.image
    pose = centres_aligned(template, target)
    spacing = ROOM * float(torch.maximum(template.extent.max(), target.extent.max())) / EDGE
    first = (template.extent - template.spacing) / 2 - (EDGE - 1) / 2 * spacing
    grid = SamplingGrid(spacing, first, (EDGE,) * 3)
    to_mm = torch.diag(torch.tensor([spacing * EDGE / 2] * 3 + [1.0]))
    to_mm[:3, 3] = first + (EDGE - 1) / 2 * spacing
    for _ in range(LOOKS):  # the target itself is resampled anew each time, so that nothing blurs
        seen = [pair.template.resample(grid), pair.target.resample(grid, pose)]
        radius = least / 2 / spacing if balls else EDGE
        views = [_view(voxels, covered & _ball(radius)) for voxels, covered in seen]
        found = torch.eye(4)
        found[:3] = localiser(torch.cat(views)[None])[0]
        pose = pose @ to_mm @ found @ torch.linalg.inv(to_mm)
    return pose


def pyramid(case: Case, template: Case) -> ImagePyramid:
    """A volume as the guided search has it."""
    grid = in_canonical_order(case.volume)
    return ImagePyramid(Image(grid, scaling("percentile", template.volume.voxels)(grid.voxels)))


def encode(voxels: torch.Tensor) -> torch.Tensor:
    return encode_dense(MIND, POSE_LAYER, voxels)


def _ball(radius: float) -> torch.Tensor:
    """Which voxels of a cube lie within so many voxels of its middle."""
    axis = torch.arange(EDGE) - (EDGE - 1) / 2
    return sum(part.square() for part in torch.meshgrid(axis, axis, axis, indexing="ij")) <= radius**2


def _view(voxels: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    return torch.stack([normalise(voxels[None, None])[0, 0], covered.float()])


@torch.inference_mode()
def _try(start: Start, pair: ImagePair, template: Case, target: Case, turn: np.ndarray, tally: Tally) -> None:
    finest = float(pair.template.image.spacing.prod()) ** (1 / 3)
    began = time.perf_counter()
    pose = start(pair, usable_spacing(pair.template.image, SETTINGS.coarse[-1].spacing, finest))
    tally.seconds.append(time.perf_counter() - began)
    tally.off_deg.append(degrees_off(pose, pair, turn))
    for level in (*SETTINGS.coarse, *SETTINGS.fine):
        spacing = usable_spacing(pair.template.image, level.spacing, finest)
        pose = refine_pose(pair, pose, level, spacing, SETTINGS, SETTINGS.prior)
    image = pair.target.image
    placed = image.to_world(apply_affine(pose, pair.template.image.from_world(template.landmarks.positions)))
    tally.errors_mm.append(float(np.nanmean(np.linalg.norm(placed - target.landmarks.positions, axis=1))))


def degrees_off(pose: torch.Tensor, pair: ImagePair, turn: np.ndarray) -> float:
    """Between the rotation of a pose and the turn of the target in the world."""
    template, target = pair.template.image.grid, pair.target.image.grid
    linear = target.direction @ pose[:3, :3].double().numpy() @ np.linalg.inv(template.direction)
    u, _, vt = np.linalg.svd(linear)
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    cosine = (np.trace(rotation @ turn.T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


if __name__ == "__main__":
    main()
