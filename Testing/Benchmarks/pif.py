"""Do filters of each place learn landmarks from fewer people than filters that all places share?

    python Testing/Benchmarks/pif.py [--people 20 60] [--draws 1] [--test-people 50] [--faces] [--output pif.json]

Hippocampi are normalised to template 001 by the matcher. For each number of people, two models learn the five landmarks
with the settings of `deepfeatures train pif`: one with a patch individual filter layer, one with a shared convolution
in its place. A fifth of these people decides when to stop. All are tested on other people, the same for both.

Prints the mean error in the template's millimetres; beside it that of the normalisation alone, and of the mean offset
of those learnt from. Crops of hippocampi give away much by their faces, and both models see those, too: with `--faces`
both learn once more, from which voxels the scan shows and without its intensities.
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
from deepfeatures.training.normalised_scans import TemplateFrame, normalise, points_in_frame
from deepfeatures.training.trainer import run

TEMPLATE = "hippocampus_001"
MODELS = {"pif": RegressionSettings(), "shared": RegressionSettings(patch_size=0)}


@dataclass(frozen=True, eq=False)
class Scan:
    """A normalised scan to learn from or to be tested on, and the same without its intensities."""

    example: Example
    faces: Example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--test-people", type=int, default=50)
    parser.add_argument("--faces", action="store_true", help="learn from the faces of the crops alone, too")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    cases = list(read_folder(data_folder() / "hippocampus"))
    template = next(case for case in cases if case.name == TEMPLATE)
    frame = TemplateFrame.of(template.volume, template.landmarks, RegressionSettings().spacing_mm)
    people = sorted({person(case.name) for case in cases} - {person(TEMPLATE)})
    np.random.default_rng(0).shuffle(people)
    pool, test_people = people[: -arguments.test_people], people[-arguments.test_people :]
    draws = {
        (count, draw): np.random.default_rng(100 + draw).permutation(pool)[:count].tolist()
        for count in arguments.people
        for draw in range(arguments.draws)
    }
    scans = normalised(frame, cases, set(test_people).union(*draws.values()))
    tested, rows = [scan for name in test_people for scan in scans[name]], []
    for (count, draw), chosen in draws.items():
        learnt = [scan for name in chosen for scan in scans[name]]
        figures = measured(frame, learnt, tested, faces=arguments.faces)
        rows.append({"people": count, "draw": draw, **figures})
        print(", ".join(f"{name} {figure:.3g}" for name, figure in rows[-1].items()), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


def normalised(frame: TemplateFrame, cases: Sequence[Case], people: set[int]) -> dict[int, list[Scan]]:
    """The scans of these people by person; those in which the template's anatomy is not found are left out."""
    matcher, scans = Matcher(), {name: [] for name in people}
    for case in cases:
        name = person(case.name)
        if name in people and (scan := normalise(frame, case.volume, matcher)):
            points = points_in_frame(frame, scan.mapping, case.landmarks)
            example = Example(str(name), scan.voxels, points)
            scans[name].append(Scan(example, replace(example, voxels=scan.inside.float() * 2 - 1)))
    return scans


def measured(frame: TemplateFrame, learnt: Sequence[Scan], tested: Sequence[Scan], *, faces: bool) -> dict[str, float]:
    """Mean errors in mm of all ways to place the landmarks of the tested, and the steps that models were trained."""
    examples, truth = [scan.example for scan in learnt], np.stack([scan.example.points for scan in tested])
    offset = np.nanmean([example.points - frame.points for example in split_people(examples)[0]], axis=0)

    def error_mm(points: np.ndarray) -> float:
        return float(np.nanmean(np.linalg.norm(points - truth, axis=2))) * frame.spacing_mm

    found = {"normalised": error_mm(frame.points), "mean offset": error_mm(frame.points + offset)}
    for name, settings in MODELS.items():
        points, found[f"{name} steps"] = placed(frame, examples, [scan.example for scan in tested], settings)
        found[name] = error_mm(points)
        if faces:
            blind = [[scan.faces for scan in group] for group in (learnt, tested)]
            found[f"{name} faces"] = error_mm(placed(frame, *blind, settings)[0])
    return {**found, "pif / shared": found["pif"] / found["shared"]}


def placed(
    frame: TemplateFrame, learnt: Sequence[Example], tested: Sequence[Example], settings: RegressionSettings
) -> tuple[np.ndarray, int]:
    """What a model says of other scans than it has learnt from, in voxels of the frame `(N, L, 3)`, and its steps."""
    examples, held_out = split_people(learnt)
    plan = settings.plan(frame.grid.voxels.shape, frame.points)
    trainer = RegressionTrainer(plan, examples, held_out, settings, Process(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run(trainer, Path(folder))
    trainer.regressor.load_state_dict(trainer.best_weights)
    volumes = torch.stack([example.voxels for example in tested])[:, None]
    return predict(trainer.regressor, volumes).numpy(), trainer.step


if __name__ == "__main__":
    main()
