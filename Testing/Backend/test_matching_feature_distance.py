"""Distance maps equal what cutting every patch would give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.matching.greedy import distance
from deepfeatures.matching.greedy.distance import distance_map, distance_maps, mean_distance_maps


def extract_windows(features: torch.Tensor, count: int, stride: int) -> torch.Tensor:
    """Every map, cut: shape `(channels, d', h', w', n, n, n)`."""
    for axis in (1, 2, 3):
        features = features.unfold(axis, (count - 1) * stride + 1, 1)
    return features[..., ::stride, ::stride, ::stride]


def naive(templates: torch.Tensor, features: torch.Tensor, stride: int) -> torch.Tensor:
    cut = extract_windows(features.double(), templates.shape[-1], stride)
    return torch.stack([(cut - t.double()[:, None, None, None]).square().sum((0, 4, 5, 6)) for t in templates])


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    landmarks=st.integers(1, 3),
    channels=st.integers(1, 9),
    count=st.integers(1, 7),
    stride=st.integers(1, 4),
    extra=st.tuples(*[st.integers(0, 5)] * 3),
    level=st.sampled_from([0.0, 50.0]),
    channels_last=st.booleans(),
)
def test_equals_the_distance_of_patches_cut_one_by_one(landmarks, channels, count, stride, extra, level, channels_last):
    size = [(count - 1) * stride + 1 + more for more in extra]
    features = drawn(1, *size, channels).movedim(-1, 0) + level
    features = features if channels_last else features.contiguous()
    templates = drawn(2, landmarks, channels, count, count, count) + level
    expected = naive(templates, features, stride)
    found = distance_maps(templates, features, stride)
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-4 * expected.max()


@pytest.mark.parametrize("correlate", [distance._correlate_by_products, distance._correlate_by_fourier])
@pytest.mark.parametrize(("count", "stride"), [(1, 1), (1, 8), (3, 8), (5, 2), (9, 1)])
def test_both_ways_to_correlate_agree_when_work_is_done_in_many_blocks(correlate, count, stride, monkeypatch):
    monkeypatch.setattr(distance, "BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(distance, "FOURIER_BYTES", 1 << 14)
    size = [(count - 1) * stride + 4 + k for k in range(3)]
    features, templates = drawn(3, 10, *size) - 0.5, drawn(4, 2, 10, count, count, count) - 0.5
    cut = extract_windows(features.double(), count, stride)
    expected = torch.einsum("czyxijk,lcijk->lzyx", cut, templates.double())
    found = correlate(templates, features, stride, distance.NO_MARGINS)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("count", [2, 5])
def test_margins_repeat_the_border_of_the_features(count):
    features, templates = drawn(10, 6, 9, 10, 11), drawn(11, 2, 6, count, count, count)
    margins = ((0, 3), (12, 1), (2, 0))
    extended = torch.nn.functional.pad(features[None], (2, 0, 12, 1, 0, 3), mode="replicate")[0]
    found, expected = distance_maps(templates, features, 2, margins=margins), distance_maps(templates, extended, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))
    means = templates.mean((2, 3, 4))
    found = mean_distance_maps(means, features, count, 2, margins=margins)
    expected = mean_distance_maps(means, extended, count, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


def test_bfloat16_features_are_added_up_in_float32():
    features, template = drawn(5, 64, 14, 14, 14).bfloat16(), drawn(6, 64, 6, 6, 6)
    expected = naive(template[None], features, 2)[0]
    found = distance_map(template, features, 2)
    assert found.dtype == torch.float32
    assert ((found - expected).abs() <= 1e-4 * expected).all()


def test_the_template_itself_has_distance_zero_where_it_was_taken():
    features = drawn(7, 16, 20, 20, 20) + 10
    template = features[:, 4:13:2, 5:14:2, 6:15:2]
    found = distance_map(template, features, 2)
    assert divmod(int(found.argmin()), 12 * 12) == (4, 5 * 12 + 6)
    assert found.min() <= 1e-5 * template.square().sum()


@pytest.mark.parametrize(("count", "stride"), [(1, 1), (4, 2), (3, 4)])
def test_mean_maps_compare_the_mean_over_the_window(count, stride, monkeypatch):
    monkeypatch.setattr(distance, "BLOCK_BYTES", 1 << 15)
    features = drawn(8, 12, 15, 14, 13)
    means = drawn(9, 3, 12)
    seen = extract_windows(features.double(), count, stride).mean((4, 5, 6))
    expected = torch.stack([(seen - mean[:, None, None, None]).square().sum(0) for mean in means])
    found = mean_distance_maps(means, features, count, stride)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.max()
