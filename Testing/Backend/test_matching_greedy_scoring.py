"""Where candidates lie, which features stand for a patch, and which candidate wins."""

import numpy as np
import pytest
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.dense import encode_dense
from deepfeatures.features.extractor import Features
from deepfeatures.features.patch import anchor, cut_patches
from deepfeatures.features.receptive_window import ReceptiveWindow, crop, map_length, within
from deepfeatures.matching.greedy.candidates import everywhere, in_ball, in_mask, intersect
from deepfeatures.matching.greedy.descriptors import dense_templates, patch_templates
from deepfeatures.matching.greedy.scoring import CandidateScores, _blocks, best_candidates, dense_scores, patch_scores
from deepfeatures.matching.timing import Timer
from deepfeatures.networks import catalog

SILENT = {"timer": Timer(torch.device("cpu")), "progress": lambda _: None}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255 - 127.5


def collected(scores, landmarks: int, shape) -> torch.Tensor:
    maps = torch.full((landmarks, *shape), torch.nan)
    for part in scores:
        maps[(part.landmark, *part.voxels.unbind(1))] = part.squared
    return maps


@pytest.mark.parametrize(
    ("layer", "size"), [("conv1_2", 5), ("conv1_2", 12), ("conv2_1", 12), ("conv2_2", 17), ("conv2_2", 16)]
)
def test_dense_features_stand_where_a_patch_has_its_map(layer, size):
    """Entries whose field lies within the patch see the same voxels either way, so they are equal."""
    encoder = catalog.build("vgg19-3d-random", layer=layer)
    volume, voxel = noise(30, 31, 32), (14, 15, 16)
    window = ReceptiveWindow.of_patch(encoder.layers[layer], size)
    seen = window.seen_from(tuple((index, index + 1) for index in voxel))
    dense = encode_dense(encoder, layer, volume)
    dense = dense[(slice(None), *(slice(a, b, window.stride) for a, b in seen))]
    patch = cut_patches(volume, np.array([voxel[::-1]]), size)
    with torch.no_grad():
        mapped = encoder(patch, layer)[0]
    assert mapped.shape == dense.shape
    assert map_length(encoder.layers[layer], size) == mapped.shape[1]
    half = encoder.layers[layer].receptive_field // 2
    whole = [k for k in range(window.count) if half <= k * window.stride < size - half]
    inner = slice(whole[0], whole[-1] + 1)
    torch.testing.assert_close(dense[:, inner, inner, inner], mapped[:, inner, inner, inner], rtol=1e-3, atol=1e-2)


def test_the_window_starts_at_the_corner_of_the_patch():
    encoder = catalog.build("mind")
    assert ReceptiveWindow.of_patch(encoder.layers["ssc_r1_d2"], 20) == ReceptiveWindow(-anchor(20), 20, 1)
    deep = catalog.build("vgg19-3d-random", layer="conv2_2").layers["conv2_2"]
    assert ReceptiveWindow.of_patch(deep, 20) == ReceptiveWindow(-anchor(20), 10, 2)


def test_a_crop_beyond_the_border_repeats_it():
    features = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    held = ((0, 3), (0, 4), (0, 5))
    found = crop(features, held, ((-2, 2), (3, 6), (1, 4)))
    assert torch.equal(found, features[:, [0, 0, 0, 1]][:, :, [3, 3, 3]][..., 1:4])
    assert within(((-5, -2), (1, 2), (9, 12)), (3, 4, 5)) == ((0, 1), (1, 2), (4, 5))


def test_a_ball_holds_exactly_the_voxels_within_its_radius():
    centre, radius = np.array([2.3, 5.0, 9.9]), 3.4
    ball = in_ball((10, 10, 10), centre, radius)
    index = np.stack(np.meshgrid(*[np.arange(10)] * 3, indexing="ij"), -1)
    expected = index[((index - centre) ** 2).sum(-1) <= radius**2]
    assert np.array_equal(ball.voxels.numpy(), expected)


def test_a_ball_outside_the_volume_holds_nothing():
    assert in_ball((10, 10, 10), np.array([20.0, 5, 5]), 3.0) is None
    assert in_ball((10, 10, 10), np.array([4.5, 4.5, 4.5]), 0.1) is None


def test_a_mask_counts_in_millimetres_whatever_its_own_grid():
    grid = Volume(torch.zeros(6, 7, 8), origin=np.array([10.0, 20, 30]))
    marked = torch.zeros(20, 20, 20)
    marked[4:8, 6:10, 8:14] = 1  # z 32-33.5, y 23-24.5 and, as x runs backwards, x 16-13.5 mm
    mask = Volume(marked, np.array([20.0, 20, 30]), np.full(3, 0.5), np.diag([-1.0, 1, 1]))
    assert in_mask(mask, grid).voxels.tolist() == [[z, y, x] for z in (2, 3) for y in (3, 4) for x in (4, 5, 6)]


def test_a_mask_that_marks_nothing_is_refused():
    with pytest.raises(InputError, match="marks no voxel"):
        in_mask(Volume(torch.ones(3, 3, 3), origin=np.array([100.0, 0, 0])), Volume(torch.zeros(5, 5, 5)))


def test_ball_and_mask_together():
    marked = torch.zeros(10, 10, 10)
    marked[5:, :, :] = 1
    grid = Volume(torch.zeros(10, 10, 10))
    mask = in_mask(grid.with_voxels(marked), grid)
    voxels = intersect(in_ball((10, 10, 10), np.array([5.0, 5, 5]), 2.0), mask).voxels
    assert voxels[:, 0].min() == 5 and voxels[:, 0].max() == 7
    assert intersect(in_ball((10, 10, 10), np.array([1.0, 5, 5]), 2.0), mask) is None


@pytest.mark.parametrize("memory_bytes", [1 << 30, 1 << 20])
def test_distances_do_not_depend_on_how_much_memory_there_is(memory_bytes):
    features = Features(catalog.build("vgg19-3d-random", layer="conv1_1"), "conv1_1", 5)
    template, target = noise(12, 13, 14), noise(14, 15, 16, seed=1)
    landmarks = torch.tensor([[3, 4, 5], [6, 7, 8]])
    templates = dense_templates(features, template, landmarks)
    shape = tuple(target.shape)
    candidates = [everywhere(shape), in_ball(shape, np.array([7.0, 7, 7]), 4.0)]
    scores = dense_scores(features, target, templates, candidates, memory_bytes=memory_bytes, **SILENT)
    maps = collected(scores, 2, shape)
    dense = torch.nn.functional.pad(
        encode_dense(features.encoder, "conv1_1", target), (2, 2, 2, 2, 2, 2), mode="replicate"
    )
    cut = dense.unfold(1, 5, 1).unfold(2, 5, 1).unfold(3, 5, 1)
    for landmark in range(2):
        expected = (cut - templates[landmark][:, None, None, None]).square().sum((0, 4, 5, 6))
        searched = ~maps[landmark].isnan()
        assert torch.equal(searched.nonzero(), candidates[landmark].voxels)
        torch.testing.assert_close(maps[landmark][searched], expected[searched], rtol=1e-4, atol=1e-4 * expected.max())


def test_networks_that_compare_means_do_so_in_both_modes():
    features = Features(catalog.build("mind"), "ssc_r1_d1", 6)
    features.encoder.norm = "euclidean"
    voxels, place = noise(14, 14, 14), torch.tensor([[7, 6, 8]])
    for templates_of in (dense_templates, patch_templates):
        assert templates_of(features, voxels, place).shape == (1, 12)
    candidates = [in_ball((14, 14, 14), np.array([7.0, 6, 8]), 1.5)]
    dense = dense_scores(
        features, voxels, dense_templates(features, voxels, place), candidates, memory_bytes=1 << 30, **SILENT
    )
    patch = patch_scores(features, voxels, patch_templates(features, voxels, place), candidates, **SILENT)
    for scores in (dense, patch):
        maps = collected(scores, 1, (14, 14, 14))
        assert maps[0, 7, 6, 8] < 1e-6
        assert (maps[0] < 1e-6).sum() == 1


def test_patch_mode_compares_patches_scaled_each_for_itself():
    features = Features(catalog.build("vgg19-3d-random", layer="conv1_2"), "conv1_2", 6)
    template = noise(14, 14, 14)
    target = template * 0.01 + 40  # another brightness and contrast: no difference once each patch is scaled
    templates = patch_templates(features, template, torch.tensor([[6, 7, 8], [7, 7, 7]]))
    candidates = [in_ball((14, 14, 14), np.array([6.0, 7, 7]), 2.0), in_ball((14, 14, 14), np.array([7.0, 7, 7]), 1.0)]
    maps = collected(patch_scores(features, target, templates, candidates, **SILENT), 2, (14, 14, 14))
    assert [int((~part.isnan()).sum()) for part in maps] == [33, 7]
    assert maps[0].nan_to_num(torch.inf).argmin() == (6 * 14 + 7) * 14 + 8
    assert maps[1].nan_to_num(torch.inf).argmin() == (7 * 14 + 7) * 14 + 7


def test_of_equal_distances_the_one_nearest_the_start_wins():
    voxels = torch.tensor([[0, 0, 0], [5, 5, 5], [9, 9, 9]])
    parts = [
        CandidateScores(0, voxels[:1], torch.tensor([2.0])),
        CandidateScores(0, voxels[1:], torch.tensor([2.0, 2.0])),
        CandidateScores(0, voxels[:1], torch.tensor([2.0])),
    ]
    for order in (parts, parts[::-1]):
        best = best_candidates(order, torch.ones(1, 3), np.array([[4.0, 4, 6]]))[0]
        assert best.voxel == (5, 5, 5)
    nearer = [*parts, CandidateScores(0, voxels[2:], torch.tensor([1.0]))]
    assert best_candidates(nearer, torch.ones(1, 3), np.array([[4.0, 4, 6]]))[0].voxel == (9, 9, 9)


def test_blocks_hold_every_candidate_box_and_leave_wide_gaps_out():
    boxes = [((0, 5), (0, 5), (0, 5)), ((95, 100), (0, 5), (0, 5))]
    blocks = list(_blocks(boxes, 4, 10**9))
    assert blocks == boxes
    whole = list(_blocks([((0, 40), (0, 40), (0, 40))], 4, 20**3))
    assert sum((b[0][1] - b[0][0]) * (b[1][1] - b[1][0]) * (b[2][1] - b[2][0]) for b in whole) == 40**3
    assert all(np.prod([stop - start + 4 for start, stop in block]) <= 20**3 for block in whole)
