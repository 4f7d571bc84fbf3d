"""Does a head see where the crop ends? Features of another person are put into each crop, as far as it reaches.

    python Testing/Benchmarks/learning_faces.py hippocampus hippocampus_001 --people 80

A crop's faces lie where somebody has put them, and often tell where a landmark is. Here the features within each crop
are those of another person at the same place of the template: nothing but the faces is a person's own. A head that is
taught and tried so must not do better than the offset alone that all people share. Ratios to the error without
learning, mean of eight draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from cases import Case, data_folder, read_case
from doubt_sets import person_of

from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.guided.registration import frame_of
from deepfeatures.matching.learning.landmark_head import fit_head, lessons
from deepfeatures.matching.learning.local_jets import LandmarkFrame
from deepfeatures.matching.learning.protocol import begin_protocol
from deepfeatures.matching.learning.taught_scan import TaughtScan, kept_tensors
from deepfeatures.matching.teaching import teach

DRAWS, COUNTS = 8, (5, 10, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("template")
    parser.add_argument("--people", type=int, default=80)
    arguments = parser.parse_args()
    folder, matcher = data_folder() / arguments.set, Matcher(device="cpu")
    template = read_case(folder / f"{arguments.template}.nii.gz")
    own, frames = [], []
    known = {person_of(arguments.template)}
    for path in sorted(folder.glob("*.nii.gz")):
        target = read_case(path)
        if person_of(target.name) in known or len(own) == arguments.people:
            continue
        known.add(person_of(target.name))
        try:
            own.append(teach(matcher, _protocol(template, matcher), target.volume, target.landmarks))
        except InputError as error:
            print(f"{target.name} is left out: {error}", flush=True)
            continue
        frames.append(_frame(matcher, template, target))
    swapped = _swapped(own, frames)
    for count in COUNTS:
        rows = []
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(len(own))
            rows.append([*ratios(own, order, count), ratios(swapped, order, count)[0]])
        told = zip(("own features", "the shared offset alone", "another person's"), np.mean(rows, 0), strict=True)
        print(f"{count} people: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in told), flush=True)


def _protocol(template: Case, matcher: Matcher):
    return begin_protocol(template.volume, template.landmarks, matcher.features_key)


def _frame(matcher: Matcher, template: Case, target: Case) -> tuple[LandmarkFrame, torch.Tensor]:
    """The target as it lies on the template, and the true places in it."""
    search, request = matcher._guided, matcher._request(template.volume, template.landmarks, target.volume)
    pair, way = search._prepare(request).pair, search.ways(request)[0]
    with torch.inference_mode():
        marks, places = (
            image.from_world(case.landmarks.positions)
            for image, case in ((pair.template.image, template), (pair.target.image, target))
        )
        return frame_of(pair, marks, way.found, places, search._reach, search._settings)[:2]


def _swapped(scans: Sequence[TaughtScan], frames: Sequence[tuple[LandmarkFrame, torch.Tensor]]) -> list[TaughtScan]:
    """The scans with the features of the next person, in their own crops."""
    found = []
    for scan, (frame, true), (other, _) in zip(scans, frames, [*frames[1:], frames[0]], strict=True):
        if frame.target_features.shape == other.target_features.shape:
            mixed = replace(frame, target_features=other.target_features)
            found.append(replace(scan, **kept_tensors(mixed, true)))
        else:
            raise SystemExit("The frames differ in size; give fewer people.")
    return found


def ratios(scans: Sequence[TaughtScan], order: np.ndarray, count: int) -> tuple[float, float]:
    """Mean error by the head, and by the shared offset alone, relative to that without learning."""
    head = fit_head(lessons([scans[index] for index in order[:count]]))
    tests = [scans[index] for index in order[count:]]
    before = torch.stack([one.errors_mm(one.found) for one in tests]).nansum()
    after = torch.stack([one.errors_mm(head.corrected(one.around_found, one.found)) for one in tests]).nansum()
    shifted = torch.stack([one.errors_mm(one.found + head.offset) for one in tests]).nansum()
    return float(after / before), float(shifted / before)


if __name__ == "__main__":
    main()
