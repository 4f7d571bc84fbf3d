"""Expected errors: what the evidence measures, what is predicted from it, and what makes a landmark missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.block_matching import ball, blocks_at
from deepfeatures.matching.geometry.displacement_field import ScatteredDisplacements
from deepfeatures.matching.guided.level import correlation
from deepfeatures.matching.uncertainty.covariates import NAMES, LevelMatch, covariates
from deepfeatures.matching.uncertainty.error_model import ErrorModel, load_error_model
from deepfeatures.phantom import make_pair


def settled(seed: int = 0, **changes) -> LevelMatch:
    """Six landmarks that all moved by (1, 0, 0), in two volumes of random smooth shades and features."""
    random = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.avg_pool3d(torch.rand(1, 1, 44, 44, 44, generator=random), 5, 1)[0, 0] * 100
    features = torch.rand(4, 40, 40, 40, generator=random)
    points = 12 + 16 * torch.rand(6, 3, generator=random)
    moved = points + torch.tensor([1.0, 0.0, 0.0])
    distances, spread, neighbour_residual, errors = torch.rand(4, 6, generator=random)
    patch = ball(3)
    base = LevelMatch(
        template=image,
        template_features=features,
        target_features=features.roll(1, 3),
        covered=torch.ones(40, 40, 40),
        points=points,
        matched=moved,
        blocks=blocks_at(features, points, patch),
        patch=patch,
        weights=torch.ones(len(patch)),
        distances=distances,
        posterior_std=spread,
        neighbour_residual=neighbour_residual,
        inverse_consistency=errors,
        displacements=ScatteredDisplacements(points, moved - points, torch.ones(6), 10.0),
        pose=torch.eye(4),
        contrast=0.7,
        consistent_share=0.6,
        coarseness=1.5,
    )
    return replace(base, **changes)


def column(evidence: torch.Tensor, name: str) -> torch.Tensor:
    return evidence[:, NAMES.index(name)]


def test_other_surroundings_lie_farther():
    base = settled()
    same, other = (covariates(x) for x in (base, replace(base, target_features=settled(7).template_features)))
    assert (column(same, "surroundings") < np.log(1e-6)).all()
    assert (column(other, "surroundings") > np.log(0.01)).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.floats(0.2, 5.0), st.floats(1.0, 3.0))
def test_the_pose_counts_as_far_as_it_stretches_one_way_more_than_another(seed, size, factor):
    rotation, _ = torch.linalg.qr(torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)))
    pose = torch.eye(4)
    pose[:3, :3] = size * rotation @ torch.diag(torch.tensor([1.0, factor, 1.0])) @ rotation.T
    found = column(covariates(settled(pose=pose)), "pose_anisotropy")
    torch.testing.assert_close(found, torch.full_like(found, float(np.log(factor))), atol=1e-4, rtol=0)


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_slopes_tell_a_flat_place_a_surface_a_ridge_and_a_corner(axes):
    inside = torch.ones(40, 40, 40, dtype=torch.bool)
    for axis in range(axes):
        inside = inside & (torch.arange(40) >= 20).reshape([-1 if axis == k else 1 for k in range(3)])
    there = torch.full((1, 3), 20.0)
    one = torch.ones(1)
    base = settled(
        template=100 * inside.float(),
        points=there,
        matched=there,
        distances=one,
        posterior_std=one,
        neighbour_residual=one,
        inverse_consistency=one,
        blocks=torch.rand(1, len(ball(3)), 4),
    )
    slopes = [column(covariates(base), f"slope_2_{which}").exp().item() for which in ("most", "middle", "least")]
    assert [slope > 1 for slope in slopes] == [number < axes for number in range(3)]


def test_points_that_move_as_an_affine_transform_neither_deviate_nor_strain():
    base = settled()
    found = covariates(base)
    assert (column(found, "deviation") < np.log(0.2)).all()
    assert (column(found, "strain") < np.log(0.05)).all()


def test_a_point_that_leaves_its_neighbours_deviates():
    base = settled()
    moves = base.displacements.displacements.clone()
    moves[2] += 8.0
    found = covariates(replace(base, displacements=replace(base.displacements, displacements=moves)))
    assert column(found, "deviation").argmax() == 2
    assert column(found, "deviation")[2] > np.log(3)


def test_where_the_template_repeats_a_point_has_a_look_alike():
    base = settled()
    once = torch.rand(4, 40, 40, 4, generator=torch.Generator().manual_seed(1))
    repeated = once.repeat(1, 1, 1, 10)  # every four voxels along x
    blocks = blocks_at(repeated, base.points, base.patch)
    found = covariates(replace(base, template_features=repeated, blocks=blocks))
    assert (column(found, "look_alike") < column(covariates(base), "look_alike") - 1).all()


def test_what_holds_for_the_pair_is_the_same_for_all_landmarks():
    found = covariates(settled(contrast=0.5, consistent_share=0.9, coarseness=2.0))
    expected = {"pair_contrast": 0.5, "pair_consistent": 0.1, "pair_coarseness": 2.0}
    for name, value in expected.items():
        torch.testing.assert_close(column(found, name).exp(), torch.full((6,), value), rtol=1e-3, atol=0)


@given(st.floats(-3, 3), st.floats(0.2, 6.0))
def test_more_expected_error_means_less_chance(value, spacing):
    expectation = ErrorModel(0.5, (1.0,), (0.0,), 0.3, 0.5)
    evidence = torch.tensor([[value], [value + 0.5]])
    errors, probabilities = expectation.errors_mm(evidence, spacing), expectation.probabilities(evidence, spacing)
    assert errors[1] >= errors[0] >= 0
    assert 1 >= probabilities[0] >= probabilities[1] >= 0


def test_half_of_the_errors_lie_below_the_predicted_median():
    expectation = ErrorModel(float(np.log(3.3)), (0.0,), (0.0,), 0.3, 0.5)
    assert expectation.probabilities(torch.zeros(1, 1), 1.0).item() == pytest.approx(0.5)


def test_features_that_nobody_calibrated_promise_nothing():
    assert load_error_model("mind/ssc_r1_d2/14") is None
    template, landmarks, target, _ = make_pair(32)
    matcher = Matcher(network="mind", layer="ssc_r2_d2", patch_size=12, search="guided")
    placed = matcher.match(template, landmarks, target).landmarks
    assert all(landmark.expected_error_mm is None and landmark.probability_within_3mm is None for landmark in placed)


def test_the_default_says_how_far_off_each_landmark_may_be(tmp_path):
    template, landmarks, target, truth = make_pair(64)
    matcher = Matcher()
    result = matcher.match(template, landmarks, target)
    placed = result.landmarks
    errors = np.linalg.norm(placed.positions - truth.positions, axis=1)
    expected = np.array([landmark.expected_error_mm for landmark in placed if landmark.is_defined])
    assert len(expected) == len(placed)
    assert 0.2 * errors.mean() < expected.mean() < 5 * errors.mean()
    assert all(0 <= landmark.probability_within_3mm <= 1 for landmark in placed)
    write_landmarks(placed, tmp_path / "placed.mrk.json")
    kept = read_landmarks(tmp_path / "placed.mrk.json")
    np.testing.assert_allclose([landmark.expected_error_mm for landmark in kept], expected, rtol=1e-4)
    assert set(result.report()["landmarks"][0]["evidence"]) == set(NAMES)


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
    found = ~np.isnan(Matcher().match(template, landmarks, crop).landmarks.positions[:, 0])
    assert (~inside).sum() >= 3, "the crop tests nothing"
    assert not found[~inside & deep].any()
    assert found[inside & deep].mean() >= 0.9


def test_contrast_is_told_from_anatomy():
    image = settled().template
    assert correlation(image, image * 2 + 3) == pytest.approx(1, abs=0.01)
    assert correlation(image, image.max() - image) < 0
    assert correlation(torch.ones(4, 4, 4), image[:4, :4, :4]) == 1.0
