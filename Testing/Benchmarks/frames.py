"""Targets larger or smaller than the template, templates that show a part of the target, and the other way around.

    python Testing/Benchmarks/frames.py sizes [--first 3] [--rival ants-syn]
    python Testing/Benchmarks/frames.py parts [--first 3] [--rival ants-syn]
    python Testing/Benchmarks/frames.py views [--first 3] [--rival ants-syn]
    python Testing/Benchmarks/frames.py tips [--first 40] [--rival ants-syn]

`sizes`: brain 1000 in other brains whose voxels are said to be larger or smaller by a factor; errors are in mm of the
target as it really is. `parts`: a cube around the left hippocampus of brain 1000, with the landmarks that lie in it, in
other whole brains. `views`: brain 1000 in such cubes of other brains. `tips`: the tips of the left hippocampus of brain
1000 in crops around the hippocampus of other people, of another data set, scanner and annotation protocol.

Prints mean and largest error of the landmarks that lie in both, how many of them are missing, and the median seconds of
a target, for the defaults of `place` and, where asked for, a rival of `deepfeatures evaluate`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from cases import Case, Place, by, data_folder, read_case, read_folder, tried

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.matching import Matcher

TEMPLATE, CENTRE = "1000", "L hippocampus centre"
FACTORS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0)
EDGES_MM = (40, 60, 80, 100)
TIPS = {"L hippocampus anterior tip": "head tip", "L hippocampus posterior tip": "tail tip"}  # in brains, and in crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--first", type=int, default=3, help="so many targets")
    parser.add_argument("--rival", choices=BASELINES)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    template, rows = read_case(data_folder() / "brain" / f"{TEMPLATE}.nii.gz"), []
    for name, known, seen, unit in SETS[arguments.set](template, arguments.first):
        methods: dict[str, Place] = {"default": by(Matcher())}
        if arguments.rival:
            methods[arguments.rival] = _by_rival(arguments.rival)
        for method, place in methods.items():
            rows.append({"case": name, "method": method, **_measured(place, known, seen, unit)})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


def sizes(template: Case, first: int) -> Iterator[tuple[str, Case, list[Case], float]]:
    """What is compared: a name, the template, its targets, and how many of their millimetres are a real one."""
    targets = others(first)
    for factor in FACTORS:
        yield f"{factor:g} times the size", template, [enlarged(case, factor) for case in targets], factor


def parts(template: Case, first: int) -> Iterator[tuple[str, Case, list[Case], float]]:
    """As `sizes`."""
    targets = others(first)
    for edge in EDGES_MM:
        part = cube(template, edge)
        yield f"a cube of {edge} mm with {len(part.landmarks)} landmarks", part, targets, 1.0


def views(template: Case, first: int) -> Iterator[tuple[str, Case, list[Case], float]]:
    """As `sizes`."""
    targets = others(first)
    for edge in EDGES_MM:
        seen = [cube(case, edge) for case in targets]
        yield f"cubes of {edge} mm with {sum(len(case.landmarks) for case in seen)} landmarks", template, seen, 1.0


def tips(template: Case, first: int) -> Iterator[tuple[str, Case, list[Case], float]]:
    """As `sizes`."""
    crops = list(read_folder(data_folder() / "hippocampus"))
    for ours, theirs in TIPS.items():
        yield f"the {theirs} in crops", template, [renamed(case, {theirs: ours}) for case in crops[:first]], 1.0


SETS = {"sizes": sizes, "parts": parts, "views": views, "tips": tips}


def others(first: int) -> list[Case]:
    """The first brains but the template."""
    return [case for case in read_folder(data_folder() / "brain") if case.name != TEMPLATE][:first]


def renamed(case: Case, names: dict[str, str]) -> Case:
    """With the landmarks of these names alone, called otherwise."""
    marks = (replace(mark, name=names[mark.name]) for mark in case.landmarks if mark.name in names)
    return replace(case, landmarks=LandmarkSet(tuple(marks)))


def enlarged(case: Case, factor: float) -> Case:
    volume = replace(case.volume, spacing=factor * case.volume.spacing)
    places = volume.to_world(case.volume.to_index(case.landmarks.positions))
    marks = (replace(mark, position=tuple(place)) for mark, place in zip(case.landmarks, places, strict=True))
    return Case(volume, LandmarkSet(tuple(marks)))


def cube(case: Case, edge_mm: float) -> Case:
    """The part of a case around `CENTRE`, with the landmarks that lie two voxels or more inside of it."""
    volume, (middle,) = case.volume, (mark.position for mark in case.landmarks if mark.name == CENTRE)
    index, half = volume.to_index(np.array([middle]))[0], edge_mm / 2 / volume.spacing
    low = np.maximum(np.round(index - half), 0).astype(int)
    high = np.minimum(np.round(index + half), volume.size).astype(int)
    x, y, z = (slice(a, b) for a, b in zip(low, high, strict=True))
    part = replace(
        volume, voxels=volume.voxels[z, y, x].contiguous(), origin=volume.to_world(low[None].astype(float))[0]
    )
    places = part.to_index(case.landmarks.positions)
    inside = ((places >= 2) & (places <= np.array(part.size) - 3)).all(1)
    return Case(part, LandmarkSet(tuple(mark for mark, within in zip(case.landmarks, inside, strict=True) if within)))


def _shared(case: Case, other: Case) -> Case:
    names = {mark.name for mark in other.landmarks}
    return replace(case, landmarks=LandmarkSet(tuple(mark for mark in case.landmarks if mark.name in names)))


def _by_rival(name: str) -> Place:
    return lambda template, target: BASELINES[name].place(template.volume, template.landmarks, target.volume)


def _measured(place: Place, template: Case, targets: list[Case], unit: float) -> dict[str, float]:
    pairs = [(_shared(template, target), _shared(target, template)) for target in targets]
    values, seconds = tried(place, pairs)
    known = values[~np.isnan(values)] / unit
    return {
        "mean_mm": round(float(known.mean()), 2) if len(known) else None,
        "largest_mm": round(float(known.max()), 1) if len(known) else None,
        "missing": len(values) - len(known),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
