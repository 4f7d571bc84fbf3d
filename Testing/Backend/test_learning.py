"""What a matcher learns from people: jets that do not see the crop, heads, and doubt after the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.guided.search import GuidedSearch
from deepfeatures.matching.learning.landmark_head import fit_head, lessons
from deepfeatures.matching.learning.leave_one_out import leave_one_out
from deepfeatures.matching.learning.local_jets import MOST_CHANNELS, Jets, LandmarkFrame, jets_around
from deepfeatures.matching.learning.protocol import begin_protocol
from deepfeatures.matching.learning.reviewer_weights import scan_weights
from deepfeatures.matching.learning.taught_scan import TENSORS, TaughtScan
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.teaching import teach

HABIT = np.array([1.2, -0.9, 0.6])  # by which the people of the family put every landmark beside the template's


def frame_of(seed: int, channels: int = 3, edge: int = 30, covered: torch.Tensor | None = None) -> LandmarkFrame:
    random = torch.Generator().manual_seed(seed)
    template, target = (torch.rand(channels, edge, edge, edge, generator=random) for _ in range(2))
    points = torch.tensor([[12.3, 14.0, 15.8], [16.0, 13.1, 12.4]])
    covered = torch.ones(edge, edge, edge) if covered is None else covered
    return LandmarkFrame(template, target, covered, points, torch.zeros(2, 3), reach=2)


def test_a_target_that_is_the_template_has_no_jets_at_its_landmarks():
    frame = replace(frame_of(0), points=torch.tensor([[12.0, 14.0, 16.0]]))
    frame = replace(frame, target_features=frame.template_features)
    jets = jets_around(frame, torch.zeros(1, 3), 2.0)
    at = (jets.places == 0).all(-1)
    assert at.sum() == 1
    assert jets.values[at].abs().max() < 1e-5
    assert jets.values[~at].abs().max() > 0.1


@pytest.mark.parametrize("side", range(6))
def test_what_lies_beyond_the_crop_or_touches_its_edge_is_not_seen(side):
    covered = torch.ones(30, 30, 30)
    axis, is_far = divmod(side, 2)
    edge = slice(20, 30) if is_far else slice(0, 10)
    covered[(slice(None),) * axis + (edge,)] = 0
    near_edge = slice(18, 30) if is_far else slice(0, 12)  # as far as features reach
    frame = frame_of(1, covered=covered)
    changed = frame.target_features.clone()
    changed[(slice(None),) * (axis + 1) + (near_edge,)] = 7.0
    middles = torch.zeros(2, 3)
    seen, other = (jets_around(one, middles, 4.0).values for one in (frame, replace(frame, target_features=changed)))
    torch.testing.assert_close(seen, other, atol=0, rtol=0)
    inside = frame.target_features.clone()
    inside[:, 13:16, 13:16, 13:16] = 7.0
    assert (jets_around(replace(frame, target_features=inside), middles, 4.0).values - seen).abs().max() > 0.1


def test_a_landmark_at_the_rim_of_the_grid_has_jets():
    frame = replace(frame_of(2), points=torch.tensor([[0.2, 29.0, 14.0]]))
    assert torch.isfinite(jets_around(frame, torch.tensor([[-3.0, 4.0, 0.0]]), 5.0).values).all()


def test_features_of_many_channels_are_projected_and_always_alike():
    frame = frame_of(3, channels=40)
    jets = jets_around(frame, torch.zeros(2, 3), 2.0)
    assert jets.values.shape[2] == 10 * MOST_CHANNELS
    torch.testing.assert_close(jets.values, jets_around(frame, torch.zeros(2, 3), 2.0).values, atol=0, rtol=0)


def made_scan(number: int, offset, *, landmarks: int = 3, person: str | None = None, corrected: bool = True, slope=0.0):
    """A taught scan whose jets tell the way to the true place, but for noise, and `slope` times one more number."""
    random = torch.Generator().manual_seed(number)
    shape = torch.randn(landmarks, 1, generator=random)
    found = torch.randn(landmarks, 3, generator=random) * 0.3
    true = found + torch.as_tensor(offset, dtype=torch.float32).expand(landmarks, 3) + slope * shape

    def jets(middle: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        steps = torch.cartesian_prod(*[torch.arange(-radius, radius + 1, dtype=torch.float32)] * 3)
        places = middle.round()[:, None] + steps[steps.norm(dim=1) <= radius]
        way = true[:, None] - places
        noise = 0.3 * torch.randn(*way.shape[:2], 4, generator=random)
        values = torch.cat([way, way.norm(dim=2, keepdim=True)], 2) + noise
        values = torch.cat([values, shape[:, None].expand(-1, way.shape[1], 1)], 2)
        scales = values.abs().amax((1, 2)) / 127
        return (values / scales[:, None, None]).round().to(torch.int8), scales, places

    names = ("jets", "scales", "places")
    around = {f"true_{name}": tensor for name, tensor in zip(names, jets(true, 4), strict=True)}
    around |= {f"found_{name}": tensor for name, tensor in zip(names, jets(found, 5), strict=True)}
    return TaughtScan(
        f"scan{number}",
        person or f"person{number}",
        f"{number:064x}",
        "2020-01-01T00:00:00+00:00",
        true,
        found,
        torch.full((landmarks,), corrected),
        torch.eye(3),
        torch.zeros(landmarks, 22),
        torch.ones(1),
        **around,
    )


def error_mm(scans, others) -> float:
    head = fit_head(lessons(scans))
    errors = [one.errors_mm(head.corrected(one.around_found, one.found)) for one in others]
    return float(torch.stack(errors).mean())


STRANGERS = [made_scan(number, HABIT) for number in range(1000, 1010)]
ALONE = float(torch.stack([one.errors_mm(one.found) for one in STRANGERS]).mean())


def test_the_more_people_the_more_a_head_dares():
    errors = [error_mm([made_scan(number, HABIT) for number in range(people)], STRANGERS) for people in (3, 5, 10, 20)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.8 * ALONE
    assert errors[-1] < 0.2 * ALONE


def test_fewer_than_three_people_change_nothing_however_many_scans_they_have():
    scans = [made_scan(number, HABIT, person=f"person{number % 2}") for number in range(8)]
    assert error_mm(scans, STRANGERS) == ALONE
    assert error_mm([*scans, made_scan(9, HABIT)], STRANGERS) < ALONE


def test_a_landmark_that_too_few_have_taught_stays():
    scans = [made_scan(number, HABIT) for number in range(6)]
    silent = torch.tensor([[0.0], [torch.nan], [0.0]])
    scans = [replace(scan, true=scan.true + silent) if number >= 2 else scan for number, scan in enumerate(scans)]
    stranger = STRANGERS[0]
    moved = fit_head(lessons(scans)).corrected(stranger.around_found, stranger.found)
    apart = (moved - stranger.found).norm(dim=1)
    assert apart[1] == 0
    assert (apart[[0, 2]] > 0.3).all()


def test_features_tell_which_way_a_landmark_lies_where_people_differ():
    def people(first: int, last: int) -> list[TaughtScan]:
        return [made_scan(number, (0.0, 0.0, 0.0), slope=1.5) for number in range(first, last)]

    strangers = people(1000, 1010)
    alone = float(torch.stack([one.errors_mm(one.found) for one in strangers]).mean())
    assert error_mm(people(0, 12), strangers) < 0.6 * alone
    silent = [
        replace(one, true_jets=other.true_jets.flip(1), found_jets=other.found_jets)
        for one, other in zip(people(0, 12), people(20, 32), strict=True)
    ]  # jets of other people, and of other places: they tell nothing
    assert error_mm(silent, strangers) > 0.85 * alone


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_the_order_of_scans_does_not_matter(order):
    scans = [made_scan(number, HABIT) for number in range(5)]
    assert error_mm([scans[index] for index in order], STRANGERS) == pytest.approx(error_mm(scans, STRANGERS), abs=1e-5)


def test_a_careless_reviewer_does_not_spoil_what_the_others_teach():
    good = [made_scan(number, HABIT) for number in range(5)]
    wild = made_scan(50, torch.randn(3, 3, generator=torch.Generator().manual_seed(0)) * 8)
    assert error_mm([*good, wild], STRANGERS) < 1.1 * error_mm(good, STRANGERS)
    one_slip = replace(good[4], true=good[4].true + torch.tensor([[15.0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    assert error_mm([*good[:4], one_slip], STRANGERS) < 1.15 * error_mm(good, STRANGERS)


def test_points_that_were_accepted_as_they_were_count_less_than_moved_ones():
    moved = [made_scan(number, HABIT) for number in range(3)]
    accepted = [made_scan(number, (0.0, 0.0, 0.0), corrected=False) for number in range(3, 6)]
    alike = [replace(scan, corrected=torch.ones(3, dtype=torch.bool)) for scan in accepted]
    shared, shared_alike = (fit_head(lessons([*moved, *others])).offset for others in (accepted, alike))
    assert (shared.norm(dim=1) > 1.2 * shared_alike.norm(dim=1)).all()


def test_several_scans_of_one_person_count_as_one():
    offsets = torch.zeros(6, 1, 3, dtype=torch.float64)
    taught = torch.ones(6, 1, dtype=torch.bool)
    weights = scan_weights(offsets, taught, taught, ["a", "a", "a", "b", "c", "d"])
    torch.testing.assert_close(weights[:3].sum(0), weights[3])


def test_leaving_one_out_judges_by_what_the_others_teach():
    scans = [made_scan(number, HABIT) for number in range(6)]
    left_out = leave_one_out(lessons(scans))
    head = fit_head(lessons(scans[1:]))
    wanted = scans[0].errors_mm(head.corrected(scans[0].around_found, scans[0].found))
    torch.testing.assert_close(left_out.after_mm[0], wanted, atol=1e-4, rtol=0)
    assert left_out.after_mm.mean() < 0.7 * left_out.before_mm.mean()
    wild = made_scan(50, (9.0, 9.0, -9.0))
    assert leave_one_out(lessons([*scans, wild])).after_mm[-1].mean() > 5


def test_jets_without_a_place_nearby_leave_a_landmark_at_its_start():
    head = fit_head(lessons([made_scan(number, HABIT) for number in range(5)]))
    stranger = STRANGERS[0]
    far = Jets(stranger.around_found.values, stranger.around_found.places + 40)
    assert (head.corrected(far, stranger.found) - stranger.found).norm(dim=1).max() < 5


@pytest.fixture(scope="module")
def taught(family):
    """A matcher, the family's protocol, taught by six of its people, and their scans."""
    template, landmarks, targets, truths = family
    matcher = Matcher(device="cpu")
    protocol = begin_protocol(template, landmarks, matcher.features_key)
    scans = [
        teach(matcher, protocol, target, moved(landmarks, truth + HABIT))
        for target, truth in zip(targets[:6], truths[:6], strict=True)
    ]
    return matcher, protocol, scans


def moved(landmarks: LandmarkSet, positions: np.ndarray) -> LandmarkSet:
    pairs = zip(landmarks, positions.tolist(), strict=True)
    return LandmarkSet(tuple(replace(one, position=tuple(place)) for one, place in pairs))


def error_of(result, truth) -> float:
    return float(np.linalg.norm(result.landmarks.positions - truth, axis=1).mean())


def test_landmarks_are_placed_as_people_have_taught(family, taught):
    template, landmarks, targets, truths = family
    matcher, protocol, scans = taught
    truth = truths[6] + HABIT
    alone = matcher.match(template, landmarks, targets[6])
    result = Matcher(device="cpu", taught=protocol.with_scans(scans)).match(template, landmarks, targets[6])
    assert error_of(result, truth) < 0.6 * error_of(alone, truth)
    assert result.report()["protocol"]["taught_by"] == 6
    assert alone.report()["protocol"] is None
    at_landmarks = result.mapping(landmarks.positions)
    assert (
        np.linalg.norm(at_landmarks - truth, axis=1).mean()
        < np.linalg.norm(alone.mapping(landmarks.positions) - truth, axis=1).mean()
    )


def test_doubt_is_that_of_the_people_left_out(family, taught):
    template, landmarks, targets, truths = family
    matcher, protocol, scans = taught
    learnt = protocol.with_scans(scans)
    alone = matcher.match(template, landmarks, targets[6]).landmarks
    placed = Matcher(device="cpu", taught=learnt).match(template, landmarks, targets[6]).landmarks
    errors = np.linalg.norm(placed.positions - (truths[6] + HABIT), axis=1)
    assert np.mean(errors <= [one.radius_90_mm for one in placed]) >= 0.8
    assert [one.radius_90_mm for one in placed] != [one.radius_90_mm for one in alone]
    summary = learnt.summary()
    assert summary["error_after_mm"] < 0.7 * summary["error_before_mm"]
    assert summary["in_use"]
    assert [row["taught"] for row in summary["landmarks"]] == [6] * len(landmarks)


def test_two_people_change_not_a_bit(family, taught):
    template, landmarks, targets, _ = family
    matcher, protocol, scans = taught
    alone = matcher.match(template, landmarks, targets[6])
    result = Matcher(device="cpu", taught=protocol.with_scans(scans[:2])).match(template, landmarks, targets[6])
    assert result.landmarks == alone.landmarks
    summary = protocol.with_scans(scans[:2]).summary()
    assert (summary["taught_by"], summary["in_use"], summary["error_after_mm"]) == (2, False, None)


def test_of_three_people_nobody_can_be_judged_by_the_others(taught):
    _, protocol, scans = taught
    summary = protocol.with_scans(scans[:3]).summary()
    assert (summary["in_use"], summary["error_before_mm"], summary["error_after_mm"]) == (True, None, None)
    assert protocol.with_scans(scans[:4]).summary()["error_after_mm"] is not None


def test_a_coarser_scan_teaches_and_is_placed(family, taught):
    _, landmarks, targets, truths = family
    matcher, protocol, scans = taught
    scan = teach(matcher, protocol, targets[6].resampled(1.4), moved(landmarks, truths[6] + HABIT))
    assert scan.true_jets.shape == scans[0].true_jets.shape
    offset = ((scan.true - scan.found) @ scan.voxel_to_mm.T).mean(0)
    assert np.linalg.norm(offset.numpy() - HABIT) < 0.8


def test_a_scan_that_was_placed_just_before_teaches_the_same_without_being_placed_again(family, taught, monkeypatch):
    template, landmarks, targets, truths = family
    _, protocol, scans = taught
    points = moved(landmarks, truths[2] + HABIT)
    learnt = Matcher(device="cpu", taught=protocol.with_scans(scans))
    learnt.match(template, landmarks, targets[2])
    monkeypatch.setattr(GuidedSearch, "ways", lambda *_: pytest.fail("it was placed again"))
    scan = teach(learnt, protocol, targets[2], points)
    for name in TENSORS:
        torch.testing.assert_close(getattr(scan, name), getattr(scans[2], name), atol=0, rtol=0)


def test_a_landmark_that_the_protocol_does_not_know_is_placed_by_the_search_alone(family, taught):
    template, landmarks, targets, _ = family
    matcher, protocol, scans = taught
    new = LandmarkSet((*landmarks[:4], Landmark("new", (14.0, 18.0, 16.0))))
    learnt = Matcher(device="cpu", taught=protocol.with_scans(scans))
    placed, alone = (one.match(template, new, targets[6]).landmarks for one in (learnt, matcher))
    assert placed[4].position == alone[4].position
    assert placed[0].position != alone[0].position


def test_another_template_or_a_moved_landmark_is_refused_in_words(family, taught):
    template, landmarks, targets, _ = family
    _, protocol, scans = taught
    learnt = Matcher(device="cpu", taught=protocol.with_scans(scans))
    with pytest.raises(InputError, match="target1 is not the template of the protocol, template"):
        learnt.match(targets[1], landmarks, targets[6])
    first = replace(landmarks[0], position=(11.0, 10.0, 10.0))
    with pytest.raises(InputError, match=r"p0 lies 1\.00 mm from where the protocol has it"):
        learnt.match(template, LandmarkSet((first, *landmarks[1:])), targets[6])


def test_teaching_refuses_what_cannot_teach(family, taught):
    template, landmarks, targets, truths = family
    matcher, protocol, _ = taught
    points = moved(landmarks, truths[0])
    with pytest.raises(InputError, match="is the template itself"):
        teach(matcher, protocol, replace(template, name="copy"), points)
    strange = LandmarkSet(tuple(replace(one, name=f"x{one.name}") for one in points))
    with pytest.raises(InputError, match="No point of target0 has a position and the name of a landmark"):
        teach(matcher, protocol, targets[0], strange)
    outside = LandmarkSet((replace(points[0], position=(90.0, 0.0, 0.0)), *points[1:]))
    with pytest.raises(InputError, match="p0 lies outside target0"):
        teach(matcher, protocol, targets[0], outside)
    noise = Volume(torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(5)), name="noise")
    with pytest.raises(InputError, match="noise does not seem to show the anatomy of template"):
        teach(matcher, protocol, noise, points)
    with pytest.raises(InputError, match="leave out the protocol or the calibration"):
        MatchSettings(protocol="a.dflp", calibration="b.json")
    with pytest.raises(InputError, match="Only a guided search learns"):
        MatchSettings(protocol="a.dflp", search="dense")


def test_a_scan_that_differs_from_the_others_is_named_and_does_not_widen_the_radii(family, taught):
    _, landmarks, targets, truths = family
    matcher, protocol, scans = taught
    swapped = moved(landmarks, truths[6][::-1])  # the points in the wrong order
    wrong = teach(matcher, protocol, targets[6], swapped)
    summary = protocol.with_scans([*scans, wrong]).summary()
    assert {scan["name"]: scan["odd"] for scan in summary["scans"]} == {one.name: one is targets[6] for one in targets}
    alone = protocol.with_scans(scans).summary()
    assert summary["error_after_mm"] == pytest.approx(alone["error_after_mm"], abs=0.1)
    radii, radii_alone = ([row["radius_90_mm"] for row in one["landmarks"]] for one in (summary, alone))
    np.testing.assert_allclose(radii, radii_alone, rtol=0.2)


def test_who_moved_a_point_follows_from_where_it_was_found(family, taught):
    template, landmarks, targets, truths = family
    matcher, protocol, scans = taught
    assert scans[0].corrected.all()
    placed = matcher.match(template, landmarks, targets[0]).landmarks
    mixed = LandmarkSet((*placed[:20], *moved(landmarks, truths[0] + HABIT)[20:]))
    scan = teach(matcher, protocol, targets[0], mixed)
    assert scan.corrected.tolist() == [False] * 20 + [True] * 7
    assert teach(matcher, protocol, targets[0], mixed, corrected=["p3"]).corrected.nonzero().tolist() == [[3]]
