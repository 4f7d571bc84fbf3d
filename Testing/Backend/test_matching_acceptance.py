"""Whatever the guided default is given: a clear result or message, never a crash, in a laptop's memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import NOTHING_TO_COMPARE, REASONS, UNLIKE
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.devices import peak_bytes
from deepfeatures.matching.guided import same_anatomy
from deepfeatures.matching.guided.same_anatomy import LEAST_CONSISTENT_SHARE, LEAST_SEARCHED_SIMILARITY
from deepfeatures.phantom import make_pair

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def heads():
    return make_pair(48, seed=3)


def match(template: Volume, landmarks: LandmarkSet, target: Volume) -> LandmarkSet:
    placed = Matcher(device="cpu").match(template, landmarks, target).landmarks
    assert [landmark.name for landmark in placed] == [landmark.name for landmark in landmarks]
    for landmark in placed:
        if landmark.is_defined:
            assert target.contains(np.array([landmark.position])).all()
        else:
            assert (landmark.status, landmark.position) == ("missing", None)
            assert landmark.reason in REASONS
    return placed


def grown(volume: Volume, factor: float) -> Volume:
    """The same voxels, each `factor` times as long."""
    return replace(volume, spacing=volume.spacing * factor, origin=volume.origin * factor)


def moved_with(landmarks: LandmarkSet, factor: float) -> LandmarkSet:
    points = (replace(landmark, position=tuple(np.multiply(landmark.position, factor))) for landmark in landmarks)
    return replace(landmarks, landmarks=tuple(points))


def crowd(points: np.ndarray) -> LandmarkSet:
    return LandmarkSet(tuple(Landmark(str(number), tuple(point)) for number, point in enumerate(points)))


def test_two_thousand_landmarks_take_bounded_memory_and_go_where_few_go(heads):
    template, landmarks, target, truth = heads
    random = np.random.default_rng(0)
    others = template.to_world(random.uniform(0.2, 0.8, (2000 - len(landmarks), 3)) * template.size)
    before = peak_bytes(CPU)["process"]
    placed = match(template, crowd(np.concatenate([landmarks.positions, others])), target)
    assert peak_bytes(CPU)["process"] - before < 1 << 30
    found = placed.positions[: len(landmarks)]
    few = match(template, landmarks, target).positions
    apart = np.linalg.norm(found - few, axis=1)
    assert np.nanmedian(apart) < target.spacing.mean()
    assert np.nanmean(np.linalg.norm(found - truth.positions, axis=1)) < 2 * target.spacing.mean()


def test_two_thousand_landmarks_at_one_point_stay_together(heads):
    template, landmarks, target, _ = heads
    placed = match(template, crowd(np.repeat(landmarks.positions[:1], 2000, axis=0)), target)
    assert not placed.missing
    assert np.ptp(placed.positions, axis=0).max() < 1e-3


def test_one_landmark_in_the_templates_corner(heads):
    template, _, target, _ = heads
    assert len(match(template, crowd(template.to_world(np.zeros((1, 3)))), target)) == 1


@pytest.mark.parametrize("value", [0.0, -1024.0, 1e6])
def test_a_target_of_air_has_no_landmark(heads, value):
    template, landmarks, target, _ = heads
    placed = match(template, landmarks, target.with_voxels(torch.full_like(target.voxels, value)))
    assert len(placed.missing) == len(landmarks)


def test_a_template_of_air_is_refused(heads):
    template, landmarks, target, _ = heads
    air = replace(template, voxels=torch.zeros_like(template.voxels), name="empty")
    with pytest.raises(InputError, match="empty has the same value everywhere"):
        match(air, landmarks, target)


def test_noise_has_no_landmark(heads):
    template, landmarks, target, _ = heads
    noise = torch.randn(target.voxels.shape, generator=torch.Generator().manual_seed(0))
    placed = match(template, landmarks, target.with_voxels(noise))
    assert {landmark.reason for landmark in placed} == {UNLIKE}


def test_another_organ_has_no_landmark(heads):
    template, landmarks, _, _ = heads
    organ = torch.randn(50, 60, 40, generator=torch.Generator().manual_seed(0))
    organ[5:45, 10:20, 8:14] += 100
    organ[5:45, 35:48, 20:30] += 300
    assert len(match(template, landmarks, Volume(organ, name="bones")).missing) == len(landmarks)


def chest(size: int, voxel_mm: float) -> Volume:
    """A body with two lungs, a heart and a spine: as round as a head, and like it by chance."""
    axis = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> torch.Tensor:
        return sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)) < 1

    voxels = torch.zeros(size, size, size)
    voxels[(y / 0.7) ** 2 + (x / 0.95) ** 2 < 1] = 100
    voxels[(y / 0.62) ** 2 + (x / 0.87) ** 2 < 1] = 140
    for side in (-0.42, 0.42):
        voxels[ball((0.1, 0, side), (0.8, 0.5, 0.36))] = 10
    voxels[ball((0, -0.15, 0.1), (0.4, 0.3, 0.35))] = 170
    for height in np.arange(-0.9, 0.9, 0.2):
        voxels[ball((height, 0.45, 0), (0.07, 0.12, 0.12))] = 250
    noise = torch.randn(voxels.shape, generator=torch.Generator().manual_seed(0))
    return Volume(voxels + 3 * noise, spacing=np.full(3, voxel_mm), name="chest")


def test_a_chest_that_is_outlined_as_a_head_is_has_no_landmark():
    template, landmarks, _, _ = make_pair(96, seed=3)
    matcher = Matcher(device="cpu")
    result = matcher.match(template, landmarks, chest(80, 2.5))
    placed = result.landmarks
    assert result.pose.similarity > LEAST_SEARCHED_SIMILARITY  # which alone would let it pass
    assert result.consistent_share < LEAST_CONSISTENT_SHARE
    assert {landmark.reason for landmark in placed} == {UNLIKE}


def test_ample_agreement_outweighs_a_low_likeness(heads, monkeypatch):
    """As between contrasts, where little is alike and yet nearly every point is matched back."""
    template, landmarks, target, _ = heads
    monkeypatch.setattr(same_anatomy, "LEAST_SIMILARITY", 1.1)
    assert any(landmark.is_defined for landmark in match(template, landmarks, target))
    monkeypatch.setattr(same_anatomy, "AMPLE_CONSISTENT_SHARE", 1.1)
    assert {landmark.reason for landmark in match(template, landmarks, target)} == {UNLIKE}


@pytest.mark.parametrize("voxel_mm", [0.1, 6.0])
def test_the_voxels_size_alone_changes_nothing(heads, voxel_mm):
    template, landmarks, target, truth = heads
    factor = voxel_mm / template.spacing.mean()
    placed = match(grown(template, factor), moved_with(landmarks, factor), grown(target, factor))
    assert not placed.missing
    wrong = np.linalg.norm(placed.positions - truth.positions * factor, axis=1) / factor
    assert wrong.mean() < 2 * target.spacing.mean()


def test_a_target_of_another_scale_is_placed_as_far_as_heads_differ(heads):
    template, landmarks, target, truth = heads
    larger = 6.0 / target.spacing.mean()
    placed = match(template, landmarks, grown(target, larger))
    assert not placed.missing
    wrong = np.linalg.norm(placed.positions / larger - truth.positions, axis=1)
    assert wrong.mean() < 2 * target.spacing.mean()


def test_a_target_a_fiftieth_of_the_size_is_said_to_look_otherwise(heads):
    template, landmarks, target, _ = heads
    placed = match(template, landmarks, grown(target, 0.1 / target.spacing.mean()))
    assert {landmark.reason for landmark in placed} == {UNLIKE}


def test_a_template_smaller_than_the_targets_voxels_is_refused(heads):
    template, landmarks, target, _ = heads
    factor = 0.1 / template.spacing.mean()
    with pytest.raises(InputError, match="mm across, too little"):
        match(grown(template, factor), moved_with(landmarks, factor), target)


def test_a_coarse_scan_of_the_same_head_still_places(heads):
    template, landmarks, target, truth = heads
    spacing_mm = 12.0
    for scan, other in ((template, target.resampled(spacing_mm)), (template.resampled(spacing_mm), target)):
        placed = match(scan, landmarks, other)
        wrong = np.linalg.norm(placed.positions - truth.positions, axis=1)
        assert np.nanmean(wrong) < spacing_mm


def noise(*size: int, spacing: np.ndarray | float = 1.0) -> Volume:
    voxels = torch.rand(*size, generator=torch.Generator().manual_seed(0))
    return Volume(voxels, spacing=np.broadcast_to(spacing, 3).copy(), name="thin")


@pytest.mark.parametrize("size", [(2, 2, 2), (80, 2, 2), (2, 60, 60)])
def test_tiny_and_thin_targets_are_said_to_look_otherwise(heads, size):
    template, landmarks, _, _ = heads
    assert {landmark.reason for landmark in match(template, landmarks, noise(*size))} == {UNLIKE}


@pytest.mark.parametrize("size", [(80, 4, 5), (5, 60, 60)])
def test_a_target_is_said_to_look_otherwise_than_a_thin_template(heads, size):
    _, _, target, _ = heads
    thin = noise(*size, spacing=target.spacing)
    (placed,) = match(thin, crowd(thin.centre[None]), target)
    assert placed.reason == UNLIKE


def test_a_template_of_four_voxels_along_each_axis_is_searched(heads):
    _, _, target, _ = heads
    tiny = noise(4, 4, 4, spacing=target.spacing)
    (placed,) = match(tiny, crowd(tiny.centre[None]), target)
    assert placed.is_defined or placed.reason in REASONS


def test_a_landmark_in_a_flat_place_of_the_template_is_missing():
    """As the eyes of heads without skull: every flat place looks like it, and its distance is 0."""
    template, landmarks, target, truth = make_pair(80)
    is_eye = np.array([landmark.name.endswith("eye") for landmark in landmarks])
    blank_mm = 40.0

    def blanked(volume: Volume, eyes: np.ndarray) -> Volume:
        indices = np.indices(volume.voxels.shape).reshape(3, -1).T[:, ::-1]
        near = np.linalg.norm(volume.to_world(indices)[:, None] - eyes, axis=-1).min(1) < blank_mm
        return volume.with_voxels(volume.voxels.masked_fill(torch.tensor(near).reshape(volume.voxels.shape), 0))

    given = blanked(template, landmarks.positions[is_eye]), landmarks, blanked(target, truth.positions[is_eye])
    placed = match(*given)
    assert {placed[index].reason for index in np.flatnonzero(is_eye)} == {NOTHING_TO_COMPARE}
    assert not {landmark.reason for landmark in match(template, landmarks, target)} & {NOTHING_TO_COMPARE}
    assert sum(landmark.is_defined for landmark in placed) >= 10
