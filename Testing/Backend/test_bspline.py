"""Cubic B-splines are ITK's, and their fit bends only as far as landmarks ask."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.transforms.bspline import BSplineTransform, fit_bspline
from deepfeatures.transforms.transform import Transform

ORIGIN, SPACING = np.array([10.0, -20.0, 5.0]), np.array([9.0, 11.0, 13.0])


def drawn(seed: int, size: tuple[int, int, int], spread_mm: float = 3.0) -> BSplineTransform:
    """With so many coefficients along x, y, z."""
    coefficients = np.random.default_rng(seed).normal(size=(3, *size[::-1])) * spread_mm
    return BSplineTransform(coefficients, ORIGIN, SPACING)


def as_itk(transform: BSplineTransform) -> sitk.BSplineTransform:
    found = sitk.BSplineTransform(3, 3)
    size = transform.coefficients.shape[:0:-1]
    found.SetFixedParameters([*map(float, size), *transform.origin, *transform.spacing, *np.eye(3).ravel()])
    found.SetParameters(transform.coefficients.ravel())
    return found


def lattice(size: tuple[int, int, int]) -> np.ndarray:
    return ORIGIN + SPACING * np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(4, 8)] * 3))
def test_points_go_where_itk_puts_them_also_outside_and_on_the_lattice(seed, size):
    transform, itk = drawn(seed, size), as_itk(drawn(seed, size))
    places = np.random.default_rng(seed).uniform(ORIGIN - 20, ORIGIN + SPACING * size + 10, (200, 3))
    points = np.concatenate([places, lattice(size)])
    expected = np.array([itk.TransformPoint(point) for point in points])
    np.testing.assert_allclose(transform(points), expected, rtol=0, atol=1e-9)
    assert (expected != points).any() and (expected == points).all(1).any(), "both sides of the border are tested"


def test_the_jacobian_is_the_derivative():
    transform = drawn(0, (7, 6, 8))
    points = np.random.default_rng(0).uniform(ORIGIN + SPACING, ORIGIN + SPACING * 4, (300, 3))
    np.testing.assert_allclose(transform.jacobian(points), Transform.jacobian(transform, points), atol=1e-7)
    itk = np.array([drawn_itk_jacobian(as_itk(transform), point) for point in points[:20]])
    np.testing.assert_allclose(transform.jacobian(points[:20]), itk, atol=1e-5)


def drawn_itk_jacobian(itk: sitk.BSplineTransform, point: np.ndarray, step: float = 1e-4) -> np.ndarray:
    moved = [np.array(itk.TransformPoint(point + step * axis)) for axis in np.eye(3)]
    return np.stack([(one - np.array(itk.TransformPoint(point))) / step for one in moved], -1)


def test_the_inverse_leads_back():
    transform = drawn(1, (7, 6, 8), spread_mm=1.0)
    points = np.random.default_rng(1).uniform(ORIGIN + 2 * SPACING, ORIGIN + SPACING * 3, (100, 3))
    back = transform.inverse(transform(points))
    np.testing.assert_allclose(back.points, points, atol=1e-4)
    assert back.errors_mm.max() < 1e-5


def pairs(count: int, wave_mm: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(seed).uniform(0, 100, (count, 3))
    return points, points + wave_mm * np.sin(points[:, ::-1] / 25)


def test_a_smooth_change_is_recovered_between_the_landmarks():
    points, targets = pairs(300, 3.0)
    transform = fit_bspline(points, targets, np.ones(len(points)), np.zeros(3), np.full(3, 100.0))
    others, wanted = pairs(200, 3.0, seed=1)
    off = np.linalg.norm(transform(others) - wanted, axis=1)
    assert off.mean() < 0.15 * np.linalg.norm(wanted - others, axis=1).mean()


def test_within_its_box_the_end_of_the_lattice_is_not_met():
    points, targets = pairs(40, 3.0)
    low, high = np.full(3, -30.0), np.array([130.0, 140.0, 150.0])
    transform = fit_bspline(points, targets, np.ones(len(points)), low, high)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
    inner = corners + 1e-3 * np.sign(points.mean(0) - corners)
    outer = corners - 1e-3 * np.sign(points.mean(0) - corners)
    np.testing.assert_allclose(transform(outer) - outer, transform(inner) - inner, atol=1e-3)


def test_a_pair_that_counts_less_is_followed_less():
    points, targets = pairs(40, 0.0)
    targets = targets + np.eye(40)[:, :1] * 10.0
    box = np.zeros(3), np.full(3, 100.0)
    moved = [
        np.linalg.norm(fit_bspline(points, targets, weights, *box)(points[:1]) - points[:1])
        for weights in (np.ones(40), np.where(np.arange(40) == 0, 0.05, 1.0), np.where(np.arange(40) == 0, 0.0, 1.0))
    ]
    assert moved[0] > 5.0 > moved[1] > 10 * moved[2]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_pairs_are_enough(count):
    points, targets = pairs(count, 0.0)
    transform = fit_bspline(points, targets + 1.0, np.ones(count), np.zeros(3), np.full(3, 100.0))
    assert np.linalg.norm(transform(points) - targets - 1.0, axis=1).max() < 1.0
