"""The matcher as users hold it: volumes and landmarks in, landmarks out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher, devices
from deepfeatures.matching.greedy import search as greedy_search

FAST = {"network": "mind", "layer": "ssc_r1_d1", "patch_size": 8, "device": "cpu"}


def blobs(seed: int = 0, size=(22, 24, 26)) -> torch.Tensor:
    """Smooth noise: every place looks different."""
    coarse = torch.rand(1, 1, 7, 7, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=True)[0, 0] * 900


@pytest.fixture
def template() -> Volume:
    return Volume(blobs(), origin=np.array([-7.0, 3.0, 11.0]), name="template")


@pytest.fixture
def landmarks(template) -> LandmarkSet:
    indices = np.array([[9.3, 8.8, 10.4], [14.5, 12.0, 9.0], [16.0, 15.2, 13.6]])
    points = template.to_world(indices)
    return LandmarkSet(
        (
            Landmark("a", tuple(points[0]), description="first"),
            Landmark("gone", None, "missing", "never placed"),
            Landmark("b", tuple(points[1])),
            Landmark("c", tuple(points[2]), description="last", locked=True),
        ),
        name="points",
    )


def shifted(template: Volume, voxels=(2, -1, 1), world=(40.0, -25.0, 8.0)) -> tuple[Volume, np.ndarray]:
    """The template's content moved by whole voxels in another world frame, and the move in mm."""
    rolled = torch.roll(template.voxels, voxels[::-1], (0, 1, 2))
    return replace(template, voxels=rolled, origin=template.origin + world, name="target"), np.add(voxels, world)


def stored_otherwise(volume: Volume, axes=(2, 0, 1), flips=(0, 2)) -> Volume:
    """The same volume with its axes (x, y, z) in another order and some of them turned around."""
    dims = [2 - axes[2 - k] for k in range(3)]
    voxels = volume.voxels.permute(*dims)
    direction, spacing = volume.direction[:, list(axes)].copy(), volume.spacing[list(axes)]
    origin = volume.origin.copy()
    for flip in flips:
        origin = origin + direction[:, flip] * spacing[flip] * (voxels.shape[2 - flip] - 1)
        direction[:, flip] *= -1
        voxels = voxels.flip(2 - flip)
    return replace(volume, voxels=voxels.contiguous(), origin=origin, spacing=spacing, direction=direction)


@pytest.mark.parametrize("search", ["dense", "patch"])
def test_a_moved_template_is_found_to_the_sub_voxel(template, landmarks, search):
    target, moved = shifted(template)
    placed = Matcher(**FAST, search=search, search_radius_mm=4.0).match(template, landmarks, target).landmarks
    assert placed.name == "points"
    assert [(p.name, p.status, p.description) for p in placed] == [
        ("a", "defined", "first"),
        ("gone", "missing", "never placed"),
        ("b", "defined", ""),
        ("c", "defined", "last"),
    ]
    kept = [0, 2, 3]
    np.testing.assert_allclose(placed.positions[kept], landmarks.positions[kept] + moved, atol=1e-9)
    assert all(placed[k].feature_distance < 0.05 for k in kept)
    assert placed[1].position is None and placed[1].feature_distance is None


@pytest.mark.parametrize("search", ["dense", "patch"])
def test_landmarks_without_a_position_stay_without_one(template, landmarks, search):
    unplaced = LandmarkSet((landmarks[1],))
    found = Matcher(search=search, **FAST).match(template, unplaced, shifted(template)[0]).landmarks
    assert [(one.name, one.status, one.position) for one in found] == [("gone", "missing", None)]


@pytest.mark.parametrize("patch_size", [7, 8])
def test_even_and_odd_patches_agree(template, landmarks, patch_size):
    target, moved = shifted(template)
    placed = Matcher(**{**FAST, "patch_size": patch_size}).match(template, landmarks, target).landmarks
    np.testing.assert_allclose(placed.positions[2], landmarks.positions[2] + moved, atol=1e-9)


def test_how_a_target_is_stored_does_not_move_its_landmarks(template, landmarks):
    target = replace(template, voxels=blobs(3), origin=np.array([4.0, 5.0, 6.0]))
    search = Matcher(**FAST)
    expected = search.match(template, landmarks, target).landmarks.positions
    found = search.match(template, landmarks, stored_otherwise(target)).landmarks.positions
    np.testing.assert_allclose(found, expected, atol=1e-6)
    found = Matcher(**FAST).match(stored_otherwise(template, (1, 2, 0), (1,)), landmarks, target).landmarks.positions
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_target_of_other_spacing_is_compared_on_the_templates_grid(template, landmarks):
    fine = template.resampled(0.5)
    placed = Matcher(**FAST).match(template, landmarks, fine).landmarks
    kept = [0, 2, 3]
    assert np.linalg.norm(placed.positions[kept] - landmarks.positions[kept], axis=1).max() < 1.0


def test_brightness_and_a_few_extreme_voxels_of_the_target_do_not_matter(template, landmarks):
    target, moved = shifted(template)
    voxels = target.voxels * 7 + 300
    voxels[0, 0, :5] = 1e6
    found = (
        Matcher(network="vgg19-3d-random", layer="conv1_2", patch_size=8, device="cpu")
        .match(template, landmarks, target.with_voxels(voxels))
        .landmarks
    )
    np.testing.assert_allclose(found.positions[2], landmarks.positions[2] + moved, atol=1e-9)


def test_bfloat16_finds_the_same_voxels(template, landmarks):
    target, _ = shifted(template)
    noisy = target.with_voxels(target.voxels + 20 * torch.randn(target.voxels.shape))
    found = [
        Matcher(network="vgg19-3d-random", layer="conv1_2", patch_size=8, device="cpu", precision=precision)
        .match(template, landmarks, noisy)
        .landmarks.positions
        for precision in ("float32", "bfloat16")
    ]
    np.testing.assert_allclose(found[0], found[1])


def test_a_mask_and_a_radius_limit_where_landmarks_can_be(template, landmarks):
    target, moved = shifted(template)
    marked = torch.zeros_like(target.voxels)
    wrong = np.rint(target.to_index(landmarks.positions[2:3] + moved)[0]).astype(int)
    wrong[0] += 4
    marked[wrong[2], wrong[1], wrong[0]] = 1
    placed = Matcher(**FAST).match(template, landmarks, target, mask=target.with_voxels(marked)).landmarks
    assert [p.status for p in placed] == ["defined", "missing", "defined", "defined"]
    np.testing.assert_allclose(np.rint(target.to_index(placed.positions[2:3]))[0], wrong)
    far = (
        Matcher(**FAST, search_radius_mm=2.5)
        .match(template, landmarks, target, mask=target.with_voxels(marked))
        .landmarks
    )
    assert [p.status for p in far] == ["missing"] * 4  # the only voxel allowed is too far from every start


def test_the_report_says_how_the_result_came_about(template, landmarks):
    target, _ = shifted(template)
    search = Matcher(**FAST, seed=3)
    result = search.match(template, landmarks, target)
    placed = result.landmarks
    report = json.loads(json.dumps(result.report()))
    assert report["settings"] == {
        **FAST,
        "search": "dense",
        "search_radius_mm": None,
        "initialization": "auto",
        "precision": "float32",
        "seed": 3,
        "intensity": "auto",
        "tolerance_mm": None,
        "calibration": None,
        "protocol": None,
    }
    assert report["intensity"] == "percentile"
    assert {"deepfeatures", "python", "torch"} <= set(report["versions"])
    assert set(report["seconds"]) == {"prepare", "encode", "match"}
    assert report["peak_bytes"]["process"] > 10**7
    assert [entry["name"] for entry in report["landmarks"]] == ["a", "gone", "b", "c"]
    assert report["landmarks"][0]["feature_distance"] == placed[0].feature_distance


def test_progress_rises_to_one(template, landmarks):
    target, _ = shifted(template)
    seen = []
    Matcher(**FAST).match(template, landmarks, target, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 2


def test_a_template_is_encoded_once_for_many_targets(template, landmarks, monkeypatch):
    encoded = []
    monkeypatch.setattr(
        greedy_search,
        "dense_templates",
        lambda *arguments, original=greedy_search.dense_templates: encoded.append(1) or original(*arguments),
    )
    search = Matcher(**FAST)
    target, _ = shifted(template)
    for _ in range(2):
        search.match(template, landmarks, target)
    assert len(encoded) == 1
    search.match(template, replace(landmarks, landmarks=landmarks.landmarks[:1]), target)
    assert len(encoded) == 2


def test_the_distance_volume_is_least_where_the_landmark_is_placed(template, landmarks):
    target, _ = shifted(template)
    search = Matcher(**FAST, search_radius_mm=4.0)
    placed = search.match(template, landmarks, target).landmarks
    distances = search.distance_volume(template, landmarks[0], target)
    flat = distances.voxels.nan_to_num(torch.inf).flatten()
    best = np.array(np.unravel_index(int(flat.argmin()), distances.voxels.shape))[None, ::-1]
    np.testing.assert_allclose(distances.to_world(best)[0], placed.positions[0], atol=1e-9)
    assert flat.min() == pytest.approx(placed[0].feature_distance)
    searched = (~distances.voxels.isnan()).nonzero().numpy()[:, ::-1]
    start = landmarks.positions[0] - template.centre + target.centre
    assert np.linalg.norm(distances.to_world(searched) - start, axis=1).max() <= 4.0 + 1e-9


def test_a_landmark_outside_the_template_is_refused_by_name(template, landmarks):
    lost = replace(landmarks, landmarks=(*landmarks.landmarks, Landmark("lost", (900.0, 0.0, 0.0))))
    with pytest.raises(InputError, match="lost"):
        Matcher(**FAST).match(template, lost, template)


def test_voxels_that_are_not_finite_are_refused(template, landmarks):
    voxels = template.voxels.clone()
    voxels[3, 3, 3] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        Matcher(**FAST).match(template, landmarks, template.with_voxels(voxels))


def test_a_distance_volume_of_a_missing_landmark_is_refused(template, landmarks):
    with pytest.raises(InputError, match="gone"):
        Matcher(**FAST).distance_volume(template, landmarks[1], template)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("network", "vgg19"),
        ("layer", "conv9_9"),
        ("patch_size", 3),
        ("patch_size", 12.5),
        ("search", "fast"),
        ("search_radius_mm", 0.0),
        ("search_radius_mm", float("nan")),
        ("device", "tpu"),
        ("precision", "float8"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_one_sentence(argument, value):
    with pytest.raises(InputError) as caught:
        Matcher(**{**FAST, argument: value})
    assert "\n" not in str(caught.value)
    assert str(value) in str(caught.value)


def test_a_search_that_runs_out_of_memory_goes_on_with_less(template, landmarks, monkeypatch):
    target, moved = shifted(template)
    tried = []
    original = greedy_search.dense_scores

    def hungry(*arguments, memory_bytes, **others):
        tried.append(memory_bytes)
        if len(tried) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments, memory_bytes=memory_bytes, **others)

    monkeypatch.setattr(greedy_search, "dense_scores", hungry)
    placed = Matcher(**FAST).match(template, landmarks, target).landmarks
    np.testing.assert_allclose(placed.positions[0], landmarks.positions[0] + moved, atol=1e-9)
    assert tried == [devices.CPU_BYTES, devices.CPU_BYTES // 4, devices.CPU_BYTES // 16]


def test_too_little_memory_for_anything_says_what_to_do(template, landmarks, monkeypatch):
    def hungry(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(greedy_search, "dense_scores", hungry)
    with pytest.raises(InputError, match="search radius"):
        Matcher(**FAST).match(template, landmarks, template)
