"""The made head: landmarks lie in their structures, and the target's truth is exact."""

import numpy as np
import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.phantom import make_pair
from deepfeatures.phantom.deformation import Deformation
from deepfeatures.phantom.head import LANDMARKS, STRUCTURES, Head


@pytest.fixture(scope="module")
def pair():
    return make_pair(size=72, seed=3)


def sample_nearest(volume, points):
    x, y, z = np.round(volume.to_index(points)).astype(int).T
    return volume.voxels[z, y, x].numpy()


def structures_at(points_mm, seed=3):
    labels = Head(seed).scan(torch.as_tensor(points_mm.T, dtype=torch.float32))[1]
    return [STRUCTURES[label] for label in labels]


def test_every_landmark_lies_in_its_structure(pair):
    _, landmarks, _, _ = pair
    assert len(landmarks) >= 16
    assert structures_at(landmarks.positions) == [structure for _, structure in LANDMARKS.values()]


def test_truth_in_the_target_is_the_same_anatomy_as_the_landmark_in_the_template(pair):
    _, landmarks, _, truth = pair
    back = Deformation(3).to_template(torch.from_numpy(truth.positions.T)).numpy().T
    np.testing.assert_allclose(back, landmarks.positions, atol=1e-8)
    assert structures_at(back) == structures_at(landmarks.positions)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_scans_show_at_each_point_what_the_anatomy_says(seed):
    """Read from the voxels, so that grid, geometry and deformation are all on trial."""
    template, landmarks, target, truth = make_pair(size=96, seed=seed)
    for volume, points in ((template, landmarks), (target, truth)):
        value = dict(zip((mark.name for mark in points), sample_nearest(volume, points.positions), strict=True))
        fluid = [value["fourth ventricle"], value["left eye"], value["right eye"]]
        grey = [value[f"{side} {name}"] for side in ("left", "right") for name in ("putamen", "thalamus")]
        white = [value["pons"], value["splenium of corpus callosum"]]
        assert max(fluid) < min(grey) < max(grey) < min(white)


def test_target_intensities_follow_the_template_through_the_truth(pair):
    """Where tissue is, brightness ranks alike in both scans at carried places; a shift of 8 mm spoils it."""
    template, _, target, _ = pair
    random = np.random.default_rng(0)
    points = random.uniform((-60, -60, -20), (60, 90, 65), (4000, 3))
    carried = Deformation(3).to_target(torch.from_numpy(points.T)).numpy().T
    correlation = np.corrcoef(sample_nearest(template, points), sample_nearest(target, carried))[0, 1]
    shifted = np.corrcoef(sample_nearest(template, points), sample_nearest(target, carried + 8))[0, 1]
    assert correlation > 0.7
    assert correlation > shifted + 0.3


@pytest.mark.parametrize("seed", range(6))
def test_deformation_never_folds_and_its_inverse_is_exact(seed):
    deformation = Deformation(seed)
    axis = torch.linspace(-90, 110, 21, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    columns = [
        (deformation.to_template(points + step) - deformation.to_template(points - step)) / 2e-3
        for step in 1e-3 * torch.eye(3, dtype=torch.float64)[:, :, None]
    ]
    jacobian = torch.linalg.det(torch.stack(columns).permute(2, 0, 1))
    assert jacobian.min() > 0.3
    assert jacobian.max() < 2
    torch.testing.assert_close(deformation.to_template(deformation.to_target(points)), points, atol=1e-8, rtol=0)


def test_the_task_is_not_trivial(pair):
    template, landmarks, target, truth = pair
    aligned = landmarks.positions - template.centre + target.centre
    assert 4 < np.linalg.norm(aligned - truth.positions, axis=1).mean() < 15
    assert not np.allclose(target.direction, template.direction)
    assert not np.allclose(target.spacing, template.spacing)


def test_all_landmarks_lie_inside_of_both_volumes(pair):
    template, landmarks, target, truth = pair
    for volume, points in ((template, landmarks), (target, truth)):
        index = volume.to_index(points.positions)
        assert (index > 2).all()
        assert (index < np.array(volume.size) - 3).all()


def test_left_and_right_differ(pair):
    points = torch.rand(3, 20000, generator=torch.Generator().manual_seed(1)) * torch.tensor([[60.0], [140], [60]])
    points -= torch.tensor([[0.0], [60], [5]])
    mirrored = points * torch.tensor([[-1.0], [1], [1]])
    left, right = Head(0).scan(points)[0], Head(0).scan(mirrored)[0]
    assert np.corrcoef(left, right)[0, 1] < 0.9


def test_same_seed_same_pair_other_seed_other_pair():
    first, again, other = (make_pair(size=32, seed=seed) for seed in (1, 1, 2))
    for a, b in ((first[0], again[0]), (first[2], again[2])):
        assert torch.equal(a.voxels, b.voxels)
    assert first[3] == again[3]
    assert not torch.equal(first[0].voxels, other[0].voxels)
    assert first[3] != other[3]


def test_size_sets_the_grid_and_not_the_anatomy():
    small, large = make_pair(size=32)[0], make_pair(size=64)[0]
    assert small.size[1] == 32
    assert large.size[1] == 64
    np.testing.assert_allclose(small.centre, large.centre, atol=4)
    np.testing.assert_allclose(small.size * small.spacing, large.size * large.spacing, atol=8)


def test_too_small_a_size_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="larger"):
        make_pair(size=10)
