"""How near do curves and surfaces come to where they truly lie in a deformed head, and what does sliding change?

    python Testing/Benchmarks/semi_landmarks.py [--heads 3] [--output semi_landmarks.json]

Curves and a grid follow borders of a made head. The formula of the deformation tells where they lie in the target.
Prints mean distances in mm from the true curve or surface, and from the true places of the points: carried by the
mapping of the search alone, settled by features, and slid.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from deepfeatures.data.semi_landmarks import SemiLandmarks
from deepfeatures.matching import Matcher
from deepfeatures.matching.semi_landmarks import onto_line, onto_surface, slide, smooth_line
from deepfeatures.phantom import make_pair
from deepfeatures.phantom.deformation import Deformation
from deepfeatures.phantom.head import STRUCTURES, Head
from deepfeatures.pipelines.semi_landmarks import Shapes, settle

OUTSIDE_BRAIN = ("air", "soft tissue", "skull")
AROUND = np.linspace(0, 2 * np.pi, 24, endpoint=False)
RAYS = 64  # at a time
OVER = np.linspace(0.1, np.pi - 0.1, 25)
DENSER = 4  # times as many places as points, through which the true curve or surface goes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    rows: dict[str, list[dict[str, tuple[float, float]]]] = {}
    for seed in range(arguments.heads):
        for name, row in of_head(seed).items():
            rows.setdefault(name, []).append(row)
    means = {
        name: {stage: np.mean([one[stage] for one in found], 0).round(2).tolist() for stage in found[0]}
        for name, found in rows.items()
    }
    for name, row in means.items():
        cells = "  ".join(f"{stage} {off:.2f} / {apart:.2f}" for stage, (off, apart) in row.items())
        print(f"{name:36s}{cells}")
    if arguments.output:
        arguments.output.write_text(json.dumps(means, indent=1) + "\n")


def of_head(seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    """For each shape and stage the mean distance from the true shape, and from the true points."""
    template, landmarks, target, _ = make_pair(128, seed)
    head, deformation, matcher = Head(seed), Deformation(seed), Matcher()
    known, dense = shapes_of(head, 1), shapes_of(head, DENSER)
    placed = matcher.match(template, landmarks, target)
    settled = settle(matcher, template, landmarks, target, Shapes(known, ({},) * len(known)))
    found = ~np.isnan(placed.landmarks.positions).any(1)
    marks = landmarks.positions[found], placed.landmarks.positions[found]
    slid = slide(known, settled.places, *marks, settled.expected_errors_mm)
    rows = {}
    for index, shape in enumerate(known):
        true, whole = (in_target(deformation, one[index].positions) for one in (known, dense))
        stages = {"mapped": placed.mapping(shape.positions), "settled": settled.places[index], "slid": slid[index]}
        rows[shape.name] = {stage: distances(shape, places, true, whole) for stage, places in stages.items()}
    return rows


def shapes_of(head: Head, denser: int) -> tuple[SemiLandmarks, ...]:
    """Curves along borders, and a grid on the brain's surface, with so many times more points."""
    around = np.linspace(0, 2 * np.pi, len(AROUND) * denser, endpoint=False)
    over = np.linspace(OVER[0], OVER[-1], len(OVER) * denser)
    axial = np.stack([np.cos(around), np.sin(around), 0 * around], 1)
    sagittal = np.stack([0 * over, np.cos(over), np.sin(over)], 1)
    side = np.linspace(-0.5, 0.5, 6 * denser)
    x, y = (one.ravel() for one in np.meshgrid(side, side))
    upwards = np.stack([0.6 + x, y, 1 + 0 * x], 1)
    in_skull = [name for name in STRUCTURES if name not in OUTSIDE_BRAIN]
    return (
        SemiLandmarks("skull's inner vault, open", "curve", border(head, (1, 0, 20), sagittal, in_skull)),
        SemiLandmarks(
            "left ventricle, closed", "closed curve", border(head, (13, -20, 6), axial, ["left lateral ventricle"])
        ),
        SemiLandmarks("left putamen, closed", "closed curve", border(head, (26, -1, 2), axial, ["left putamen"])),
        SemiLandmarks("left thalamus, closed", "closed curve", border(head, (11.5, 17, 8), axial, ["left thalamus"])),
        SemiLandmarks("skull's inner surface, grid", "surface", border(head, (0, 0, 20), upwards, in_skull)),
    )


def border(head: Head, middle: tuple[float, float, float], directions: np.ndarray, inside: list[str]) -> np.ndarray:
    """Where rays from a point first leave structures, LPS mm, `(N, 3)`."""
    numbers = torch.tensor([STRUCTURES.index(name) for name in inside])
    radii = torch.arange(0, 110, 0.1, dtype=torch.float64)
    unit = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    found = []
    for rays in unit.split(RAYS):
        points = torch.tensor(middle, dtype=torch.float64) + rays[:, None] * radii[:, None]
        is_inside = torch.isin(head.scan(points.reshape(-1, 3).T, 0.1)[1], numbers).reshape(points.shape[:2])
        found.append(points[torch.arange(len(rays)), (~is_inside).int().argmax(1)])
    return torch.cat(found).numpy()


def in_target(deformation: Deformation, points: np.ndarray) -> np.ndarray:
    return deformation.to_target(torch.from_numpy(points.T)).T.numpy()


def distances(shape: SemiLandmarks, places: np.ndarray, true: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Mean distances to the true shape, which goes through many places, and to the points' own true places."""
    found = ~np.isnan(places).any(1)
    if shape.kind == "surface":
        nearest, _ = onto_surface(places[found], whole)
    else:
        nearest, _ = onto_line(places[found], smooth_line(whole, shape.kind == "closed curve"))
    off, apart = (np.linalg.norm(places[found] - one, axis=1).mean() for one in (nearest, true[found]))
    return float(off), float(apart)


if __name__ == "__main__":
    main()
