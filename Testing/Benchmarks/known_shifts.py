"""How near alignment comes to known shifts and turns between voxels, beside the parabola of block matching.

    python Testing/Benchmarks/known_shifts.py
    python Testing/Benchmarks/known_shifts.py --output known_shifts.json

Real volumes are resampled by a shift of up to one voxel along each axis and a turn about a random axis. Errors are in
voxels, over all landmarks that lie far enough from the edges. In the first table nobody has told the turn:

- parabola: block matching on whole voxels and a parabola along each axis;
- features: `inverse_compositional.align` from there, on the features of the resampled volume as they are;
- volume: the same, with the volume resampled by the warp so far and encoded anew in each round.

The second table is `place` as it is, which finds the turn first: without alignment, and with it. There the volumes are
two of one person, so that alignment counts nearly in full.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from cases import Case, data_folder, errors, read_case
from doubt_sets import hippocampi

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.features.dense import encode_dense
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.block_matching import (
    ball,
    blocks_at,
    cube,
    distances_of_blocks,
    emphasis,
    sub_voxel_minimum,
)
from deepfeatures.matching.geometry.inverse_compositional import AlignmentModel, AlignmentPrior, align
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.networks.mind import Mind
from deepfeatures.transforms.samplers import sample

SETS = {"brain": ("1000", "1009"), "hippocampus": tuple(hippocampi()[::12])}
TURNS = (0, 5, 10, 15)  # degrees
LAYER, REACH = "ssc_r1_d2", 3  # of the features; voxels to either side that one is computed from
MATCHED, ALIGNED, STEP = 6, 8, 2  # voxels: radii of blocks, as at the finest level of the search, and their step
MARGIN = ALIGNED + REACH + 1  # voxels from the edges
ROUNDS = 8
ENCODER = Mind()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    figures: dict = {"turn unknown": {}, "place": {}}
    print(f"{'':22}{'points':>8}{'parabola':>10}{'features':>10}{'volume':>10}{'ratio':>8}{'turned by':>11}")
    for name in arguments.sets:
        for turn in TURNS:
            found = [unknown_turn(*pair) for pair in resampled_pairs(name, turn)]
            figures["turn unknown"][f"{name} {turn}"] = first_row(name, turn, found)
    print(f"\n{'place':22}{'points':>8}{'without':>10}{'with':>10}{'ratio':>8}{'turned by':>11}")
    for name in arguments.sets:
        for turn in TURNS:
            placed = [by_place(*pair) for pair in resampled_pairs(name, turn)]
            figures["place"][f"{name} {turn}"] = second_row(name, turn, placed)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def resampled_pairs(name: str, turn: float) -> list[tuple[Case, Case, np.ndarray]]:
    random = np.random.default_rng([turn, len(name)])
    cases = (read_case(data_folder() / name / f"{case}.nii.gz") for case in SETS[name])
    return [resampled(case, turn, random) for case in cases]


def resampled(case: Case, turn: float, random: np.random.Generator) -> tuple[Case, Case, np.ndarray]:
    """A case, the same turned and shifted on its own grid, and the turn in voxels, `(3, 3)`.

    Landmarks are kept that lie far enough from the edges in both.
    """
    volume = case.volume
    places = volume.to_index(case.landmarks.positions)
    places = places[~np.isnan(places).any(1)]
    middle, axis = places.mean(0), random.normal(size=3)
    matrix, shift = rotation(axis, np.radians(turn)), random.uniform(-1, 1, 3)
    back = sitk.AffineTransform(3)
    back.SetMatrix(matrix.T.ravel().tolist())
    back.SetCenter(middle.tolist())
    back.SetTranslation((-matrix.T @ shift).tolist())
    image = sitk.GetImageFromArray(volume.voxels.float().numpy())
    lowest = float(volume.voxels.min())
    moved = sitk.GetArrayFromImage(sitk.Resample(image, image, back, sitk.sitkBSpline3, lowest))
    true = (places - middle) @ matrix.T + middle + shift
    last = np.array(volume.size) - 1
    inside = ((np.minimum(places, true) > MARGIN) & (np.maximum(places, true) < last - MARGIN)).all(1)
    target = volume.with_voxels(torch.from_numpy(moved))
    return (
        Case(volume, numbered(volume.to_world(places[inside]))),
        Case(target, numbered(volume.to_world(true[inside]))),
        matrix,
    )


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def numbered(positions: np.ndarray) -> LandmarkSet:
    return LandmarkSet(tuple(Landmark(str(number), tuple(place)) for number, place in enumerate(positions.tolist())))


def unknown_turn(template: Case, target: Case, turn: np.ndarray) -> dict[str, np.ndarray]:
    """Errors in voxels of each way, `(N,)`, and by how many degrees the turn is missed."""
    lowest = float(template.volume.voxels.min())
    scale = 255 / float(template.volume.voxels.max() - lowest)
    images = [(case.volume.voxels.float() - lowest) * scale for case in (template, target)]
    points, true = (
        torch.from_numpy(case.volume.to_index(case.landmarks.positions)).float() for case in (template, target)
    )
    if not len(points):
        return {}
    features = [encoded(image) for image in images]
    patch = ball(MATCHED, STEP)
    starts = points + (true - points).round()
    costs = distances_of_blocks(blocks_at(features[0], points, patch), features[1], starts, 2, patch, emphasis(patch))
    parabola = starts + sub_voxel_minimum(costs)[0]
    wider = ball(ALIGNED, STEP)
    free = AlignmentPrior(torch.zeros_like(points), torch.zeros(len(points)), torch.zeros(len(points)))
    of_features = AlignmentModel.fit(features[0], points, wider, emphasis(wider))
    on_features = align(
        of_features, lambda middles, affine: sample(features[1], warped(middles, affine, wider)), parabola, free, ROUNDS
    )
    on_volume = align(model_of_crops(images[0], points), look_at_volume(images[1]), parabola, free, ROUNDS)
    missed = on_volume.affine.numpy() @ turn.T
    return {
        "parabola": (parabola - true).norm(dim=1).numpy(),
        "features": (parabola + on_features.shifts - true).norm(dim=1).numpy(),
        "volume": (parabola + on_volume.shifts - true).norm(dim=1).numpy(),
        "turned by": degrees(missed),
    }


def warped(middles: torch.Tensor, affine: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
    return middles[:, None] + patch.float() @ affine.mT


def encoded(image: torch.Tensor) -> torch.Tensor:
    return encode_dense(ENCODER, LAYER, image).float()


def crops(image: torch.Tensor, middles: torch.Tensor, affine: torch.Tensor, radius: int) -> torch.Tensor:
    """Features around places in an image resampled about each of them, one crop after another: `(C, N n, n, n)`."""
    side = 2 * radius + 1
    around = sample(image[None], warped(middles, affine, cube(radius)))[..., 0]
    return encoded(around.reshape(len(middles) * side, side, side))


def middles_of(count: int, radius: int) -> torch.Tensor:
    """Where the middles of `crops` are, `(N, 3)`."""
    middles = torch.full((count, 3), float(radius))
    middles[:, 2] += (2 * radius + 1) * torch.arange(count)
    return middles


def model_of_crops(image: torch.Tensor, points: torch.Tensor) -> AlignmentModel:
    patch, radius = ball(ALIGNED, STEP), ALIGNED + REACH + 1
    upright = torch.eye(3).expand(len(points), 3, 3)
    features = crops(image, points, upright, radius)
    return AlignmentModel.fit(features, middles_of(len(points), radius), patch, emphasis(patch))


def look_at_volume(image: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    patch, radius = ball(ALIGNED, STEP), ALIGNED + REACH

    def look(middles: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
        return blocks_at(crops(image, middles, affine, radius), middles_of(len(middles), radius), patch)

    return look


def by_place(template: Case, target: Case, turn: np.ndarray) -> dict[str, np.ndarray]:
    """Errors in voxels of `place` without alignment and with it, and by how many degrees the turn is missed."""
    if not len(template.landmarks):
        return {}
    voxel = float(np.mean(template.volume.spacing))
    found = {}
    for name, settings in (("without", GuidedSettings(sharp=math.inf)), ("with", GuidedSettings())):
        matcher = Matcher(guided=settings)
        placed = matcher.match(template.volume, template.landmarks, target.volume).landmarks
        found[name] = errors(placed.positions, target) / voxel
    world = template.volume.direction @ turn @ template.volume.direction.T
    turned = np.array([np.eye(3) if one.orientation is None else one.orientation for one in placed])
    return {**found, "turned by": degrees(turned @ world.T)}


def degrees(rotations: np.ndarray) -> np.ndarray:
    """Angles of the rotations nearest to matrices `(N, 3, 3)`, `(N,)`."""
    u, _, vt = np.linalg.svd(rotations)
    return np.degrees(np.arccos(np.clip((np.trace(u @ vt, axis1=1, axis2=2) - 1) / 2, -1, 1)))


def first_row(name: str, turn: float, found: list[dict[str, np.ndarray]]) -> dict[str, float]:
    means = {key: float(np.concatenate([one[key] for one in found if one]).mean()) for key in found[0]}
    means["points"] = sum(len(one["volume"]) for one in found if one)
    means["ratio"] = means["parabola"] / means["volume"]
    print(
        f"{name + f' {turn}°':22}{means['points']:8d}{means['parabola']:10.3f}{means['features']:10.3f}"
        f"{means['volume']:10.3f}{means['ratio']:8.1f}{means['turned by']:10.1f}°",
        flush=True,
    )
    return means


def second_row(name: str, turn: float, found: list[dict[str, np.ndarray]]) -> dict[str, float]:
    means = {key: float(np.nanmean(np.concatenate([one[key] for one in found if one]))) for key in found[0]}
    means["points"] = sum(len(one["with"]) for one in found if one)
    means["ratio"] = means["without"] / means["with"]
    print(
        f"{name + f' {turn}°':22}{means['points']:8d}{means['without']:10.3f}{means['with']:10.3f}"
        f"{means['ratio']:8.1f}{means['turned by']:10.1f}°",
        flush=True,
    )
    return means


if __name__ == "__main__":
    main()
