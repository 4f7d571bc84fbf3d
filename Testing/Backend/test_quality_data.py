"""Faults planted in real landmark files: found, and few good points flagged beside them.

Each person's points are judged by what was learned from the other people alone. Counted are single points: found is a
error whose every point is flagged; a false alarm is a flagged point that was left as it was.
"""

import itertools
from collections import Counter

import numpy as np
import pytest

from deepfeatures.io.landmark_files import read_landmarks

pytest.importorskip("pandas")
pytest.importorskip("scipy")

from deepfeatures.quality import find_annotation_errors, fit_reference_model

pytestmark = pytest.mark.data
SLIP_MM = 5.0
FOUND, FALSE_ALARMS = 0.95, 0.05  # mean share of the kinds of annotation_errors; share of good points
FINDABLE_FOUND = 0.93  # of slips of landmarks of which the model promises 0.95


def read_positions(folder):
    files = sorted(folder.glob("*.mrk.json"))
    sets = [read_landmarks(file) for file in files]
    names = tuple(landmark.name for landmark in sets[0])
    return names, np.stack([one.positions for one in sets]), [file.name.removesuffix(".mrk.json") for file in files]


def swapped(points, names, index, generator):
    other = (index + generator.integers(1, len(names))) % len(names)
    points[[index, other]] = points[[other, index]]
    return {names[index], names[other]}


def slipped(points, names, index, generator):
    direction = generator.normal(size=3)
    points[index] += SLIP_MM * direction / np.linalg.norm(direction)
    return {names[index]}


def missing(points, names, index, generator):
    points[index] = np.nan
    return {names[index]}


def on_the_wrong_side(points, names, index, generator):
    """A point where its counterpart of the other side belongs; the whole set where the landmark has none."""
    side, _, place = names[index].partition(" ")
    if side not in ("L", "R"):
        points[:, 0] *= -1
        return {""}
    counterpart = names.index({"L": "R", "R": "L"}[side] + " " + place)
    points[index] = points[counterpart] + generator.normal(scale=0.5, size=3)
    return {names[index]}


PLANTED = (swapped, slipped, missing, on_the_wrong_side)


class Tally:
    """Counts of errors found and of good points flagged; slips apart where the model says that they can be found."""

    def __init__(self):
        self.planted, self.found = Counter(), Counter()
        self.good = self.flagged = 0

    def plant(self, model, points, estimate, indices, generator):
        detectable_shifts_mm = model.detectable_shifts_mm()
        for plant, index in itertools.product(PLANTED, indices):
            faulty = points.copy()
            wrong = plant(faulty, model.names, index, generator)
            flagged = {error.landmark for error in find_annotation_errors(model, faulty, estimate)}
            kinds = [plant.__name__]
            if plant is slipped and detectable_shifts_mm[index] <= SLIP_MM:
                kinds.append("findable slip")
            self.planted.update(kinds)
            self.found.update(kinds if wrong <= flagged else [])
            self.good += len(model.names) - len(wrong - {""})
            self.flagged += len(flagged - wrong)

    def check(self):
        shares = {kind: round(self.found[kind] / self.planted[kind], 3) for kind in self.planted}
        alarms = self.flagged / self.good
        print(f"found {shares}, false alarms {alarms:.3f} of {self.good} good points")
        assert alarms <= FALSE_ALARMS
        assert np.mean([shares[plant.__name__] for plant in PLANTED]) >= FOUND
        assert shares["findable slip"] >= FINDABLE_FOUND


def test_faults_in_hippocampi_are_found_by_the_points_alone(data):
    names, positions, cases = read_positions(data / "hippocampus")
    person = np.array([(int(case.rsplit("_", 1)[1]) + 1) // 2 for case in cases])  # two sides of one person
    nobody, tally, generator = np.full_like(positions, np.nan), Tally(), np.random.default_rng(0)
    groups = np.unique(person, return_inverse=True)[1] % 10
    for group in range(10):
        model = fit_reference_model(names, positions[groups != group], nobody[groups != group], person[groups != group])
        for case in np.flatnonzero(groups == group):
            tally.plant(model, positions[case], nobody[case], (case % 5, (case + 2) % 5), generator)
    tally.check()


@pytest.fixture(scope="module")
def brain_estimates(data):
    """For each brain, where the matcher puts the landmarks of the next person; about 6 s each on a free core."""
    from deepfeatures.io.volume_files import read_volume
    from deepfeatures.matching import Matcher

    names, positions, cases = read_positions(data / "brain")
    matcher, estimates = Matcher(), np.full_like(positions, np.nan)
    for place, case in enumerate(cases):
        template = cases[(place + 1) % len(cases)]
        points = read_landmarks(data / f"brain/{template}.mrk.json")
        volumes = [read_volume(data / f"brain/{name}.nii.gz") for name in (template, case)]
        estimates[place] = matcher.match(volumes[0], points, volumes[1]).landmarks.positions
    return names, positions, estimates


def test_faults_in_brains_are_found_with_the_machine_as_one_more_rater(brain_estimates):
    names, positions, estimates = brain_estimates
    tally, generator = Tally(), np.random.default_rng(0)
    for case in range(len(positions)):
        others = np.arange(len(positions)) != case
        learned = estimates.copy()
        learned[case - 1] = np.nan  # what was placed from this person's points
        model = fit_reference_model(names, positions[others], learned[others])
        tally.plant(model, positions[case], estimates[case], range(case % 5, len(names), 5), generator)
    tally.check()
