"""Intensity policies: what each promises, for any volume, and that a match makes the same of template and target."""

from __future__ import annotations

import subprocess
import sys
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
    notes_on_policy,
    notes_on_values,
    scale_hu,
    scale_ranks,
    scaling,
)
from deepfeatures.data.notes import NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.volume_files import read_volume
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


def hounsfield(seed: int = 0, **shares: float) -> torch.Tensor:
    """Voxels of a CT in Hounsfield units, so many of each tissue."""
    means = {"air": -1000, "lung": -820, "fat": -100, "soft": 45, "contrast": 350, "bone": 600}
    shares = shares or {"air": 0.4, "lung": 0.1, "fat": 0.15, "soft": 0.3, "bone": 0.05}
    parts = [
        means[tissue] + 25 * noise(round(share * 20**3), seed=seed + number)
        for number, (tissue, share) in enumerate(shares.items())
    ]
    return torch.cat(parts).reshape(20, 20, 20)


def padded(voxels: torch.Tensor, value: float) -> torch.Tensor:
    """With half of the slices as scanners write them outside their field of view."""
    return torch.cat([torch.full_like(voxels, value), voxels])


REAL = {
    "whole": hounsfield(),
    "padded": padded(hounsfield(), -3024.0),
    "a crop of soft tissue and fat": hounsfield(fat=0.2, soft=0.8),
    "a crop of the lung": hounsfield(lung=0.85, soft=0.1, fat=0.05),
    "a crop of the spine": hounsfield(fat=0.1, soft=0.4, bone=0.5),
    "contrast medium": hounsfield(air=0.2, lung=0.3, soft=0.2, fat=0.1, contrast=0.15, bone=0.05),
    "metal": hounsfield().where(noise(20, 20, 20, seed=9) < 2.5, torch.tensor(30000.0)),
    "a crop with an implant": hounsfield(fat=0.2, soft=0.45, contrast=0.1, bone=0.25).where(
        noise(20, 20, 20, seed=9) < 1.5, torch.tensor(3071.0)
    ),
    "dense bone beside air": hounsfield(air=0.2, fat=0.1, soft=0.4, bone=0.3).where(
        hounsfield(air=0.2, fat=0.1, soft=0.4, bone=0.3) < 400, torch.tensor(1200.0)
    ),
    "clipped to a window": hounsfield().clamp(-160, 240),
}
OTHERS = {
    "stored without rescaling": hounsfield().clamp(min=-1024) + 1024,
    "the same, with padding": padded(hounsfield().clamp(min=-1024) + 1024, -2000.0),
    "a soft-tissue crop without rescaling": hounsfield(fat=0.2, soft=0.8) + 1024,
    "cone beam, shifted": hounsfield() + 400,
    "grey values times 30": (hounsfield().clamp(min=-1024) + 1024) * 30,
    **{
        f"grey values times {scale} with noise around 0": (hounsfield().clamp(min=-1000) + 1000) * scale
        + sigma * noise(20, 20, 20, seed=5)
        for scale, sigma in ((1, 25), (2, 40), (3, 60), (8, 200))
    },
    "micro-CT of 8 bits": ((hounsfield().clamp(-1000, 2000) + 1000) / 3000 * 255).round(),
    "micro-CT of 16 bits": ((hounsfield().clamp(-1000, 2000) + 1000) / 3000 * 65535).round(),
    "noise": 400 * noise(20, 20, 20),
    "nothing": torch.zeros(20, 20, 20),
    "padding alone": torch.full((20, 20, 20), -3024.0),
}
NEED_A_TAG = {
    "a crop of soft tissue and fat",
    "a crop of the spine",
    "a crop with an implant",
    "clipped to a window",
}  # no air: MR may look so


@pytest.mark.parametrize("kind", REAL)
def test_a_ct_in_hounsfield_units_is_read_as_such(kind):
    ct = Volume(REAL[kind], modality="CT")
    assert choose_policy("auto", ct, ct) == "hu"
    assert notes_on_values(ct) == ()
    untold = replace(ct, modality=None)
    assert choose_policy("auto", ct, untold) == ("percentile" if kind in NEED_A_TAG else "hu")
    assert choose_policy("auto", ct, replace(ct, modality="MR")) == "percentile"


@pytest.mark.parametrize("modality", ["CT", None])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_values_are_scaled_by_percentiles_whatever_the_modality_says(kind, modality):
    ct, other = Volume(hounsfield(), modality="CT"), Volume(OTHERS[kind], name="knee", modality=modality)
    assert choose_policy("auto", ct, other) == choose_policy("auto", other, ct) == "percentile"
    notes = notes_on_values(other)
    assert [note.kind for note in notes] == [NoteKind.INTENSITY] * (modality == "CT")
    assert choose_policy("hu", ct, other) == "hu"
    (note,) = notes_on_policy("hu", ct, other)
    assert note.text == "knee: values do not look like the Hounsfield units as which they are taken"


def test_a_real_ct_slice_is_in_hounsfield_units_and_its_stored_values_are_not():
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    slice_ = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    stored = torch.from_numpy(slice_.pixel_array.astype(np.float32))[None]
    for modality in ("CT", None):
        ct = Volume(stored * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept), modality=modality)
        assert choose_policy("auto", ct, ct) == "hu"
        assert choose_policy("auto", ct, Volume(stored, modality=modality)) == "percentile"


@pytest.mark.parametrize("folder", ["hippocampus", "brain", "mni152", "spine", "heads"])
def test_no_mr_volume_looks_like_hounsfield_units(data, folder):
    ct = Volume(hounsfield(), modality="CT")
    for file in sorted((data / folder).rglob("*.nii*"))[:8]:
        for modality in ("CT", None):
            assert choose_policy("auto", ct, replace(read_volume(file), modality=modality)) == "percentile"


def test_a_dicom_series_without_rescaling_is_noted_where_it_is_read(data, tmp_path):
    pytest.importorskip("pydicom")
    fault = data / "faults/ct_without_rescale"
    for name in ("make.py", "template.npz", "target.npz"):
        (tmp_path / name).write_bytes((fault / name).read_bytes())
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True)
    raw, ct = (read_volume(tmp_path / name) for name in ("raw_target", "hu_target"))
    assert (raw.modality, ct.modality) == ("CT", "CT")
    assert choose_policy("auto", ct, ct) == "hu"
    assert choose_policy("auto", ct, raw) == "percentile"
    assert ct.notes == ()
    (note,) = raw.notes
    assert note.kind == NoteKind.INTENSITY
    assert note.text.startswith("modality is CT but values do not look like Hounsfield units")


def test_hounsfield_units_are_refused_where_there_are_none():
    scan = Volume(noise(4, 4, 4), name="knee", modality="MR")
    with pytest.raises(InputError, match="knee is MR"):
        choose_policy("hu", Volume(noise(4, 4, 4), modality="CT"), scan)


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


def as_hounsfield(voxels: torch.Tensor) -> torch.Tensor:
    """A made head with air at -1000, and what is not air between fat and bone."""
    return torch.where(voxels < 50, -1000 + voxels, voxels - 250)


def test_auto_is_percentile_for_what_is_no_ct_and_follows_each_target(heads):
    template, landmarks, target, _ = heads
    auto, named = Matcher(device="cpu"), Matcher(intensity="percentile", device="cpu")
    ct, other = (replace(head, voxels=as_hounsfield(head.voxels), modality="CT") for head in (template, target))
    assert auto.match(ct, landmarks, other).intensity == "hu"
    raw = replace(other, voxels=other.voxels + 1024)
    result = auto.match(ct, landmarks, raw)
    assert result.intensity == "percentile"
    assert [note.kind for note in result.notes] == [NoteKind.INTENSITY]
    assert result.notes[0].text.startswith(f"{raw.name}: modality is CT")
    found, wanted = (matcher.match(ct, landmarks, target) for matcher in (auto, named))
    assert found.intensity == "percentile"
    np.testing.assert_array_equal(found.landmarks.positions, wanted.landmarks.positions)
    assert found.settings.intensity == "auto"


def test_a_name_on_the_command_line_reaches_the_matcher(place, fake_matcher):
    assert place("a.nii.gz", "--intensity", "histogram") == 0
    assert fake_matcher.made[-1].settings.intensity == "histogram"
    assert place("a.nii.gz", "--intensity", "bright") == 2
