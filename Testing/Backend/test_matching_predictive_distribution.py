"""Radii, probabilities and expected errors belong together; evidence outside the calibrated range makes them worse."""

from __future__ import annotations

import pytest
import torch
from calibration_samples import made_matches
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.matching.uncertainty.calibrated_range import CalibratedRange
from deepfeatures.matching.uncertainty.calibration import fit_error_model
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.matching.uncertainty.predictive_distribution import LEVELS, NORMAL, PredictiveDistribution, Split

SHARES = st.floats(0.001, 0.999)
MODEL = fit_error_model([made_matches(900, 1, heavy=True), made_matches(600, 2, centre=0.5)])
ROWS = made_matches(40, 3, centre=0.3).rows


@settings(deadline=None)
@given(SHARES, st.floats(0.2, 5.0))
def test_the_chance_to_lie_within_a_radius_is_the_radius_own(share, spacing):
    radii = MODEL.radii_mm(ROWS, spacing, share)
    chances = MODEL.probabilities(ROWS, spacing, radii)
    assert torch.isfinite(radii).all()
    told = (radii > 0) & (radii < 1e5 * spacing)  # neither so small nor so large that they are cut
    torch.testing.assert_close(chances[told], torch.full_like(chances, share)[told], atol=1e-6, rtol=0)
    assert (chances[radii == 0] >= share).all()


@settings(deadline=None)
@given(SHARES, SHARES)
def test_a_larger_share_has_a_larger_radius(first, second):
    small, large = sorted((first, second))
    assert (MODEL.radii_mm(ROWS, 1.0, small) <= MODEL.radii_mm(ROWS, 1.0, large)).all()


@settings(deadline=None)
@given(st.floats(0.01, 200.0), st.floats(1.0, 10.0))
def test_a_larger_distance_has_a_larger_chance(distance, factor):
    near, far = (MODEL.probabilities(ROWS, 1.0, mm) for mm in (distance, factor * distance))
    assert (near <= far).all() and (near >= 0).all() and (far <= 1).all()


@settings(deadline=None)
@given(st.integers(0, len(NAMES) - 1), st.sampled_from([-1, 1]), st.floats(0.0, 30.0), st.floats(0.0, 30.0), SHARES)
def test_the_farther_outside_the_worse(column, sign, first, second, share):
    assert MODEL.range is not None
    edge = torch.tensor([MODEL.range.low, MODEL.range.high], dtype=torch.float64)[int(sign > 0)]
    less, more = ROWS.clone(), ROWS.clone()
    for rows, distance in zip((less, more), sorted((first, second)), strict=True):
        rows[:, column] = edge[column] + sign * distance
    assert (MODEL.radii_mm(less, 1.0, share) <= MODEL.radii_mm(more, 1.0, share) + 1e-9).all()
    assert (MODEL.errors_mm(less, 1.0) <= MODEL.errors_mm(more, 1.0) + 1e-9).all()
    assert (MODEL.probabilities(less, 1.0) >= MODEL.probabilities(more, 1.0) - 1e-9).all()


def test_evidence_counts_no_more_than_at_the_edge_of_its_range():
    span = CalibratedRange((-1.0,), (1.0,), (0.5,))
    rows = torch.tensor([[-4.0], [-1.0], [0.0], [1.0], [2.0]])
    torch.testing.assert_close(span.clamped(rows), torch.tensor([[-1.0], [-1.0], [0.0], [1.0], [1.0]]))
    torch.testing.assert_close(span.distances(rows), torch.tensor([6.0, 0.0, 0.0, 0.0, 2.0]))
    model = ErrorModel(0.5, (-1.0,), (0.0,), 0.3, 0.5, range=span)
    edge, outside = model.errors_mm(rows[3:], 1.0)
    assert outside > edge, "a slope below zero must not make what nobody has seen look good"


def test_the_farthest_evidence_has_a_finite_error():
    rows = torch.full((1, len(NAMES)), 1e6)
    assert 100 < MODEL.radii_mm(rows, 1.0, 0.9).item() < float("inf")
    assert MODEL.probabilities(rows, 1.0).item() < 0.2


def test_the_expected_error_is_the_mean():
    """Of a lognormal error it is known."""
    model = ErrorModel(1.0, (0.0,), (0.0,), 0.3, 0.5)
    assert model.errors_mm(torch.zeros(1, 1), 2.0).item() == pytest.approx(2 * (2.7183 * 1.1331 - 0.3), rel=0.1)


def test_each_distance_has_its_own_chance():
    within = torch.linspace(1, 9, len(ROWS)).double()
    together = MODEL.probabilities(ROWS, 1.0, within)
    for row, distance, chance in zip(ROWS, within, together, strict=True):
        assert MODEL.probabilities(row[None], 1.0, float(distance)).item() == pytest.approx(chance.item())


def test_groups_have_quantiles_of_their_own():
    tables = tuple(tuple(10.0 * number + value for value in NORMAL) for number in range(6))
    distribution = PredictiveDistribution((Split(1, 0.5),), tables)
    evidence, distances = torch.tensor([[0.0, 0.4], [0.0, 0.6], [9.0, 0.6]]), torch.tensor([0.0, 1.0, 5.0])
    groups = distribution.groups(evidence, distances)
    assert groups.tolist() == [0, 4, 5]
    medians = distribution.quantile(torch.tensor([0.5]), groups)[:, 0]
    torch.testing.assert_close(medians, torch.tensor([0.0, 40.0, 50.0]), atol=1e-5, rtol=0)


def test_normal_quantiles_are_those_of_the_normal_distribution():
    distribution, groups = PredictiveDistribution(), torch.zeros(len(LEVELS), dtype=torch.long)
    torch.testing.assert_close(
        distribution.probability(torch.tensor(NORMAL), groups), torch.tensor(LEVELS), atol=1e-5, rtol=0
    )
    tail = distribution.quantile(torch.tensor([0.999]), groups[:1]).item()
    assert 2.8 < tail < 4.5  # the normal one is 3.1
