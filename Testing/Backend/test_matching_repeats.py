"""Anatomy that repeats: which level is the right one is judged by all of it, and doubt about it is stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.missing_reason import MIRRORED, missing_text
from deepfeatures.data.volume import Volume
from deepfeatures.features.dense import encode_dense
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.pyramid import Image, ImagePyramid
from deepfeatures.matching.geometry.sampling import apply_affine, translation
from deepfeatures.matching.guided.hypotheses import hypotheses, repeats
from deepfeatures.matching.guided.registration import finest_spacing
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose.estimation import Pose
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.pose.initialization import world_aligned
from deepfeatures.matching.preprocessing import in_canonical_order
from deepfeatures.networks.mind import Mind
from deepfeatures.phantom import make_pair
from deepfeatures.phantom.anatomies import draw

SETTINGS = GuidedSettings()


@pytest.fixture(scope="module")
def spine() -> tuple[Volume, LandmarkSet]:
    return draw("spine", 40, spacing_mm=1.5)


def pair_of(template: Volume, target: Volume) -> ImagePair:
    encoder = Mind()

    def pyramid(volume: Volume) -> ImagePyramid:
        grid = in_canonical_order(volume)
        return ImagePyramid(Image(grid, 255 * (grid.voxels / grid.voxels.quantile(0.99)).clamp(0, 1)))

    return ImagePair(pyramid(template), pyramid(target), lambda voxels: encode_dense(encoder, "ssc_r1_d2", voxels))


def lags_of(volume: Volume, landmarks: LandmarkSet) -> np.ndarray:
    pair = pair_of(volume, volume)
    places = pair.template.image.from_world(landmarks.positions)
    return repeats(pair, places, finest_spacing(pair.template.image, pair.target.image, SETTINGS), SETTINGS).numpy()


def pitch_mm(landmarks: LandmarkSet) -> float:
    """Between the centres of neighbouring vertebral bodies."""
    centres = np.array([mark.position for mark in landmarks if mark.name.endswith("centre") or " " not in mark.name])
    return float(np.median(np.linalg.norm(np.diff(centres, axis=0), axis=1)))


def test_a_spine_repeats_by_a_vertebra(spine):
    volume, landmarks = spine
    lags = lags_of(volume, landmarks)
    assert len(lags) == 2
    assert lags[0] == pytest.approx(-lags[1])
    assert np.linalg.norm(lags[0]) == pytest.approx(pitch_mm(landmarks), rel=0.3)


def test_a_head_does_not_repeat():
    template, landmarks, _, _ = make_pair(48, seed=3)
    assert len(lags_of(template, landmarks)) == 0


def test_from_a_vertebra_off_the_right_level_is_found(spine):
    volume, landmarks = spine
    pair = pair_of(volume, volume)
    places = pair.template.image.from_world(landmarks.positions)
    finest = finest_spacing(pair.template.image, pair.target.image, SETTINGS)
    lags = repeats(pair, places, finest, SETTINGS)
    moved = world_aligned(pair.template.image, pair.target.image) @ translation(lags[0])
    found = hypotheses(pair, Pose(moved, "centres", 0.5), lags, places, finest, SETTINGS)
    assert sum(one.probability for one in found) == pytest.approx(1)
    errors = [float((apply_affine(one.pose.matrix, places) - places).norm(dim=1).median()) for one in found]
    assert errors[0] < 2 * finest
    assert found[0].probability > 0.9


@pytest.fixture(scope="module")
def ambiguous():
    """Two people in whom nothing tells which vertebra is which."""
    template, landmarks = draw("spine", 40, with_ends=False, spacing_mm=1.5)
    target, truth = draw("spine", 41, with_ends=False, spacing_mm=1.5, seed=1)
    return Matcher(device="cpu").match(template, landmarks, target), truth


def test_what_cannot_be_told_apart_is_ambiguous_and_the_chance_is_shared(ambiguous):
    result, _ = ambiguous
    assert result.alternatives
    assert all(landmark.ambiguous for landmark in result.landmarks if landmark.is_defined)
    chances = [one.probability for one in result.alternatives]
    assert chances == sorted(chances, reverse=True)
    assert 0.1 <= sum(chances) < 1
    for landmark in result.landmarks:
        if landmark.is_defined:
            assert landmark.probability_within_3mm <= 1 - sum(chances) + 1e-6


def test_radii_reach_to_the_other_places(ambiguous):
    result, _ = ambiguous
    other = max(result.alternatives, key=lambda one: one.probability)
    if other.probability > 0.15:
        for landmark, there in zip(result.landmarks, other.landmarks, strict=True):
            if landmark.is_defined and there.is_defined:
                assert landmark.radius_90_mm > 0.8 * np.linalg.norm(np.subtract(there.position, landmark.position))


def test_the_report_has_the_other_places(ambiguous):
    result, _ = ambiguous
    (first, *_) = result.report()["alternatives"]
    assert first["text"].endswith(("the head", "the feet"))
    assert [row["name"] for row in first["landmarks"]] == [landmark.name for landmark in result.landmarks]


def test_a_hand_of_the_other_side_is_told_as_a_mirror_image():
    template, landmarks = draw("digits", 1, spacing_mm=1.2)
    target, _ = draw("digits", 2, spacing_mm=1.2, seed=1)
    axis = 2 - int(np.abs(target.direction[0]).argmax())
    mirrored = replace(target, voxels=target.voxels.flip(axis))
    placed = Matcher(device="cpu").match(template, landmarks, mirrored).landmarks
    assert {landmark.reason for landmark in placed} == {MIRRORED}
    assert "left and right" in missing_text(placed.landmarks)


def test_lags_need_no_more_memory_for_many_landmarks(spine):
    volume, landmarks = spine
    many = torch.from_numpy(np.repeat(landmarks.positions, 300, axis=0)).numpy()
    pair = pair_of(volume, volume)
    finest = finest_spacing(pair.template.image, pair.target.image, SETTINGS)
    few, more = (
        repeats(pair, pair.template.image.from_world(points), finest, SETTINGS)
        for points in (landmarks.positions, many)
    )
    assert torch.equal(few, more)
