"""Expected errors: what the evidence measures, what is predicted from it, and what makes a landmark missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.landmarks import read_landmarks, write_landmarks
from deepfeatures.matching import Matcher
from deepfeatures.matching.evidence import NAMES, Settled, gather
from deepfeatures.matching.expectation import Expectation, calibrated
from deepfeatures.matching.guided import correlation
from deepfeatures.matching.relaxation import Relaxed
from deepfeatures.phantom import make_pair


def settled(seed: int = 0, **changes) -> Settled:
    """Six landmarks and 34 keypoints that all moved by (1, 0, 0), in two volumes of random smooth shades."""
    random = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.avg_pool3d(torch.rand(1, 1, 44, 44, 44, generator=random), 5, 1)[0, 0] * 100
    points = 12 + 16 * torch.rand(40, 3, generator=random)
    distances = 1 + torch.rand(40, 7, 7, 7, generator=random)
    relaxed = Relaxed(
        torch.tensor([1.0, 0.0, 0.0]).expand(40, 3), distances.flatten(1).amin(1), distances.flatten(1).mean(1)
    )
    base = Settled(image, image.roll(1, 2), points, distances, relaxed, torch.rand(6, generator=random), 8.0)
    return replace(base, **changes)


def column(evidence: torch.Tensor, name: str) -> torch.Tensor:
    return evidence[:, NAMES.index(name)]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.floats(0.2, 5.0), st.floats(-50, 50))
def test_another_contrast_is_no_surprise(seed, gain, shift):
    base = settled(seed)
    same, other = gather(base), gather(replace(base, scene=shift - gain * base.scene))
    for name in ("surprise_near", "surprise_far"):
        torch.testing.assert_close(column(same, name), column(other, name), atol=0.02, rtol=0)


def test_another_content_is_a_surprise():
    base = settled()
    wrong = gather(replace(base, scene=settled(7).image))
    assert (column(wrong, "surprise_near") > column(gather(base), "surprise_near") + 0.5).all()


def test_moving_together_is_no_strain_and_stretching_is():
    base = settled()
    stretched = replace(base.relaxed, displacements=0.2 * (base.points - 20))
    still, strained = (column(gather(x), "strain") for x in (base, replace(base, relaxed=stretched)))
    torch.testing.assert_close(still, torch.full_like(still, 0.02).log(), atol=0.1, rtol=0)
    assert (strained > np.log(0.2)).all()


@given(st.floats(-3, 3), st.floats(0.2, 6.0))
def test_more_expected_error_means_less_chance(value, spacing):
    expectation = Expectation(0.5, (1.0,), (0.0,), 0.3, 0.5)
    evidence = torch.tensor([[value], [value + 0.5]])
    errors, chances = expectation.errors_mm(evidence, spacing), expectation.chances(evidence, spacing)
    assert errors[1] >= errors[0] >= 0
    assert 1 >= chances[0] >= chances[1] >= 0


def test_half_of_the_errors_lie_below_the_predicted_median():
    expectation = Expectation(float(np.log(3.3)), (0.0,), (0.0,), 0.3, 0.5)
    assert expectation.chances(torch.zeros(1, 1), 1.0).item() == pytest.approx(0.5)


def test_features_that_nobody_calibrated_promise_nothing():
    assert calibrated("mind", "ssc_r1_d2", 14) is None
    template, landmarks, target, _ = make_pair(32)
    placed = Matcher("mind", "ssc_r2_d2", 12, search="guided").match(template, landmarks, target)
    assert all(landmark.expected_error is None and landmark.within_3mm is None for landmark in placed)


def test_the_default_says_how_far_off_each_landmark_may_be(tmp_path):
    template, landmarks, target, truth = make_pair(64)
    matcher = Matcher()
    placed = matcher.match(template, landmarks, target)
    errors = np.linalg.norm(placed.positions - truth.positions, axis=1)
    expected = np.array([landmark.expected_error for landmark in placed if landmark.is_defined])
    assert len(expected) == len(placed)
    assert 0.2 * errors.mean() < expected.mean() < 5 * errors.mean()
    assert all(0 <= landmark.within_3mm <= 1 for landmark in placed)
    write_landmarks(placed, tmp_path / "placed.mrk.json")
    kept = read_landmarks(tmp_path / "placed.mrk.json")
    np.testing.assert_allclose([landmark.expected_error for landmark in kept], expected, rtol=1e-4)
    assert set(matcher.last_report["landmarks"][0]["evidence"]) == set(NAMES)


@pytest.mark.parametrize("end", [slice(0, 0.6), slice(0.5, 1)])
def test_landmarks_in_the_part_cut_away_are_missing(end):
    template, landmarks, target, truth = make_pair(72)
    axis = int(np.argmax(np.ptp(target.to_index(truth.positions), axis=0)))
    start, stop = (round(target.size[axis] * share) for share in (end.start, end.stop))
    kept = tuple(slice(start, stop) if 2 - axis == k else slice(None) for k in range(3))
    first = np.eye(3)[axis] * start
    crop = replace(
        target.with_voxels(target.voxels[kept].contiguous()),
        origin=target.origin + target.direction @ (first * target.spacing),
    )
    inside = crop.contains(truth.positions)
    deep = np.abs(crop.to_index(truth.positions)[:, axis] - np.array([[-0.5], [stop - start - 0.5]])).min(0) > 3
    found = ~np.isnan(Matcher().match(template, landmarks, crop).positions[:, 0])
    assert (~inside).sum() >= 3, "the crop tests nothing"
    assert not found[~inside & deep].any()
    assert found[inside & deep].mean() >= 0.9


def test_contrast_is_told_from_anatomy():
    image = settled().image
    assert correlation(image, image * 2 + 3) == pytest.approx(1, abs=0.01)
    assert correlation(image, image.max() - image) < 0
    assert correlation(torch.ones(4, 4, 4), image[:4, :4, :4]) == 1.0
