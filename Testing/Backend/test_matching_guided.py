"""Guided matching: its parts against what they must compute, the whole on volumes whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv3d

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.block_matching import (
    ball,
    block_distances,
    blocks_at,
    cube,
    distances_of_blocks,
    emphasis,
    sub_voxel_minimum,
)
from deepfeatures.matching.geometry.cross_correlation import cross_correlate
from deepfeatures.matching.geometry.displacement_field import DisplacementField
from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.geometry.robust_affine import limit_anisotropy, robust_affine
from deepfeatures.matching.geometry.sampling import apply_affine, smooth
from deepfeatures.matching.guided.registration import finest_spacing
from deepfeatures.matching.guided.regularization import regularize
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.phantom import make_pair
from deepfeatures.transforms.samplers import sample, voxel_coordinates


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_cross_correlations_are_those_of_a_sliding_kernel(seed, step, half, more):
    size = 2 * half + 1
    extract_windows, kernels = (
        noise(4, *[step * (size - 1) + 1 + more] * 3, 3, seed=seed),
        noise(4, *[size] * 3, 3, seed=seed + 1),
    )
    found = cross_correlate(extract_windows, kernels, step)
    slid = [
        conv3d(window.movedim(-1, 0)[None], kernel.movedim(-1, 0)[None], dilation=step)[0, 0]
        for window, kernel in zip(extract_windows, kernels, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(slid), atol=1e-4, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(0, 3), st.integers(1, 4), st.integers(1, 3))
def test_block_distances_are_mean_squared_differences(seed, search_radius, patch_radius, step):
    template, target = noise(3, 14, 15, 16, seed=seed), noise(3, 14, 15, 16, seed=seed + 1)
    points, starts = 4 + 6 * noise(5, 3, seed=seed + 2), 4 + 6 * noise(5, 3, seed=seed + 3)
    patch = ball(patch_radius, step)
    weights = noise(len(patch), seed=seed + 4)
    weights /= weights.mean()
    blocks = blocks_at(template, points, patch)
    found = distances_of_blocks(blocks, target, starts, search_radius, patch, weights, chunk_bytes=1 << 15)
    wanted = sample(template, points[:, None] + patch[None].float())
    moves = cube(search_radius).float()
    seen = sample(target, starts[:, None, None] + moves[None, :, None] + patch[None, None].float())
    naive = (weights[:, None] * (seen - wanted[:, None]) ** 2).mean((2, 3)).reshape(found.shape)
    torch.testing.assert_close(found, naive, atol=2e-5, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(4, 12))
def test_what_lies_beyond_the_target_is_not_compared(seed, end):
    """Whatever is replicated there, distances are the same; and those of a patch all beyond are the mean."""
    template, target = noise(3, 14, 15, 16, seed=seed), noise(3, 14, 15, 16, seed=seed + 1)
    points, starts = 4 + 6 * noise(5, 3, seed=seed + 2), 4 + (6 * noise(5, 3, seed=seed + 3)).round()
    covered = torch.zeros(14, 15, 16)
    covered[:, :, :end] = 1
    other = torch.where(covered.bool(), target, noise(3, 14, 15, 16, seed=seed + 5))
    first, second = (
        block_distances(template, one, points, starts, 2, ball(1), covered=covered) for one in (target, other)
    )
    torch.testing.assert_close(first, second)
    assert (first >= 0).all() and first.isfinite().all()
    for one, start in zip(first, starts, strict=True):
        gone = start[0] + torch.arange(-2, 3) - 1 >= end
        if gone.any() and not gone.all():
            compared = one[:, :, ~gone]
            assert float(compared.min()) <= float(one[:, :, gone].min()) and one[:, :, gone].std() < 1e-5
    everywhere = torch.ones_like(covered)
    torch.testing.assert_close(
        block_distances(template, target, points, starts, 2, ball(1), covered=everywhere),
        block_distances(template, target, points, starts, 2, ball(1)),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.tuples(*[st.integers(0, 13)] * 3), st.integers(1, 2))
def test_a_gap_in_the_target_counts_wherever_a_block_reaches_it(seed, gap, step):
    """Blocks that the target covers whole are compared by another way than those that reach the gap."""
    template, target = noise(3, 14, 14, 14, seed=seed), noise(3, 14, 14, 14, seed=seed + 1)
    points, starts = 2 + 10 * noise(9, 3, seed=seed + 2), (2 + 10 * noise(9, 3, seed=seed + 3)).round()
    covered, patch = torch.ones(14, 14, 14), ball(2, step)
    covered[gap] = 0
    found = block_distances(template, target, points, starts, 1, patch, covered=covered)
    wanted = sample(template, points[:, None] + patch.float())
    places = starts[:, None, None] + cube(1).float()[None, :, None] + patch.float()
    counts = sample(covered[None], places)[..., 0].round()
    sums = (counts * (sample(target, places) - wanted[:, None]).square().mean(-1)).sum(-1)
    shares = counts.sum(-1)
    typical, beyond = sums.sum(1, keepdim=True) / shares.sum(1, keepdim=True), 0.1 * (len(patch) - shares)
    naive = (sums + beyond * typical) / (shares + beyond)
    torch.testing.assert_close(found, naive.reshape(found.shape), atol=2e-5, rtol=1e-4)


def test_near_the_middle_of_a_block_counts_more():
    patch = ball(6, 2)
    weights = emphasis(patch)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    order = patch.square().sum(1).argsort()
    assert (weights[order].diff() <= 1e-6).all() and weights[order[-1]] < 0.5 * weights[order[0]]


@given(st.lists(st.floats(-0.45, 0.45), min_size=3, max_size=3), st.tuples(*[st.integers(-1, 1)] * 3))
def test_the_bottom_of_a_bowl_is_found_between_voxels(shift, voxel):
    centre = torch.tensor(shift) + torch.tensor(voxel)
    bowl = ((cube(2).float() - centre) ** 2).sum(1).reshape(1, 5, 5, 5) + 0.3
    moved, value = sub_voxel_minimum(bowl)
    torch.testing.assert_close(moved[0], centre.float(), atol=1e-4, rtol=0)
    assert value >= 0.3 - 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_a_third_of_wrong_matches_does_not_sway_the_consensus(seed):
    points = 100 * noise(90, 3, seed=seed)
    truth = torch.eye(4)
    truth[:3, :3] += 0.3 * (noise(3, 3, seed=seed + 1) - 0.5)
    truth[:3, 3] = 30 * noise(3, seed=seed + 2)
    matches = apply_affine(truth, points)
    matches[:30] += 60 * (noise(30, 3, seed=seed + 3) - 0.5)
    found, residuals = robust_affine(points, matches, torch.ones(90))
    torch.testing.assert_close(apply_affine(found, points), apply_affine(truth, points), atol=0.5, rtol=0)
    assert residuals[30:].max() < 0.5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9999), st.floats(1, 3))
def test_proportions_are_kept_about_the_middle(seed, most):
    drawn = torch.eye(4)
    drawn[:3] += 2 * (noise(3, 4, seed=seed) - 0.5)
    middle = 50 * noise(3, seed=seed + 1)
    found = limit_anisotropy(drawn, most, middle)
    average = torch.linalg.svdvals(drawn[:3, :3]).log().mean().exp()
    ratios = torch.linalg.svdvals(found[:3, :3]) / average
    assert 1 / most - 1e-3 < ratios.min() and ratios.max() < most + 1e-3
    assert drawn[:3, :3].det() * found[:3, :3].det() >= 0  # no mirror comes or goes
    torch.testing.assert_close(apply_affine(found, middle), apply_affine(drawn, middle), atol=1e-3, rtol=0)
    if torch.linalg.cond(drawn[:3, :3]) < most:
        torch.testing.assert_close(found, drawn, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("size", "expected"), [((40, 40, 900), 1.0), ((300, 300, 100), 1.0), ((512, 512, 512), 2.0)])
def test_a_long_template_keeps_its_voxels_and_a_large_one_is_coarsened(size, expected):
    volume = Volume(torch.zeros(()).expand(size))
    scan = Image(volume, volume.voxels)
    assert finest_spacing(scan, scan, GuidedSettings()) == pytest.approx(expected)


def test_neighbours_overrule_a_point_that_cannot_tell():
    points = 2.0 * torch.stack(torch.meshgrid(*[torch.arange(3.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    bowl = ((cube(3).float() - torch.tensor([1.0, 0.0, 0.0])) ** 2).sum(1).reshape(7, 7, 7)
    distances = bowl.repeat(27, 1, 1, 1)
    flat = torch.full((7, 7, 7), 5.0)
    flat[6, 6, 6] = 4.99  # a meaningless best
    distances[13] = flat
    settled = regularize(distances, points, torch.zeros(27, 3), weights=(0.1, 0.1), sigma=3.0)
    torch.testing.assert_close(settled.displacements, torch.tensor([[1.0, 0.0, 0.0]]).expand(27, 3), atol=0.1, rtol=0)


def test_neighbours_on_one_side_foretell_a_stretch():
    """A point at the end of a stretched row, whose own block says nothing, goes on as the row does."""
    row = torch.arange(30.0)
    points = torch.stack([row, torch.zeros(30), torch.zeros(30)], 1)
    true = torch.stack([0.2 * row, torch.zeros(30), torch.zeros(30)], 1)
    starts = true.round()
    steps = cube(2).float()
    distances = (steps - (true - starts)[:, None]).square().sum(-1).reshape(30, 5, 5, 5)
    distances[-1] = 5.0
    settled = regularize(distances, points, starts, weights=(0.05, 0.05), sigma=4.0)
    short = float(true[-1, 0] - settled.displacements[-1, 0])
    assert 0 < short < 0.6  # the mean of its neighbours would leave it 0.76 short


@pytest.mark.parametrize("agreeing", ["landmarks", "keypoints"])
def test_a_landmark_that_cannot_tell_follows_whoever_agrees_among_themselves(agreeing):
    """Five landmarks in a row, keypoints around the middle one, whose block says nothing; one crowd disagrees."""
    landmarks = torch.tensor([[8.0 * k, 0.0, 0.0] for k in (2, 0, 1, 3, 4)])
    keypoints = landmarks[0] + 8 * (noise(40, 3, seed=1) - 0.5)
    points = torch.cat([landmarks, keypoints])
    moved = torch.tensor([2.0, 0.0, 0.0]).repeat(45, 1)
    stray = slice(5, 45) if agreeing == "landmarks" else slice(1, 5)
    moved[stray] = (8 * (noise(len(moved[stray]), 3, seed=2) - 0.5)).round()
    distances = (cube(4).float() - moved[:, None]).square().sum(-1).clamp(max=9.0).reshape(45, 9, 9, 9)
    distances[0] = 5.0
    starts, reaches = torch.zeros(45, 3), {"sigma": 8.0, "landmarks_sigma": 16.0}
    settled = regularize(distances, points, starts, weights=(0.01, 0.01), landmarks=5, **reaches)
    assert (settled.displacements[0] - moved[0]).norm() < 1


def test_the_spread_tells_a_hollow_from_a_plain_and_astray_a_match_from_its_neighbours():
    points = torch.stack([torch.arange(9.0), torch.zeros(9), torch.zeros(9)], 1)
    hollow = cube(2).float().square().sum(1).reshape(5, 5, 5)
    distances = hollow.repeat(9, 1, 1, 1)
    distances[3] *= 1e-4
    distances[7] = (cube(2).float() - torch.tensor([0.0, 2.0, 0.0])).square().sum(1).reshape(5, 5, 5)
    settled = regularize(distances, points, torch.zeros(9, 3), weights=(0.001, 0.001), sigma=3.0)
    assert settled.posterior_std[3] > 1 > 0.1 > settled.posterior_std[0]
    assert settled.neighbour_residual[7] > 1.5 > 0.5 > settled.neighbour_residual[0]


def test_a_point_alone_goes_where_its_block_fits():
    bowl = ((cube(3).float() - torch.tensor([2.0, -1.0, 0.0])) ** 2).sum(1).reshape(1, 7, 7, 7)
    settled = regularize(bowl, torch.zeros(1, 3), torch.zeros(1, 3), weights=(0.01,), sigma=5.0)
    torch.testing.assert_close(settled.displacements, torch.tensor([[2.0, -1.0, 0.0]]), atol=0.1, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99), st.tuples(*[st.integers(1, 30)] * 3))
def test_points_that_move_alike_bend_everything_alike(count, seed, shape):
    points = noise(count, 3, seed=seed) * torch.tensor(shape[::-1])
    field = DisplacementField.fit(points, torch.tensor([[1.0, -2.0, 0.5]]).expand(count, 3), 5.0, shape).vectors
    assert field.shape == (3, *shape)
    wanted = torch.tensor([1.0, -2.0, 0.5])[:, None, None, None].expand_as(field)
    torch.testing.assert_close(field, wanted, atol=1e-3, rtol=0)


def test_a_bend_goes_where_its_points_go_and_not_where_one_of_them_strays():
    points = 48 * noise(300, 3, seed=1)
    true = 2 * torch.stack([torch.sin(points[:, 2] / 12), torch.zeros(300), points[:, 0] / 24 - 1], 1)
    displacements = true.clone()
    displacements[0] += 12
    bend = DisplacementField.fit(points, displacements, 5.0, (48, 48, 48))
    inner = (points > 5).all(1) & (points < 43).all(1)
    left = (bend.at(points) - true).norm(dim=1)
    assert left[inner].mean() < 0.2 * true[inner].norm(dim=1).mean()
    assert left[0] < 1


def displaced(texture: torch.Tensor, displacement):
    """A volume, its points, the volume displaced along x, and where the points went."""
    sideways = torch.tensor([1.0, 0.0, 0.0])
    places = voxel_coordinates(tuple(texture.shape))
    volume = Volume(texture)
    target = Volume(sample(texture[None], places - sideways * displacement(places)[..., None])[..., 0])
    points = 12 + (len(texture) - 24) * noise(20, 3, seed=1)
    wanted = LandmarkSet(tuple(Landmark(str(k), tuple(p)) for k, p in enumerate(volume.to_world(points.numpy()))))
    there = points
    for _ in range(100):
        there = points + sideways * displacement(there)[..., None]
    return volume, wanted, target, target.to_world(there.numpy())


def mean_error(settings: GuidedSettings, volume, wanted, target, truth) -> float:
    placed = Matcher(device="cpu", guided=settings).match(volume, wanted, target).landmarks
    return np.linalg.norm(placed.positions - truth, axis=1).mean()


def test_a_bent_target_is_matched_more_exactly():
    """A texture waved sideways: within a block its parts move by several voxels against each other."""
    texture = 1000 * smooth(noise(1, 64, 64, 64), 2.0)[0]
    pair = displaced(texture, lambda places: 4 * torch.sin(2 * math.pi / 40 * places[..., 2]))
    straight, bent = (mean_error(GuidedSettings(uses_field=bend), *pair) for bend in (False, True))
    assert bent < 0.9 * straight


def test_a_bulge_beyond_what_finer_levels_reach_is_followed():
    """Structures of many sizes whose middle is pushed aside by 24 voxels, which no pose can tell."""
    sizes = (2.0, 4.0, 8.0)
    texture = sum(100 * size**1.5 * smooth(noise(1, 112, 112, 112, seed=int(size)), size)[0] for size in sizes)
    pair = displaced(texture, lambda places: 24 * torch.exp(-(places - 55.5).square().sum(-1) / (2 * 24**2)))
    whole = GuidedSettings()
    assert mean_error(whole, *pair) < 0.5 * mean_error(replace(whole, levels=whole.levels[1:]), *pair)


@pytest.fixture(scope="module")
def heads():
    return make_pair(72, seed=3)


@pytest.fixture(scope="module")
def placed(heads):
    template, landmarks, target, _ = heads
    return Matcher(device="cpu").match(template, landmarks, target).landmarks


def errors(placed: LandmarkSet, truth: LandmarkSet) -> np.ndarray:
    return np.linalg.norm(placed.positions - truth.positions, axis=1)


def test_a_deformed_head_is_landmarked_far_better_than_by_its_centre(heads, placed):
    template, landmarks, target, truth = heads
    initial = np.linalg.norm(landmarks.positions - template.centre + target.centre - truth.positions, axis=1)
    assert not placed.missing
    assert errors(placed, truth).mean() < 0.4 * initial.mean()
    assert all(
        landmark.inverse_consistency_error_mm is not None and landmark.feature_distance >= 0 for landmark in placed
    )


def test_trained_features_settle_landmarks_in_another_contrast(heads):
    """The pose is not theirs, so that it does not matter that they are not made for turned views."""
    template, landmarks, target, truth = heads
    inverted = replace(target, voxels=target.voxels.max() - target.voxels)
    matcher = Matcher(network="cifl", search="guided", device="cpu")
    placed = matcher.match(template, landmarks, inverted).landmarks
    by_similarity = Matcher(device="cpu").match(template, landmarks, inverted).landmarks
    assert np.nanmean(errors(placed, truth)) < 1.1 * np.nanmean(errors(by_similarity, truth))
    assert len(placed.missing) <= len(by_similarity.missing)


@pytest.mark.parametrize(("axis", "kept"), [(0, 0.65), (1, 0.6), (2, 0.6)])
def test_landmarks_that_a_target_does_not_show_are_missing(heads, placed, axis, kept):
    template, landmarks, target, truth = heads
    part = target.with_voxels(target.voxels.narrow(2 - axis, 0, round(kept * target.size[axis])).contiguous())
    found = Matcher(device="cpu").match(template, landmarks, part).landmarks
    inside, missing = part.contains(truth.positions), np.isnan(found.positions[:, 0])
    assert 2 <= (~inside).sum() < len(landmarks) / 2
    assert missing[~inside].all()
    assert missing[inside].sum() <= 1
    assert np.nanmean(errors(found, truth)[inside]) < 1.5 * errors(placed, truth)[inside].mean()


def test_storage_order_does_not_matter(heads, placed):
    template, landmarks, target, _ = heads
    turned = replace(
        target,
        voxels=target.voxels.permute(2, 0, 1).flip(2).contiguous(),
        spacing=target.spacing[[1, 2, 0]],
        direction=np.stack([-target.direction[:, 1], target.direction[:, 2], target.direction[:, 0]], 1),
        origin=target.to_world(np.array([[0.0, target.size[1] - 1, 0.0]]))[0],
    )
    again = Matcher(device="cpu").match(template, landmarks, turned).landmarks
    np.testing.assert_allclose(again.positions, placed.positions, atol=1e-3)


def test_a_volume_finds_its_own_landmarks(heads):
    template, landmarks, _, _ = heads
    same = Matcher(device="cpu").match(template, landmarks, replace(template, name="copy")).landmarks
    assert errors(same, landmarks).max() < 0.15 * template.spacing.mean()
    assert max(landmark.inverse_consistency_error_mm for landmark in same) < 0.15 * template.spacing.mean()


def test_a_shift_of_part_of_a_voxel_is_seen(heads):
    template, landmarks, _, _ = heads
    shift = torch.tensor([0.3, -0.4, 0.2])  # voxels x, y, z
    grid = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in template.voxels.shape], indexing="ij"), -1)
    moved = sample(template.voxels[None], grid.flip(-1) - shift)[..., 0]
    found = Matcher(device="cpu").match(template, landmarks, replace(template, voxels=moved, name="moved")).landmarks
    truth = landmarks.positions + template.direction @ (shift.numpy() * template.spacing)
    assert np.linalg.norm(found.positions - truth, axis=1).mean() / template.spacing.mean() < 0.15


def test_nothing_is_placed_in_air(heads):
    template, landmarks, target, _ = heads
    air = replace(target, voxels=torch.zeros_like(target.voxels), name="air")
    placed = Matcher(device="cpu").match(template, landmarks, air).landmarks
    assert len(placed.missing) == len(landmarks)


def test_one_landmark_and_many_at_one_place_are_placed_alike(heads):
    template, landmarks, target, truth = heads
    one = Matcher(device="cpu").match(template, LandmarkSet(landmarks.landmarks[:1]), target).landmarks
    many = tuple(replace(landmarks[0], name=f"{k}") for k in range(40))
    crowd = Matcher(device="cpu").match(template, LandmarkSet(many), target).landmarks
    assert np.linalg.norm(one.positions - truth.positions[:1]) < 5
    assert np.ptp(crowd.positions, axis=0).max() < 1e-3
    assert np.linalg.norm(crowd.positions[0] - truth.positions[0]) < 5


@pytest.mark.parametrize("size", [(3, 4, 5), (40, 6, 40)])
def test_tiny_and_thin_targets_give_a_result_or_missing(heads, size):
    template, landmarks, _, _ = heads
    placed = Matcher(device="cpu").match(template, landmarks, Volume(noise(*size) * 100, name="odd")).landmarks
    assert len(placed) == len(landmarks)


def test_a_guided_search_refuses_what_it_does_not_use(heads):
    template, landmarks, target, _ = heads
    with pytest.raises(InputError, match="search dense"):
        Matcher(search="guided", search_radius_mm=10.0)
    with pytest.raises(InputError, match="search dense"):
        Matcher(search="guided", device="cpu").match(template, landmarks, target, mask=target)


def test_missing_landmarks_of_the_template_stay_missing(heads):
    template, landmarks, target, _ = heads
    gone = replace(landmarks[1], position=None, status="missing")
    placed = Matcher(device="cpu").match(template, LandmarkSet((landmarks[0], gone)), target).landmarks
    assert [landmark.status for landmark in placed] == ["defined", "missing"]
    assert isinstance(placed[0], Landmark)
