"""What several templates agree on: how far off it may be, by their own expectations and by how far apart they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfeatures.matching.uncertainty.error_model import CLOSE_MM
from deepfeatures.matching.uncertainty.multi_template_model import MOST, load_multi_template_model

LENGTHS = st.floats(0.01, 30.0)
NUMBERS = st.integers(2, MOST)


@given(LENGTHS, LENGTHS, NUMBERS, st.floats(1.1, 5.0))
def test_the_further_apart_they_are_the_further_off(expected, spread, number, more):
    by = load_multi_template_model()
    assert by.error_mm(expected, more * spread, number) >= by.error_mm(expected, spread, number) >= 0
    assert 0 <= by.probability(expected, more * spread, number) <= by.probability(expected, spread, number) <= 1


@given(LENGTHS, LENGTHS, NUMBERS)
def test_more_templates_are_nearer(expected, spread, number):
    by = load_multi_template_model()
    assert by.error_mm(expected, spread, number + 1) <= by.error_mm(expected, spread, number)
    assert by.error_mm(expected, spread, MOST + 7) == by.error_mm(expected, spread, MOST)


@given(LENGTHS, LENGTHS, NUMBERS, st.floats(0.1, 10.0))
def test_errors_grow_with_the_anatomy(expected, spread, number, size):
    by = load_multi_template_model()
    larger = by.error_mm(size * expected, size * spread, number)
    assert larger == pytest.approx(size * by.error_mm(expected, spread, number), abs=1e-2)


def test_the_chance_belongs_to_the_error():
    by = load_multi_template_model()
    near, middle, far = (by.probability(expected, expected, 3) for expected in (0.3, CLOSE_MM, 30.0))
    assert near > 0.99
    assert 0.3 < middle < 0.95
    assert far < 0.05


@given(LENGTHS, LENGTHS, NUMBERS, st.floats(1.0, 5.0))
def test_radii_are_those_of_the_templates_as_far_as_these_agree(expected, spread, number, more):
    by = load_multi_template_model()
    half, most = by.radii_mm((expected, 2 * expected), expected, spread, number)
    assert 0 <= half <= most
    farther = by.radii_mm((expected, 2 * expected), expected, more * spread, number)
    assert farther[0] >= half and farther[1] >= most
    assert by.radii_mm((expected, 4 * expected), expected, spread, number)[1] >= most


def test_that_they_coincide_does_not_break_it():
    assert load_multi_template_model().error_mm(0.0, 0.0, 2) >= 0
    assert load_multi_template_model().probability(1e-9, 0.0, 2) > 0.99
