"""Intensity policies: what each promises, for any volume, and that a match makes the same of template and target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.intensity import (
    HALF_RANGE,
    choose_policy,
    match_histogram,
    scale_hu,
    scale_ranks,
    scaling,
)
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.settings import INTENSITIES
from deepfeatures.phantom import make_pair

NAMED = [name for name in INTENSITIES if name != "auto"]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


volumes = st.builds(
    lambda seed, scale, shift, levels: torch.round(noise(5, 6, 7, seed=seed) * levels) / levels * scale + shift,
    st.integers(0, 99),
    st.sampled_from([1e-3, 1.0, 400.0, 1e6]),
    st.sampled_from([-1000.0, 0.0, 3e4]),
    st.sampled_from([1, 3, 100]),
)


@pytest.mark.parametrize("policy", NAMED)
@settings(max_examples=25, deadline=None)
@given(voxels=volumes, template=volumes)
def test_no_policy_turns_darker_into_brighter(policy, voxels, template):
    before = voxels.clone()
    scaled = scaling(policy, template)(voxels)
    assert torch.equal(voxels, before)
    assert scaled.shape == voxels.shape
    assert scaled.dtype == torch.float32
    assert torch.isfinite(scaled).all()
    in_order = scaled.flatten()[voxels.flatten().argsort()]
    assert (in_order.diff() >= 0).all()
    if policy != "zscore":
        assert scaled.abs().max() <= HALF_RANGE * (1 + 1e-6)


@pytest.mark.parametrize("policy", NAMED)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e3, 3e7])
def test_a_flat_volume_stays_flat(policy, value):
    scaled = scaling(policy, noise(4, 4, 4))(torch.full((3, 4, 5), value))
    assert scaled.min() == scaled.max()
    assert abs(scaled[0, 0, 0]) <= HALF_RANGE


@settings(deadline=None)
@given(st.integers(0, 99))
def test_ranks_stay_the_same_when_the_contrast_changes(seed):
    voxels = noise(6, 6, 6, seed=seed)
    voxels[:2] = voxels.min()  # air
    curved = torch.sign(voxels) * voxels.abs().sqrt() * 700 + 1000
    assert torch.equal(scale_ranks(voxels), scale_ranks(curved))
    assert scale_ranks(voxels).unique().numel() == voxels.unique().numel()


@settings(deadline=None)
@given(st.integers(0, 99))
def test_the_targets_histogram_becomes_the_templates(seed):
    template, target = noise(6, 7, 8, seed=seed) ** 3, noise(8, 7, 6, seed=seed + 1).exp()
    matched = match_histogram(target, like=template)
    own = match_histogram(template, like=template)
    torch.testing.assert_close(matched.flatten().sort().values, own.flatten().sort().values)


def test_a_volume_of_another_size_gets_the_templates_quantiles():
    template, target = noise(20, 20, 20) ** 2, noise(9, 30, 17, seed=1)
    shares = torch.linspace(0.02, 0.98, 25)
    wanted = match_histogram(template, like=template).flatten().quantile(shares)
    found = match_histogram(target, like=template).flatten().quantile(shares)
    torch.testing.assert_close(found, wanted, atol=0.5, rtol=0)


def test_a_template_matched_to_itself_is_scaled_by_percentiles():
    template = noise(12, 13, 14)
    torch.testing.assert_close(match_histogram(template, like=template), scaling("percentile", template)(template))


def test_hounsfield_units_mean_the_same_in_every_volume():
    chest, head = torch.tensor([-1000.0, -800, 40, 60]), torch.tensor([-3024.0, 40, 1500, 60, 30])
    assert torch.equal(scale_hu(chest)[[2, 3]], scale_hu(head)[[1, 3]])
    torch.testing.assert_close(scale_hu(chest)[[0]], torch.tensor([-HALF_RANGE]))
    torch.testing.assert_close(scale_hu(head)[[2]], torch.tensor([HALF_RANGE]))


def hounsfield(seed: int = 0) -> torch.Tensor:
    """Air, and soft tissue with some fat and bone in it."""
    voxels = 40 + 30 * noise(12, 12, 12, seed=seed)
    voxels[:, :, :5] = -1000 + 10 * noise(12, 12, 5, seed=seed)
    voxels[4, 4, 6:] = 900
    return voxels


@pytest.mark.parametrize(
    ("template", "target", "policy"),
    [
        (Volume(noise(4, 4, 4), modality="CT"), Volume(noise(4, 4, 4), modality="CT"), "hu"),
        (Volume(noise(4, 4, 4), modality="CT"), Volume(hounsfield()), "hu"),
        (Volume(hounsfield()), Volume(hounsfield(1)), "hu"),
        (Volume(hounsfield()), Volume(hounsfield(1), modality="MR"), "percentile"),
        (Volume(noise(4, 4, 4), modality="CT"), Volume(noise(4, 4, 4), modality="MR"), "percentile"),
        (Volume(noise(4, 4, 4), modality="CT"), Volume(noise(4, 4, 4)), "percentile"),
        (Volume(hounsfield()), Volume(hounsfield() + 1000), "percentile"),
        (Volume(noise(9, 9, 9) * 400), Volume(noise(9, 9, 9) * 300), "percentile"),
        (Volume(torch.zeros(4, 4, 4)), Volume(torch.full((4, 4, 4), -1000.0)), "percentile"),
    ],
)
def test_only_two_ct_volumes_are_read_in_hounsfield_units(template, target, policy):
    assert choose_policy("auto", template, target) == policy


def test_hounsfield_units_are_refused_where_there_are_none():
    scan = Volume(noise(4, 4, 4), name="knee", modality="MR")
    with pytest.raises(InputError, match="knee is MR"):
        choose_policy("hu", Volume(noise(4, 4, 4), modality="CT"), scan)
    assert choose_policy("hu", Volume(noise(4, 4, 4)), Volume(noise(4, 4, 4))) == "hu"


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="rank"):
        Matcher(intensity="bright")
    with pytest.raises(InputError, match="search dense"):
        Matcher(search="patch", intensity="rank")


@pytest.fixture(scope="module")
def heads():
    return make_pair(48, seed=3)


@pytest.mark.parametrize("search", ["guided", "dense"])
def test_a_changed_contrast_is_nothing_to_ranks(heads, search):
    template, landmarks, target, _ = heads
    curved = replace(target, voxels=torch.sign(target.voxels) * target.voxels.abs().sqrt())
    # a greedy search interpolates before it scales; equal cubic voxels leave nothing to interpolate
    template, target, curved = (replace(volume, spacing=np.ones(3)) for volume in (template, target, curved))
    landmarks = replace(
        landmarks,
        landmarks=tuple(
            replace(landmark, position=tuple(template.to_world(index[None])[0]))
            for landmark, index in zip(landmarks, heads[0].to_index(landmarks.positions), strict=True)
        ),
    )
    matcher = Matcher(search=search, intensity="rank", device="cpu")
    plain, changed = (matcher.match(template, landmarks, volume) for volume in (target, curved))
    np.testing.assert_allclose(changed.landmarks.positions, plain.landmarks.positions, atol=1e-3)
    assert changed.intensity == "rank"


def test_auto_is_percentile_for_what_is_no_ct_and_follows_each_target(heads):
    template, landmarks, target, _ = heads
    auto, named = Matcher(device="cpu"), Matcher(intensity="percentile", device="cpu")
    ct = replace(template, modality="CT")
    assert auto.match(ct, landmarks, replace(target, modality="CT")).intensity == "hu"
    found, wanted = (matcher.match(ct, landmarks, target) for matcher in (auto, named))
    assert found.intensity == "percentile"
    np.testing.assert_array_equal(found.landmarks.positions, wanted.landmarks.positions)
    assert found.settings.intensity == "auto"


def test_a_name_on_the_command_line_reaches_the_matcher(place, fake_matcher):
    assert place("a.nii.gz", "--intensity", "histogram") == 0
    assert fake_matcher.made[-1].settings.intensity == "histogram"
    assert place("a.nii.gz", "--intensity", "bright") == 2
