"""Calibration: fits recover what made the data, radii hold in people left out, and what is written is what is read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from calibration_samples import SLOPES, made_matches
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.errors import InputError
from deepfeatures.matching.uncertainty import calibration, error_model, multi_template_model
from deepfeatures.matching.uncertainty.assessment import (
    Predictions,
    assess,
    joined_predictions,
    predict_consensus,
    predict_left_out,
    predict_matches,
    rank_correlation,
)
from deepfeatures.matching.uncertainty.calibration import (
    OFFSET,
    RELATIVE_OFFSET,
    ConsensusSample,
    fit_error_model,
    fit_multi_template_model,
    fit_regression,
    fit_without_each,
)
from deepfeatures.matching.uncertainty.conformal import conformal_quantiles
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, FILE, VERSION
from deepfeatures.matching.uncertainty.multi_template_model import KEY, MultiTemplateModel
from deepfeatures.matching.uncertainty.samples import MatchSamples, joined, without_people, without_sets


def made_consensus(model: MultiTemplateModel, count: int, number: int, seed: int) -> list[ConsensusSample]:
    """Landmarks whose errors follow a model; radii of the templates that are 1 and 2 times what they expect."""
    generator, samples = np.random.default_rng(seed), []
    for person, (expected, spread) in enumerate(np.exp(generator.normal(0.5, 0.6, (count, 2)))):
        measured = multi_template_model.relative(expected, spread, number, RELATIVE_OFFSET)
        mean = model.intercept + model.of_spread * measured[0] + model.of_number * measured[1]
        error = expected * (np.exp(generator.normal(mean, model.deviation)) - RELATIVE_OFFSET)
        radii = expected, 2 * expected
        samples.append(ConsensusSample(expected, spread, number, error, radii, str(person)))
    return samples


def test_the_error_model_recovers_the_slopes_and_the_deviation():
    model = fit_error_model([made_matches(4000, 1), made_matches(3000, 2, centre=0.5)])
    np.testing.assert_allclose(model.slopes, SLOPES, atol=0.06)  # drawn towards zero by the ridge
    assert model.deviation == pytest.approx(0.5, abs=0.04)
    assert model.offset == OFFSET
    at_zero = model.log_errors(torch.zeros(1, len(NAMES))).item()
    assert at_zero == pytest.approx(0.6, abs=0.06)


def test_a_set_weighs_the_same_however_large_it_is():
    few, many = made_matches(300, 1), made_matches(300, 2, centre=1.0)
    once, repeated = fit_regression([few, many]), fit_regression([few, joined([many] * 10)])
    np.testing.assert_allclose(once.slopes, repeated.slopes, rtol=1e-6)
    assert once.intercept == pytest.approx(repeated.intercept)
    lighter = fit_regression([few, replace(many, weight=0.1)])
    assert abs(lighter.means[0] - few.evidence.mean(0)[0]) < abs(once.means[0] - few.evidence.mean(0)[0])


def test_residuals_are_as_wide_as_the_evidence_says():
    generator = np.random.default_rng(0)
    samples = made_matches(6000, 1, noise=0.0)
    wide = samples.evidence[:, 3] > 0
    noise = generator.normal(0, 1, 6000) * np.where(wide, 0.8, 0.3)
    noisy = replace(samples, errors=(samples.errors + OFFSET) * np.exp(noise) - OFFSET)
    model = fit_error_model([noisy])
    ratio = (model.radii_mm(samples.rows, 1.0, 0.9) + OFFSET) / (model.radii_mm(samples.rows, 1.0, 0.5) + OFFSET)
    assert ratio[wide].median() > 1.25 * ratio[~wide].median()


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_radii_hold_in_people_who_took_no_part(heavy, share):
    known = [made_matches(2500, seed, heavy=heavy, people=40) for seed in (1, 2)]
    new = made_matches(4000, 3, heavy=heavy)
    radii = fit_error_model(known).radii_mm(new.rows, 1.0, share).numpy()
    assert share - 0.02 < (new.errors <= radii).mean() < share + 0.06


def test_where_people_differ_the_radii_hold_in_new_people():
    """Two hundred landmarks of each of twenty people are no four thousand people."""

    def with_persons(seed: int, people: int) -> MatchSamples:
        samples, generator = made_matches(200 * people, seed, people=people), np.random.default_rng(seed)
        own = dict(zip(np.unique(samples.targets), generator.normal(0, 0.6, people), strict=True))
        factors = np.exp([own[name] for name in samples.targets])
        return replace(samples, errors=(samples.errors + OFFSET) * factors - OFFSET)

    held = []
    for seed in range(6):
        new = with_persons(100 + seed, 30)
        radii = fit_error_model([with_persons(seed, 20)]).radii_mm(new.rows, 1.0, 0.9).numpy()
        held.append((new.errors <= radii).mean())
    assert np.mean(held) >= 0.9


def test_a_set_that_is_harder_than_its_evidence_says_has_radii_of_its_own(monkeypatch):
    """Two groups of matches that a covariate tells apart have quantiles of their own."""
    monkeypatch.setattr(calibration, "SPLITS", {NAMES[0]: 0.0})
    samples = made_matches(6000, 1, people=200)
    second = samples.evidence[:, 0] >= 0
    tails = np.where(second, np.random.default_rng(0).exponential(1.0, 6000), 0)
    harder = replace(samples, errors=(samples.errors + OFFSET) * np.exp(tails) - OFFSET)
    radii = fit_error_model([harder]).radii_mm(harder.rows, 1.0, 0.9).numpy()
    for group in (second, ~second):
        assert (harder.errors <= radii)[group].mean() == pytest.approx(0.9, abs=0.03)


def test_anatomy_that_nobody_calibrated_is_covered_where_it_lies_outside():
    """Sets of different centres, harder than their evidence says: the last was left out."""
    sets = [
        made_matches(1500, seed, centre=centre, shift=0.3 * abs(centre), name=str(seed), person=f"{seed} ")
        for seed, centre in enumerate((-1.0, 0.0, 1.0, 2.5))
    ]
    model = fit_error_model(sets[:3])
    held = (sets[3].errors <= model.radii_mm(sets[3].rows, 1.0, 0.9).numpy()).mean()
    assert (model.distances(sets[3].rows) > 0.5).double().mean() > 0.5, "the set tests nothing"
    assert held >= 0.85


def test_everybody_is_judged_once_by_models_that_do_not_know_them():
    sets = [made_matches(300, 1, person="a"), made_matches(200, 2, person="b")]
    counts = [np.zeros(len(one)) for one in sets]
    for kept, judged in without_people(sets):
        fitted = {str(name) for one in kept for name in (*one.templates, *one.targets)}
        for one, mask, count in zip(sets, judged, counts, strict=True):
            assert not fitted & {str(name) for name in (*one.templates[mask], *one.targets[mask])}
            count += mask
    assert all((count == 1).all() for count in counts)
    assert [[len(one) for one in kept] for kept, _ in without_sets(sets)] == [[200], [300]]
    assert list(without_sets(sets[:1])) == []


def test_a_set_of_one_template_is_judged_by_its_other_targets():
    single = made_matches(300, 1)
    single = replace(single, templates=np.full(300, "template"))
    for kept, judged in without_people([single]):
        fitted, targets = set(kept[0].targets), set(single.targets[judged[0]])
        assert fitted and not fitted & targets


def test_fewer_people_than_folds_are_refused():
    with pytest.raises(InputError, match="5 people or more"):
        fit_error_model([made_matches(300, 1, people=4)])


@given(st.integers(2, 60), st.floats(0.02, 0.98))
def test_one_more_person_is_counted_as_the_worst(people, share):
    """With a value a person it is split conformal prediction: the value at rank `ceil((n + 1) q)`."""
    values = np.random.default_rng(people).permutation(people).astype(float)
    ones, names = np.ones(people), np.arange(people)
    rank = min(int(np.ceil((people + 1) * share - 1e-6)), people)
    assert conformal_quantiles(values, ones, names, (share,))[0] == rank - 1


def test_the_model_of_several_templates_recovers_its_coefficients():
    true = MultiTemplateModel(0.1, 0.4, -0.2, RELATIVE_OFFSET, 0.5)
    groups = [made_consensus(true, 3000, number, seed=number) for number in (2, 3, 5)]
    found = fit_multi_template_model([*groups, []])
    for name in ("intercept", "of_spread", "of_number", "deviation"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=0.05), name
    told = assess(predict_consensus(found, [one for group in groups for one in group]))
    assert told.coverage_50 == pytest.approx(0.5, abs=0.02)
    assert told.coverage_90 == pytest.approx(0.9, abs=0.02)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_what_is_written_is_read_as_it_was_up_to_the_last_digit(seed):
    model = fit_error_model([made_matches(400, seed)])
    values = json.loads(json.dumps(error_model.to_values(model)))
    assert tuple(values["evidence"]) == NAMES
    read = error_model.from_values(values)
    rows = made_matches(20, seed + 1).rows
    torch.testing.assert_close(read.log_errors(rows), model.log_errors(rows), atol=5e-3, rtol=0)
    torch.testing.assert_close(read.radii_mm(rows, 1.0, 0.9), model.radii_mm(rows, 1.0, 0.9), atol=0.02, rtol=0.02)
    assert error_model.to_values(read) == values


def test_the_shipped_models_are_written_as_they_are_read():
    shipped = json.loads(FILE.read_text())
    for key, values in shipped.items():
        if key == KEY:
            assert multi_template_model.to_values(multi_template_model.load_multi_template_model()) == values
        elif values.get("version") == VERSION:
            assert error_model.to_values(error_model.load_error_model(key)) == values


def test_version_1_knows_neither_range_nor_covariates_that_came_later():
    values = {"intercept": 0.5, "slopes": [1.0], "means": [0.2], "offset": 0.3, "deviation": 0.5}
    model = error_model.from_values({"evidence": [NAMES[1]], **values})
    assert model.range is None
    rows = torch.arange(3.0 * len(NAMES)).reshape(3, -1)
    torch.testing.assert_close(model.log_errors(rows), 0.5 + rows[:, 1] - 0.2)
    assert error_model.from_values({"evidence": ["the weather"], **values}) is None


def test_a_fold_takes_no_part_in_the_model_that_judges_it():
    folds = [made_matches(200, 1), made_matches(200, 2), made_matches(200, 3)]
    models = fit_without_each(folds, fit_regression)
    assert [error_model.to_values(model) for model in models] == [
        error_model.to_values(fit_regression([other for other in folds if other is not fold])) for fold in folds
    ]


def test_predictions_are_in_mm_and_better_than_chance():
    model, samples = fit_error_model([made_matches(2000, 1, people=200)]), made_matches(500, 7)
    samples = replace(samples, spacings_mm=np.full(500, 2.0))
    told = predict_matches(model, samples)
    np.testing.assert_allclose(told.errors_mm, 2 * samples.errors)
    np.testing.assert_allclose(told.radii_90_mm, model.radii_mm(samples.rows, 2.0, 0.9))
    np.testing.assert_allclose(told.probabilities, model.probabilities(samples.rows, 2.0))
    assert told.expected_mm.mean() == pytest.approx(told.errors_mm.mean(), rel=0.2)
    found = assess(told)
    assert 0.4 < found.rank_correlation < 1
    assert 0 < found.reduction < found.largest_reduction < 1
    for stated, true in found.reliability:
        assert stated == pytest.approx(true, abs=0.12)
    assert found.radius_ratio < 1


def test_left_out_sets_are_named_and_whole():
    sets = [made_matches(300, seed, name=name, person=name) for seed, name in enumerate("ab")]
    for folds in (without_people, without_sets):
        told = predict_left_out(sets, fit_regression, folds)
        assert sorted(told["a"].errors_mm) == pytest.approx(sorted(sets[0].errors))
        assert len(told["b"].errors_mm) == 300


def test_predictions_of_several_templates_are_those_of_the_model():
    model = MultiTemplateModel(0.1, 0.4, -0.2, RELATIVE_OFFSET, 0.5)
    samples = made_consensus(model, 5, 3, seed=1)
    told = predict_consensus(model, samples)
    known = samples[2].expected_mm, samples[2].spread_mm, 3
    assert told.expected_mm[2] == model.error_mm(*known)
    assert told.probabilities[2] == model.probability(*known)
    assert (told.radii_50_mm[2], told.radii_90_mm[2]) == model.radii_mm(samples[2].radii_mm, *known)
    both = joined_predictions([told, told])
    assert len(both.errors_mm) == 10
    np.testing.assert_array_equal(both.expected_mm[5:], told.expected_mm)


def test_a_perfect_prediction_reaches_what_can_be_reached():
    errors = np.arange(1.0, 101.0)
    sure = (errors <= CLOSE_MM).astype(float)
    found = assess(Predictions(errors, errors, sure, sure, 100 + 0 * errors, errors, errors))
    assert found.rank_correlation == pytest.approx(1)
    assert found.reduction == found.largest_reduction == pytest.approx(1 - 40.5 / 50.5)
    assert [true for _, true in found.reliability] == pytest.approx([stated for stated, _ in found.reliability])
    assert found.coverage_50 == found.coverage_90 == 1
    assert found.radius_ratio == pytest.approx(0.505)
    assert found.sure_and_wrong == found.sure_and_wrong_by_size == 0


def test_sure_and_wrong_is_counted():
    errors = np.array([1.0, 2.0, 6.0, 12.0, 30.0])
    sure = np.array([0.9, 0.9, 0.9, 0.9, 0.1])
    found = assess(Predictions(errors, errors, sure, sure, np.full(5, 100.0), errors / 2, errors))
    assert found.sure_and_wrong == pytest.approx(0.2)
    assert found.sure_and_wrong_by_size == pytest.approx(0.4)
    assert found.coverage_50 == 0


def test_rank_correlation_shares_ranks_of_equal_entries():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 6, 50), generator.normal(size=50).round(1)
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second)[0])


def test_slopes_of_nothing_but_noise_are_small():
    samples = made_matches(4000, 0)
    noise = replace(samples, errors=np.exp(np.random.default_rng(1).normal(0, 0.5, 4000)))
    model = fit_error_model([noise])
    assert np.abs(model.slopes).max() < 0.05
    assert np.abs(model.spread_slopes).max() < 0.05
