"""Targets that are placed together: what is mixed, who counts, and that it makes places more exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching import GroupwiseModel, Matcher
from deepfeatures.matching.groupwise import FEWEST, TEMPLATE_SHARE, RegistrationState
from deepfeatures.pipelines import place as place_pipeline


def state_of(points: int, shown: list[bool] | None = None, kind: tuple = ("blocks",)) -> RegistrationState:
    shown = torch.ones(points, dtype=torch.bool) if shown is None else torch.tensor(shown)
    return RegistrationState(torch.eye(4), torch.zeros(points, 3), torch.zeros(points, 3), shown, kind)


def random_blocks(seed: int, points: int) -> torch.Tensor:
    return torch.rand(points, 4, 3, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(FEWEST + 1, 6), st.data())
def test_each_target_is_compared_with_the_template_and_with_all_others_that_show_a_point(seed, targets, data):
    points = 5
    shown = [data.draw(st.lists(st.booleans(), min_size=points, max_size=points)) for _ in range(targets)]
    group, states = GroupwiseModel(), [state_of(points, one) for one in shown]
    blocks, template = [random_blocks(seed + k, points) for k in range(targets)], random_blocks(seed + 99, points)
    for one, its_blocks in zip(states, blocks, strict=True):
        group.add(one, its_blocks)
    for k in range(targets):
        blend = group.blend(states[k], blocks[k], template)
        for point in range(points):
            others = [blocks[other][point] for other in range(targets) if other != k and shown[other][point]]
            wanted = template[point]
            if len(others) >= FEWEST:
                wanted = TEMPLATE_SHARE * template[point] + (1 - TEMPLATE_SHARE) * torch.stack(others).mean(0)
            torch.testing.assert_close(blend[point], wanted)


def test_a_group_is_sufficient_once_enough_others_of_the_same_kind_have_joined():
    group, mine, other = GroupwiseModel(), state_of(2), state_of(2, kind=("coarser blocks",))
    for one in (mine, other, mine):
        group.add(one, random_blocks(0, 2))
    assert (group.count_others(mine), group.is_sufficient(mine), group.is_sufficient(other)) == (1, False, False)
    group.add(state_of(2, [True, False]), random_blocks(0, 2))
    assert (group.count_others(mine), group.is_sufficient(mine), group.is_sufficient(other)) == (2, True, False)


@pytest.fixture(scope="module")
def alone(family):
    template, landmarks, targets, _ = family
    matcher = Matcher(device="cpu")
    return [matcher.match(template, landmarks, target).landmarks for target in targets]


def placed_together(*given) -> list[LandmarkSet]:
    return [result.landmarks for result in Matcher(device="cpu").match_together(*given)]


def mean_error(placed, truths) -> float:
    return float(
        np.nanmean([np.linalg.norm(one.positions - true, axis=1) for one, true in zip(placed, truths, strict=True)])
    )


def test_targets_together_make_up_for_a_poor_template(family, alone):
    template, landmarks, targets, truths = family
    together = placed_together(template, landmarks, targets)
    assert mean_error(together, truths) < 0.87 * mean_error(alone, truths)
    for one, before in zip(together, alone, strict=True):
        assert one.missing == before.missing
        assert [mark.expected_error_mm for mark in one] == [mark.expected_error_mm for mark in before]


def test_two_targets_are_placed_as_each_would_be_alone(family, alone):
    template, landmarks, targets, _ = family
    together = placed_together(template, landmarks, targets[:2])
    for one, before in zip(together, alone[:2], strict=True):
        np.testing.assert_allclose(one.positions, before.positions, atol=1e-3)


def test_what_shows_something_else_is_neither_added_nor_moves_the_others(family):
    template, landmarks, targets, _ = family
    stranger = Volume(torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(7)), name="stranger")
    without = placed_together(template, landmarks, targets[:4])
    *with_it, its = placed_together(template, landmarks, [*targets[:4], stranger])
    assert len(its.missing) == len(landmarks)
    for one, before in zip(with_it, without, strict=True):
        np.testing.assert_allclose(one.positions, before.positions, atol=1e-3)


def test_targets_of_slightly_other_voxels_are_of_one_group(family, alone):
    """Coarser ones, too: they are seen in steps."""
    template, landmarks, targets, _ = family
    coarser = [replace(target, spacing=target.spacing * (1.02 + 0.01 * k)) for k, target in enumerate(targets[:3])]
    matcher, group = Matcher(device="cpu"), GroupwiseModel()
    states = [matcher.match(template, landmarks, target, group=group).state for target in coarser]
    assert group.is_sufficient(states[-1])


def test_targets_whose_intensities_are_scaled_otherwise_are_another_group(family):
    """Keypoints are chosen by intensities, so that theirs are other points."""
    template, landmarks, targets, _ = family

    def as_a(modality: str, volume: Volume) -> Volume:
        return replace(volume, voxels=4000 * (volume.voxels - 0.5), modality=modality)

    matcher, group, states = Matcher(device="cpu"), GroupwiseModel(), []
    for target, modality in zip(targets, ("CT", "CT", "CT", "MR", "MR"), strict=False):
        result = matcher.match(as_a("CT", template), landmarks, as_a(modality, target), group=group)
        states.append(result.state)
    assert [group.count_others(one) for one in states] == [2, 2, 2, 1, 1]


@pytest.fixture
def scans(family, family_folder):
    """The family's first four as files `t0` to `t3`."""
    _, _, targets, _ = family
    for k, target in enumerate(targets[:4]):
        write_volume(target, family_folder / f"t{k}.nii.gz")
    return [f"t{k}.nii.gz" for k in range(4)]


def place(*arguments: str) -> int:
    from deepfeatures.cli.main import main

    given = {"--template": "template.nii.gz", "--landmarks": "template.mrk.json", "--output-dir": "out"}
    return main(["place", *(word for pair in given.items() for word in pair), "--device", "cpu", *arguments])


def test_the_command_places_three_or_more_together_unless_told_otherwise(scans, family, alone, capfd):
    template, landmarks, targets, _ = family
    together = placed_together(template, landmarks, targets[:4])
    for options, wanted, others in (((), together, 3), (("--independent",), alone, None)):
        assert place(*scans, *options, "--report", "run.json") in (0, 3)
        assert capfd.readouterr().out.count("landmarks") == len(scans)
        for k, path in enumerate(scans):
            found = read_landmarks(f"out/{path.split('.')[0]}.mrk.json")
            np.testing.assert_allclose(found.positions, wanted[k].positions, atol=0.02)  # files hold rounded headers
        reports = json.loads(Path("run.json").read_text())["targets"]
        assert [one["report"].get("group_size") for one in reports] == [others] * 4
        assert all(("group" in one["report"]["seconds"]) == (others is not None) for one in reports)


def test_a_target_that_cannot_be_read_again_keeps_its_first_place(scans, alone, monkeypatch, capfd):
    """As where a disk is taken away in the middle: here the file is gone once all have been placed."""
    read, times = place_pipeline.read_within_memory, []

    def once(path, *rest):
        times.append(str(path))
        if times.count("t1.nii.gz") > 1 and str(path) == "t1.nii.gz":
            raise place_pipeline.InputError("there is no file t1.nii.gz")
        return read(path, *rest)

    monkeypatch.setattr(place_pipeline, "read_within_memory", once)
    assert place(*scans) in (0, 3)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note")]
    assert "without regard to the other targets" in line and "t1.nii.gz" in line
    np.testing.assert_allclose(read_landmarks("out/t1.mrk.json").positions, alone[1].positions, atol=0.02)
    assert times.count("t2.nii.gz") == 2


def test_a_result_that_somebody_corrects_before_the_second_turn_is_left_alone(scans, monkeypatch, capfd):
    again, mine = Matcher.refine_with_group, LandmarkSet((Landmark("p0", (1.0, 2.0, 3.0), locked=True),))

    def meanwhile(matcher, template, landmarks, target, *rest):
        if target.name == "t2":
            write_landmarks(mine, "out/t2.mrk.json")
        return again(matcher, template, landmarks, target, *rest)

    monkeypatch.setattr(Matcher, "refine_with_group", meanwhile)
    assert place(*scans) in (0, 3)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note")]
    assert "t2.mrk.json was changed in the meantime and is left as it is" in line
    assert read_landmarks("out/t2.mrk.json").landmarks == mine.landmarks


def test_an_interrupt_in_the_second_turn_leaves_every_result_and_the_report(scans, alone, monkeypatch, capfd):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Matcher, "refine_with_group", interrupted)
    assert place(*scans, "--report", "run.json") == 130
    assert len(json.loads(Path("run.json").read_text())["targets"]) == len(scans)
    for k in range(4):
        np.testing.assert_allclose(read_landmarks(f"out/t{k}.mrk.json").positions, alone[k].positions, atol=0.02)
