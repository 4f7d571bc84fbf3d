"""Several templates: what they agree on, and what happens where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher, MultiTemplateMatcher
from deepfeatures.matching.multi_template import consensus, geometric_median
from deepfeatures.phantom import make_pair

NAMES = LandmarkSet((Landmark("a", (0.0, 0.0, 0.0)),))


def proposals(*positions):
    return [
        LandmarkSet((Landmark("a", p, "defined" if p else "missing", expected_error_mm=1.0 + k),))
        for k, p in enumerate(positions)
    ]


def test_one_wild_template_does_not_move_the_consensus():
    placed = consensus(NAMES, proposals((1.0, 2.0, 3.0), (1.2, 2.0, 3.0), (1.0, 2.2, 3.0), (60.0, -40.0, 9.0)))
    assert np.linalg.norm(np.array(placed[0].position) - (1.05, 2.05, 3.0)) < 0.3


def test_scores_are_medians_of_those_that_were_found():
    found = [replace(one[0], feature_distance=0.1 * k) for k, one in enumerate(proposals(*4 * [(1.0, 2.0, 3.0)]))]
    found[1] = replace(found[1], position=None, status="missing")
    placed = consensus(NAMES, [LandmarkSet((one,)) for one in found])
    assert placed[0].feature_distance == pytest.approx(0.2)  # of 0, 0.2 and 0.3
    assert placed[0].inverse_consistency_error_mm is None


def test_templates_that_disagree_are_further_off():
    near, far = (consensus(NAMES, proposals((0.0, 0.0, 0.0), (step, 0.0, 0.0), (0.0, step, 0.0))) for step in (1, 9))
    assert near[0].expected_error_mm < far[0].expected_error_mm
    assert near[0].probability_within_3mm > far[0].probability_within_3mm


def test_one_that_knows_a_landmark_is_believed():
    alone = proposals((1.0, 2.0, 3.0))[0]
    assert consensus(NAMES, [alone, LandmarkSet(())])[0].expected_error_mm == alone[0].expected_error_mm


def test_templates_that_expect_nothing_have_nothing_to_say():
    alone = [LandmarkSet((Landmark("a", (float(k), 0.0, 0.0)),)) for k in range(3)]
    assert consensus(NAMES, alone)[0].expected_error_mm is None


def test_a_landmark_that_half_of_the_templates_miss_is_missing():
    assert consensus(NAMES, proposals((1.0, 2.0, 3.0), None)).missing == ("a",)
    assert not consensus(NAMES, proposals((1.0, 2.0, 3.0), None, (1.0, 2.0, 3.0))).missing


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999))
def test_the_geometric_median_is_no_further_from_all_points_than_their_mean(seed):
    points = np.random.default_rng(seed).normal(scale=20, size=(5, 3))

    def total(place):
        return np.linalg.norm(points - place, axis=1).sum()

    assert total(geometric_median(points)) <= total(points.mean(0)) + 0.5


def test_a_panel_places_what_its_first_template_names():
    template, landmarks, target, _ = make_pair(32)
    panel = MultiTemplateMatcher([(template, LandmarkSet(landmarks.landmarks[:3]))])
    result = panel.match(template, landmarks, target)
    placed = result.landmarks
    alone = Matcher().match(template, landmarks, target).landmarks
    assert [landmark.name for landmark in placed] == [landmark.name for landmark in landmarks]
    assert placed.missing == alone.missing
    np.testing.assert_allclose(placed.positions[3:], alone.positions[3:], atol=1e-3)
    assert result.report()["template"] == [template.name] * 2
    assert min(result.report()["consistent_share"]) > 0.8


@pytest.mark.parametrize(
    ("change", "way_out"),
    [
        (lambda marks: [replace(mark, name=f"other {mark.name}") for mark in marks], "same names"),
        (lambda marks: [*marks, marks[0]], "rename them"),
    ],
)
def test_names_must_tell_which_landmarks_are_the_same(change, way_out):
    template, landmarks, target, _ = make_pair(32)
    panel = MultiTemplateMatcher([(template, LandmarkSet(tuple(change(landmarks))))])
    with pytest.raises(InputError, match=way_out):
        panel.match(template, landmarks, target)
