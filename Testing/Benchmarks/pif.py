"""Do filters of each place learn landmarks from fewer people than filters that all places share?

    python Testing/Benchmarks/pif.py [--people 20 60] [--draws 2] [--test-people 40] [--output pif.json]

Hippocampi are normalised to template 001 by the matcher. For each number of people, two models learn the five landmarks
with the settings of `deepfeatures train pif`: one with a patch individual filter layer, one with a shared convolution
in its place. A fifth of these people decides when to stop. All are tested on other people, the same for both.

Prints the mean error in mm in the scans; beside it that of the normalisation alone, and of the mean offset of those
learnt from. The last column is a control: the layer learns from which voxels the scan shows, without its intensities.
Crops of hippocampi give away much by their faces, and both models see those, too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from cases import Case, data_folder, person, read_folder

from deepfeatures.matching import Matcher
from deepfeatures.training.distributed import Process
from deepfeatures.training.landmark_regression import (
    Example,
    RegressionSettings,
    RegressionTrainer,
    predict,
    split_people,
)
from deepfeatures.training.normalised_scans import NormalisedScan, TemplateFrame, normalise, points_in_frame
from deepfeatures.training.trainer import run

TEMPLATE = "hippocampus_001"
MODELS = {"pif": RegressionSettings(), "shared": RegressionSettings(patch_size=0)}


@dataclass(frozen=True, eq=False)
class Normalised:
    """A scan in the template's frame, with the case that it was."""

    case: Case
    scan: NormalisedScan
    example: Example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--test-people", type=int, default=40)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    frame, scans, people = normalised(max(arguments.people) + arguments.test_people)
    tested = [one for name in people[-arguments.test_people :] for one in scans[name]]
    pool, rows = people[: -arguments.test_people], []
    print("| people | draw | normalised | mean offset | pif | shared | pif / shared | faces alone, pif |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for count in arguments.people:
        for draw in range(arguments.draws):
            chosen = np.random.default_rng(draw).permutation(pool)[:count]
            row = measured(frame, [one for name in chosen for one in scans[name]], tested)
            rows.append({"people": count, "draw": draw, **row})
            figures = [row[name] for name in ("normalised", "mean offset", "pif", "shared", "ratio", "faces")]
            print(f"| {count} | {draw} | {' | '.join(f'{figure:.2f}' for figure in figures)} |", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


def normalised(count: int) -> tuple[TemplateFrame, dict[int, list[Normalised]], list[int]]:
    """The template's frame, scans of so many people by person, and these people in random order."""
    cases = list(read_folder(data_folder() / "hippocampus"))
    template = next(case for case in cases if case.name == TEMPLATE)
    frame = TemplateFrame.of(template.volume, template.landmarks, RegressionSettings().spacing_mm)
    people = sorted({person(case.name) for case in cases} - {person(TEMPLATE)})
    people = np.random.default_rng(31).permutation(people)[:count].tolist()
    matcher, scans = Matcher(), {}
    for case in cases:
        if person(case.name) in people and (scan := normalise(frame, case.volume, matcher)):
            points = points_in_frame(frame, scan.mapping, case.landmarks)
            example = Example(str(person(case.name)), scan.voxels, points)
            scans.setdefault(person(case.name), []).append(Normalised(case, scan, example))
    return frame, scans, people


def measured(frame: TemplateFrame, learnt: Sequence[Normalised], tested: Sequence[Normalised]) -> dict[str, float]:
    """Mean errors in mm of all ways to place the landmarks of the tested."""
    offset = np.nanmean([one.example.points - frame.points for one in learnt], axis=0)
    found = {
        "normalised": error_mm(frame, tested, [frame.points] * len(tested)),
        "mean offset": error_mm(frame, tested, [frame.points + offset] * len(tested)),
    }
    for name, settings in MODELS.items():
        found[name] = error_mm(frame, tested, placed(frame, learnt, tested, settings))
    found["ratio"] = found["pif"] / found["shared"]
    faces = [[faces_alone(one) for one in group] for group in (learnt, tested)]
    found["faces"] = error_mm(frame, tested, placed(frame, *faces, MODELS["pif"]))
    return {name: round(float(figure), 4) for name, figure in found.items()}


def placed(
    frame: TemplateFrame, learnt: Sequence[Normalised], tested: Sequence[Normalised], settings: RegressionSettings
) -> np.ndarray:
    """What a model that has learnt from some scans says of others, in voxels of the frame, `(N, L, 3)`."""
    examples, held_out = split_people([one.example for one in learnt])
    plan = settings.plan(frame.grid.voxels.shape, frame.points)
    trainer = RegressionTrainer(plan, examples, held_out, settings, Process(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run(trainer, Path(folder))
    trainer.regressor.load_state_dict(trainer.best_weights)
    return predict(trainer.regressor, torch.stack([one.example.voxels for one in tested])[:, None]).numpy()


def faces_alone(one: Normalised) -> Normalised:
    """The same with 1 where the scan has voxels and -1 elsewhere."""
    return replace(one, example=replace(one.example, voxels=one.scan.inside.float() * 2 - 1))


def error_mm(frame: TemplateFrame, tested: Sequence[Normalised], points: Sequence[np.ndarray]) -> float:
    """Mean distance in mm, in the scans themselves, of points given in the frame."""
    return float(
        np.mean(
            [
                np.linalg.norm(one.scan.mapping(frame.grid.to_world(own)) - one.case.landmarks.positions, axis=1)
                for one, own in zip(tested, points, strict=True)
            ]
        )
    )


if __name__ == "__main__":
    main()
