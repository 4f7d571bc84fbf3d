"""Scans of a cohort that help one another: as those that are placed together do, whatever the order of work."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("distributed")
pytest.importorskip("pandas")

import pandas as pd

from deepfeatures.cli.main import main
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching import Matcher
from deepfeatures.pipelines import cohort_template
from deepfeatures.pipelines.cohort_template import CohortMatcher


@pytest.fixture
def model(family, tmp_path):
    """Of the family's first five, as it comes back from its file."""
    template, landmarks, targets, _ = family
    matcher = Matcher(device="cpu")
    shown = [(target.name, cohort_template.match_alone(matcher, template, landmarks, target)) for target in targets[:5]]
    cohort_template.write(tmp_path / cohort_template.FILE, cohort_template.gather(shown))
    return cohort_template.read(tmp_path / cohort_template.FILE, "cpu")


@pytest.mark.parametrize("number", [1, 6], ids=["a member", "no member"])
def test_a_scan_is_placed_as_together_with_the_members(family, model, number):
    template, landmarks, targets, _ = family
    target, matcher = targets[number], CohortMatcher(Matcher(device="cpu"), model, targets[number].name)
    others = [other for other in targets[:5] if other is not target]
    *_, wanted = Matcher(device="cpu").match_together(template, landmarks, [*others, target])
    for _ in range(2):  # the second time as the first: it joins for good neither time
        found = matcher.match(template, landmarks, target)
        np.testing.assert_allclose(found.landmarks.positions, wanted.landmarks.positions, atol=1e-3)
    assert found.group_size == len(others)


def test_a_member_that_has_just_been_looked_at_is_only_settled_once_more(family, model, monkeypatch):
    template, landmarks, targets, _ = family
    matcher = Matcher(device="cpu")
    wanted = CohortMatcher(matcher, model, targets[1].name).match(template, landmarks, targets[1]).landmarks
    matched = cohort_template.match_alone(matcher, template, landmarks, targets[1])
    monkeypatch.setattr(Matcher, "match", lambda *_, **__: pytest.fail("it was placed already"))
    again = CohortMatcher(matcher, model, targets[1].name, matched).match(template, landmarks, targets[1])
    np.testing.assert_allclose(again.landmarks.positions, wanted.positions, atol=1e-3)
    assert (again.group_size, again.target_name) == (4, targets[1].name)


def test_what_one_process_has_matched_another_can_take(family):
    template, landmarks, targets, _ = family
    alone = cohort_template.match_alone(Matcher(device="cpu"), template, landmarks, targets[0])
    taken = copy.deepcopy(alone)  # as processes send it to one another
    np.testing.assert_array_equal(taken.result.landmarks.positions, alone.result.landmarks.positions)
    taken.group.merge(alone.group)
    for kind, (total, count) in alone.group.sums.items():
        torch.testing.assert_close(taken.group.sums[kind][0], 2 * total)
        torch.testing.assert_close(taken.group.sums[kind][1], 2 * count)


def test_a_scan_that_is_seen_otherwise_than_the_members_is_placed_alone(family, model):
    """Here by another policy of intensities; where memory is short, more coarsely."""
    template, landmarks, targets, _ = family
    matcher = CohortMatcher(Matcher(device="cpu", intensity="rank"), model, targets[6].name)
    found = matcher.match(template, landmarks, targets[6])
    alone = Matcher(device="cpu", intensity="rank").match(template, landmarks, targets[6]).landmarks
    np.testing.assert_array_equal(found.landmarks.positions, alone.positions)
    assert found.group_size == 0


def test_members_are_spread_evenly_and_are_none_where_a_scan_has_too_few_others():
    assert cohort_template.chosen_members(["a", "b"]) == []
    assert cohort_template.chosen_members(["a", "b", "c"]) == ["a", "b", "c"]
    scans = [f"scan{number:03}" for number in range(240)]
    assert cohort_template.chosen_members(scans) == scans[::10]


def test_a_model_that_is_broken_is_refused_in_one_sentence(model, tmp_path):
    file = tmp_path / cohort_template.FILE
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"groupwise_model\.safetensors cannot be read; delete it"):
        cohort_template.read(file, "cpu")


@pytest.fixture
def scans(family, family_folder):
    """The family's first four as files."""
    _, _, targets, _ = family
    (family_folder / "scans").mkdir()
    for target in targets[:4]:
        write_volume(target, family_folder / f"scans/{target.name}.nii.gz")
    return family_folder / "scans"


def cohort(*options: str) -> int:
    given = ["--template", "template.nii.gz", "--landmarks", "template.mrk.json", "--output-dir", "out"]
    return main(["cohort", "scans", *given, "--workers", "1", "--device", "cpu", *options])


def test_a_cohort_is_placed_as_together_and_later_scans_do_not_change_its_model(scans, family):
    template, landmarks, targets, _ = family
    together = Matcher(device="cpu").match_together(template, landmarks, targets[:4])
    assert cohort() in (0, 3)
    for target, wanted in zip(targets, together, strict=False):
        found = read_landmarks(f"out/{target.name}.mrk.json")
        np.testing.assert_allclose(found.positions, wanted.landmarks.positions, atol=0.02)  # files hold rounded headers
    assert pd.read_csv("out/summary.csv").group_size.tolist() == [3] * 4
    model = scans.parent / "out" / cohort_template.FILE
    before = model.read_bytes(), model.stat().st_mtime_ns
    write_volume(targets[5], scans / "target5.nii.gz")
    assert cohort() in (0, 3)
    assert (model.read_bytes(), model.stat().st_mtime_ns) == before
    later = pd.read_csv("out/summary.csv").set_index("target")
    assert later.group_size["target5"] == 4
    assert later.attempts.tolist() == [1] * 5


def test_a_scan_that_cannot_be_read_is_no_member_and_the_others_are_placed_together(scans, capsys):
    (scans / "target0.nii.gz").write_bytes(b"broken")
    assert cohort() == 2
    assert "target0" in capsys.readouterr().err
    summary = pd.read_csv("out/summary.csv").set_index("target")
    assert summary.status.tolist()[0] == "failed"
    assert summary.group_size.tolist()[1:] == [2.0] * 3


def test_independent_results_are_not_mixed_with_those_placed_together(scans, family, capsys):
    template, landmarks, targets, _ = family
    assert cohort("--independent") in (0, 3)
    assert not (scans.parent / "out" / cohort_template.FILE).exists()
    wanted = Matcher(device="cpu").match(template, landmarks, targets[2]).landmarks
    np.testing.assert_allclose(read_landmarks("out/target2.mrk.json").positions, wanted.positions, atol=0.02)
    assert pd.read_csv("out/summary.csv").group_size.tolist() == [0] * 4
    capsys.readouterr()
    assert cohort() == 2
    message = capsys.readouterr().err
    assert "independently" in message and "--output-dir" in message and message.count("\n") == 1
