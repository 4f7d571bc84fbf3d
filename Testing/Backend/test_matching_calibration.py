"""Calibration: fits recover what made the data, and what they write is what a search reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.matching.uncertainty import error_model, multi_template_model
from deepfeatures.matching.uncertainty.calibration import (
    OFFSET,
    RELATIVE_OFFSET,
    ConsensusSample,
    MatchSamples,
    Predictions,
    assess,
    fit_error_model,
    fit_multi_template_model,
    fit_without_each,
    joined_predictions,
    predict_consensus,
    predict_matches,
    rank_correlation,
)
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE, ErrorModel
from deepfeatures.matching.uncertainty.multi_template_model import KEY, MultiTemplateModel

SLOPES = np.linspace(-0.3, 0.4, len(NAMES))


def made_matches(count: int, seed: int, noise: float = 0.5, shift: float = 0.0) -> MatchSamples:
    """Landmarks whose errors follow `SLOPES`, with noise of a known deviation."""
    generator = np.random.default_rng(seed)
    features = generator.normal(shift, 1, (count, len(NAMES)))
    logarithms = 0.6 + features @ SLOPES + generator.normal(0, noise, count)
    return MatchSamples(features, np.exp(logarithms) - OFFSET)


def made_consensus(model: MultiTemplateModel, count: int, number: int, seed: int) -> list[ConsensusSample]:
    """Landmarks whose errors follow a model."""
    generator, samples = np.random.default_rng(seed), []
    for expected, spread in np.exp(generator.normal(0.5, 0.6, (count, 2))):
        measured = multi_template_model.relative(expected, spread, number, RELATIVE_OFFSET)
        mean = model.intercept + model.of_spread * measured[0] + model.of_number * measured[1]
        relative = np.exp(generator.normal(mean, model.deviation)) - RELATIVE_OFFSET
        samples.append(ConsensusSample(expected, spread, number, relative * expected))
    return samples


def test_the_error_model_recovers_the_slopes_and_the_deviation():
    model = fit_error_model([made_matches(4000, 1), made_matches(3000, 2, shift=0.5)])
    np.testing.assert_allclose(model.slopes, SLOPES, atol=0.06)  # drawn towards zero by the ridge
    assert model.deviation == pytest.approx(0.5, abs=0.03)
    assert model.offset == OFFSET
    at_zero = model.log_errors(torch.zeros(1, len(NAMES))).item()
    assert at_zero == pytest.approx(0.6, abs=0.06)


def test_a_group_weighs_the_same_however_large_it_is():
    few, many = made_matches(300, 1), made_matches(300, 2, shift=1.0)
    ten_times = MatchSamples(np.tile(many.evidence, (10, 1)), np.tile(many.errors, 10))
    once, repeated = fit_error_model([few, many]), fit_error_model([few, ten_times])
    np.testing.assert_allclose(once.slopes, repeated.slopes, rtol=1e-6)
    np.testing.assert_allclose(once.means, (few.evidence.mean(0) + many.evidence.mean(0)) / 2)
    assert once.intercept == pytest.approx(repeated.intercept)


def test_the_model_of_several_templates_recovers_its_coefficients():
    true = MultiTemplateModel(0.1, 0.4, -0.2, RELATIVE_OFFSET, 0.5)
    groups = [made_consensus(true, 3000, number, seed=number) for number in (2, 3, 5)]
    found = fit_multi_template_model([*groups, []])
    for name in ("intercept", "of_spread", "of_number", "deviation"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=0.05), name


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_what_is_written_is_read_as_it_was_up_to_the_last_digit(seed):
    model = fit_error_model([made_matches(60, seed)])
    values = json.loads(json.dumps(error_model.to_values(model)))
    assert tuple(values["evidence"]) == NAMES
    read = error_model.from_values(values)
    features = torch.from_numpy(made_matches(20, seed + 1).evidence).float()
    torch.testing.assert_close(read.log_errors(features), model.log_errors(features), atol=5e-3, rtol=0)
    assert error_model.to_values(read) == values


def test_the_shipped_models_are_written_as_they_are_read():
    shipped = json.loads(FILE.read_text())
    for key, values in shipped.items():
        if key == KEY:
            assert multi_template_model.to_values(multi_template_model.load_multi_template_model()) == values
        else:
            network, layer, size = key.split("/")
            assert error_model.to_values(error_model.load_error_model(network, layer, int(size))) == values


def test_a_fold_takes_no_part_in_the_model_that_judges_it():
    folds = [made_matches(200, 1), made_matches(200, 2), made_matches(200, 3)]
    models = fit_without_each(folds, fit_error_model)
    assert [error_model.to_values(model) for model in models] == [
        error_model.to_values(fit_error_model([other for other in folds if other is not fold])) for fold in folds
    ]


def test_predictions_are_in_mm_and_better_than_chance():
    model, samples = fit_error_model([made_matches(2000, 1)]), made_matches(500, 7)
    told = predict_matches(model, samples, 2.0)
    np.testing.assert_allclose(told.errors_mm, 2 * samples.errors)
    assert told.expected_mm.mean() == pytest.approx(told.errors_mm.mean(), rel=0.15)
    found = assess(told)
    assert 0.4 < found.rank_correlation < 1
    assert 0 < found.reduction < found.largest_reduction < 1
    for stated, true in found.reliability:
        assert stated == pytest.approx(true, abs=0.12)


def test_predictions_of_several_templates_are_those_of_the_model():
    model = MultiTemplateModel(0.1, 0.4, -0.2, RELATIVE_OFFSET, 0.5)
    samples = made_consensus(model, 5, 3, seed=1)
    told = predict_consensus(model, samples)
    assert told.expected_mm[2] == model.error_mm(samples[2].expected_mm, samples[2].spread_mm, 3)
    assert told.probabilities[2] == model.probability(samples[2].expected_mm, samples[2].spread_mm, 3)
    both = joined_predictions([told, told])
    assert len(both.errors_mm) == 10
    np.testing.assert_array_equal(both.expected_mm[5:], told.expected_mm)


def test_a_perfect_prediction_reaches_what_can_be_reached():
    errors = np.arange(1.0, 101.0)
    found = assess(Predictions(errors, errors, (errors <= CLOSE_MM).astype(float)))
    assert found.rank_correlation == pytest.approx(1)
    assert found.reduction == found.largest_reduction == pytest.approx(1 - 40.5 / 50.5)
    assert [true for _, true in found.reliability] == pytest.approx([stated for stated, _ in found.reliability])


def test_rank_correlation_shares_ranks_of_equal_entries():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 6, 50), generator.normal(size=50).round(1)
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second)[0])


def test_slopes_of_nothing_but_noise_are_small():
    generator = np.random.default_rng(0)
    noise = MatchSamples(generator.normal(size=(4000, len(NAMES))), np.exp(generator.normal(0, 0.5, 4000)))
    assert isinstance(model := fit_error_model([noise]), ErrorModel)
    assert np.abs(model.slopes).max() < 0.05
