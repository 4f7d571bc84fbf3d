"""Made people: landmarks lie on what they name, people differ, and a scan changes nothing of a person."""

from functools import cache

import numpy as np
import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.phantom.anatomies import ANATOMIES, draw
from deepfeatures.phantom.deformation import Warp
from deepfeatures.phantom.shapes import Waves
from deepfeatures.phantom.solids import Block, Limb, curve

COARSE_MM = {name: 5 * kind.spacing_mm for name, kind in ANATOMIES.items()}

# In CT: what a landmark lies in, as the range of the mean HU around it.
NAMED_IN_CT = {
    "spine": {"L3": (100, 330), "L4": (100, 330)},
    "thorax": {"left rib 5 head": (80, 800), "right rib 8 end": (80, 800), "carina": (-1100, -600)},
    "abdomen": {"left kidney hilum": (-200, 0), "L2": (100, 330), "aortic bifurcation": (80, 260)},
    "pelvis": {"left femoral head": (100, 330), "right femoral head": (100, 330), "pubic symphysis": (50, 400)},
    "teeth": {"tooth 36 crown": (1000, 2600), "tooth 41 crown": (1000, 2600), "tooth 33 crown": (1000, 2600)},
    "digits": {"middle finger proximal phalanx": (80, 500), "thumb proximal phalanx": (80, 600)},
    "mouse": {"left rib 5 end": (80, 800), "carina": (-1100, -600)},
}


@cache
def in_ct(anatomy):
    """A CT of one person at the usual voxel size."""
    return draw(anatomy, 3, contrast="ct")


def positions(landmarks):
    return {mark.name: np.array(mark.position) for mark in landmarks}


def around(volume, point):
    """Voxels whose centre lies within about one voxel of a point."""
    x, y, z = np.round(volume.to_index(point[None])[0]).astype(int)
    return volume.voxels[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2].numpy()


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_landmarks_lie_on_what_they_name(anatomy):
    volume, landmarks = in_ct(anatomy)
    found = positions(landmarks)
    seen = {name: around(volume, found[name]) for name in NAMED_IN_CT[anatomy] if name in found}
    assert len(seen) >= 2
    for name, voxels in seen.items():
        low, high = NAMED_IN_CT[anatomy][name]
        assert low < voxels.mean() < high, name


@pytest.mark.parametrize("side", ["anterior", "top", "bottom"])  # a vein leaves through the posterior one
def test_landmarks_of_a_vertebra_lie_in_the_cortex_of_their_side(side):
    """Outwards from the middle of the body, the brightest voxel is at the landmark."""
    volume, landmarks = in_ct("spine")
    found = positions(landmarks)
    way = np.linspace(0, 1, 40)[:, None] * (found[f"L3 {side}"] - found["L3"]) * 1.12
    x, y, z = np.round(volume.to_index(found["L3"] + way)).astype(int).T
    brightest = way[volume.voxels[z, y, x].argmax()]
    assert np.linalg.norm(found["L3"] + brightest - found[f"L3 {side}"]) < 1.7


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_people_differ_by_more_than_an_affine_map(anatomy):
    first, second = (positions(draw(anatomy, person, spacing_mm=COARSE_MM[anatomy])[1]) for person in (0, 1))
    names = sorted(first.keys() & second.keys())
    assert len(names) >= 9
    a, b = (np.array([place[name] for name in names]) for place in (first, second))
    homogeneous = np.column_stack([a, np.ones(len(a))])
    left = b - homogeneous @ np.linalg.lstsq(homogeneous, b, rcond=None)[0]
    freedom = np.sqrt(len(names) / (len(names) - 4))
    assert np.linalg.norm(left, axis=1).mean() * freedom > 1.0 * ANATOMIES[anatomy].scale


@pytest.mark.parametrize("anatomy", ["spine", "teeth"])
def test_same_person_and_seed_same_voxels_other_person_other_voxels(anatomy):
    spacing = COARSE_MM[anatomy]
    first, again, other = (draw(anatomy, person, spacing_mm=spacing) for person in (1, 1, 2))
    assert torch.equal(first[0].voxels, again[0].voxels)
    assert first[1] == again[1]
    assert first[1] != other[1]


@pytest.mark.parametrize("anatomy", ["spine", "digits", "mouse"])
def test_neither_spacing_nor_contrast_moves_a_landmark(anatomy):
    usual = ANATOMIES[anatomy].spacing_mm
    fine = positions(draw(anatomy, 5, spacing_mm=4 * usual)[1])
    coarse = positions(draw(anatomy, 5, spacing_mm=np.array([5, 8, 6]) * usual, contrast="ct")[1])
    assert len(fine.keys() & coarse.keys()) > 8
    for name in fine.keys() & coarse.keys():
        np.testing.assert_allclose(fine[name], coarse[name], atol=1e-6)


def test_another_scan_of_a_person_shows_the_same_body_elsewhere():
    first, second = (positions(draw("pelvis", 2, spacing_mm=5, seed=seed)[1]) for seed in (0, 1))
    names = sorted(first.keys() & second.keys())
    a, b = (np.array([place[name] for name in names]) for place in (first, second))
    distances = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (a, b)]
    np.testing.assert_allclose(*distances, atol=1e-6)
    assert np.linalg.norm(a - b, axis=1).min() > 1


def test_without_ends_the_sacrum_is_out_of_view():
    """Nothing lies below the named vertebrae then; with ends there is room for most of a sacrum."""
    for person in range(2):
        below = {}
        for with_ends in (True, False):
            volume, landmarks = draw("spine", person, spacing_mm=3, with_ends=with_ends)
            lowest = volume.centre[2] - volume.size[2] * volume.spacing[2] / 2
            names = [name for name in positions(landmarks) if " " not in name]
            below[with_ends] = positions(landmarks)[names[0]][2] - lowest
            assert 3 <= len(names) <= 5
        assert below[True] > 50
        assert below[False] < 45


def test_some_spines_are_seen_a_level_higher_than_others():
    lowest = [positions(draw("spine", person, spacing_mm=5, with_ends=False)[1]) for person in range(8)]
    assert {next(iter(name for name in found if " " not in name)) for found in lowest} >= {"L5", "L4"}


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_a_view_without_ends_has_fewer_landmarks_and_all_are_inside(anatomy):
    counts = []
    for with_ends in (True, False):
        volume, landmarks = draw(anatomy, 0, spacing_mm=COARSE_MM[anatomy], with_ends=with_ends)
        assert volume.contains(landmarks.positions).all()
        counts.append(len(landmarks))
    assert counts[1] >= 4
    assert counts[1] < counts[0] or anatomy == "pelvis"


def test_one_sided_organs_tell_left_from_right_only_where_asked_for():
    def likeness(with_ends):
        """Correlation of a pelvis with its mirror image, both smoothed."""
        volume, landmarks = draw("pelvis", 0, contrast="ct", spacing_mm=4, with_ends=with_ends)
        place = positions(landmarks)
        middle = (place["left iliac spine"] + place["right iliac spine"]) / 2
        x, _, z = volume.to_index(middle[None])[0].round().astype(int)
        part = volume.voxels[z - 3 : z + 6, 5:25, x - 20 : x + 21].clamp(-300, 200)
        part = torch.nn.functional.avg_pool3d(part[None, None], 3)[0, 0]
        return np.corrcoef(part.flatten(), part.flip(2).flatten())[0, 1]

    assert likeness(with_ends=False) > likeness(with_ends=True) + 0.1


def test_a_mouse_is_small():
    volume, landmarks = in_ct("mouse")
    assert 10 < (np.array(volume.size) * volume.spacing).max() < 30
    assert 0.05 <= volume.spacing.max() <= 0.2
    assert len(landmarks) > 20


def test_ct_is_in_hounsfield_units_and_mr_is_not():
    ct, mr = (draw("thorax", 0, contrast=contrast, spacing_mm=5)[0] for contrast in ("ct", "t2"))
    assert ct.modality == "CT"
    assert abs(ct.voxels[:, 0, 0].median() + 1000) < 30
    assert mr.modality == "MR"
    assert mr.voxels.min() >= 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"anatomy": "wing"}, "choose one of spine"),
        ({"contrast": "flair"}, "choose one of t1, t2, ct"),
        ({"spacing_mm": 0}, "above 0 mm"),
        ({"person": -1}, "from 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_way_out(given, told):
    with pytest.raises(InputError, match=told):
        draw(**{"anatomy": "spine", "person": 0, **given})


def test_waves_on_a_grid_are_the_waves_at_its_points():
    waves = Waves(40.0, seed=3)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = torch.tensor([[1.9, 0.2, -0.3, 5], [-0.2, 2.1, 0.1, -60], [0.3, 0, 2.0, 7]])
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (4, 5, 6)), indexing="ij")
    points = matrix[:3, :3] @ torch.stack([x, y, z]).flatten(1) + matrix[:3, 3:]
    expected = waves(points).reshape(4, 5, 6).float()
    torch.testing.assert_close(waves.on_grid(matrix, (4, 5, 6)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_warp_of_a_person_has_an_exact_inverse_and_never_folds(seed):
    warp = Warp(100.0, 2.4, seed)  # lengths as `draw` has them, for a body of 200 mm
    points = torch.rand(3, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 200 - 100
    torch.testing.assert_close(warp(warp.inverse(points)), points, atol=1e-8, rtol=0)
    steps = 1e-3 * torch.eye(3, dtype=torch.float64)[:, :, None]
    jacobian = torch.stack([(warp(points + step) - warp(points - step)) / 2e-3 for step in steps])
    assert torch.linalg.det(jacobian.permute(2, 0, 1)).min() > 0.2
    assert (warp(points) - points).abs().max() <= warp.reach_mm


def test_solids_lie_in_their_boxes_and_meet_their_poles():
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    block = Block("marrow", np.array([3.0, -2, 5]), np.array([20.0, 14, 9]), axes, power=4, waist=0.1)
    limb = Limb("marrow", np.array([-9.0, 0, 4]), np.array([12.0, 8, -6]), 5.0, 2.0)
    points = torch.rand(3, 60_000, generator=torch.Generator().manual_seed(1)) * 80 - 40
    for solid in (block, limb):
        inside = points[:, solid.distance(points) < 0].T.numpy()
        lower, upper = solid.bounds
        assert len(inside) > 100
        assert (inside >= lower).all()
        assert (inside <= upper).all()
    poles = torch.from_numpy(np.array([block.pole(axis, sign) for axis in range(3) for sign in (-1, 1)]).T).float()
    assert block.distance(poles).abs().max() < 1e-3


def test_a_curve_passes_through_its_nodes():
    nodes = np.array([[0.0, 0, 0], [10, 2, 1], [20, -3, 4]])
    np.testing.assert_allclose(curve(nodes, 5)[::2], nodes)
