"""Doubt about the whole and about a point together."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.matching.uncertainty.mixture import Mixture

COUNT = len(NAMES)
MODEL = ErrorModel(0.4, (0.1,) * COUNT, (0.0,) * COUNT, 0.3, 0.6)
EVIDENCE = torch.linspace(-0.3, 0.3, 5, dtype=torch.float64)[:, None].expand(5, COUNT)


def mixture(chance: float, distance_mm: float) -> Mixture:
    distances = torch.full((5, 1), distance_mm, dtype=torch.float64)
    return Mixture(MODEL, EVIDENCE, 1.5, torch.tensor([chance], dtype=torch.float64), distances)


chances = st.floats(0.0, 0.5)
distances = st.floats(5.0, 100.0)


@settings(max_examples=60, deadline=None)
@given(chances, distances, st.sampled_from([0.2, 0.5, 0.9]))
def test_radii_hold_their_share(chance, distance_mm, share):
    places = mixture(chance, distance_mm)
    radii = places.radii_mm(share)
    assert (places.within(radii + 1e-4) >= share - 1e-6).all()
    assert (places.within((radii - 1e-3).clamp(min=0)) <= share + 1e-3).all()


@settings(max_examples=60, deadline=None)
@given(chances, distances)
def test_another_place_makes_nothing_surer(chance, distance_mm):
    alone, shared = mixture(0.0, distance_mm), mixture(chance, distance_mm)
    three = torch.full((5,), 3.0, dtype=torch.float64)
    assert (shared.within(three) <= alone.within(three) + 1e-9).all()
    assert (shared.radii_mm(0.9) >= alone.radii_mm(0.9) - 1e-4).all()
    assert (shared.errors_mm() >= alone.errors_mm()).all()


def test_a_likely_other_place_is_within_the_90_percent_radius_and_not_within_that_of_50():
    places = mixture(0.3, 35.0)
    assert (places.radii_mm(0.9) > 30).all()
    assert (places.radii_mm(0.5) < 20).all()


def test_without_other_places_the_model_speaks_alone():
    places = Mixture(MODEL, EVIDENCE, 1.5, torch.zeros(0), torch.zeros(5, 0))
    assert torch.equal(places.radii_mm(0.9), MODEL.radii_mm(EVIDENCE, 1.5, 0.9))
    three = torch.full((5,), 3.0, dtype=torch.float64)
    torch.testing.assert_close(places.within(three), MODEL.probabilities(EVIDENCE, 1.5, 3.0))
