"""Transforms fitted to pairs of landmarks: what they recover, invert, sample and refuse."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.transforms.displacement_field import DisplacementFieldTransform, sample_transform
from deepfeatures.transforms.fitting import fit_transform
from deepfeatures.transforms.folding import folded_share, jacobian_map
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.pairing import LandmarkPairs, pair_by_name
from deepfeatures.transforms.resampling import resample
from deepfeatures.transforms.thin_plate_spline import evaluate, fit_thin_plate_spline, solve
from deepfeatures.transforms.transform import CompositeTransform, Transform

SHIFT = (40.0, -25.0, 10.0)  # world origins of template and target differ: a wrong direction shows


def a_rotation(seed):
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def pairs_of(points, targets, errors_mm=0.0):
    names = tuple(f"L{number}" for number in range(len(points)))
    return LandmarkPairs(names, points, targets, np.broadcast_to(float(errors_mm), len(points)).copy())


def scattered(count=30, seed=0, edge=120.0):
    return np.random.default_rng(seed).uniform(0, edge, (count, 3))


def bent(points):
    return points + SHIFT + 4 * np.sin(points[:, [1, 2, 0]] / 25)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.7, 1.4))
def test_linear_fits_recover_what_moved_the_points(seed, scale):
    points, rotation = scattered(8, seed), a_rotation(seed)
    linear = {
        "rigid": rotation,
        "similarity": scale * rotation,
        "affine": rotation @ np.diag([scale, 1.0, 1.2]),
    }
    for kind, matrix in linear.items():
        fit = fit_transform(kind, pairs_of(points, points @ matrix.T + SHIFT))
        assert fit.kind == kind and not fit.notes
        np.testing.assert_allclose(fit.transform(points), points @ matrix.T + SHIFT, atol=1e-6)
        np.testing.assert_allclose(fit.transform.inverse(fit.transform(points)).points, points, atol=1e-6)


def test_clean_pairs_are_fitted_as_itk_fits_them():
    points = scattered(20)
    targets = bent(points)
    ours = fit_transform("rigid", pairs_of(points, targets))
    theirs = sitk.LandmarkBasedTransformInitializer(
        sitk.VersorRigid3DTransform(), points.ravel().tolist(), targets.ravel().tolist()
    )
    assert (ours.weights > 0.999).all()
    np.testing.assert_allclose(ours.transform(points), [theirs.TransformPoint(p) for p in points.tolist()], atol=1e-3)


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine", "tps"])
def test_one_wrong_pair_is_named_and_does_not_move_the_others(kind):
    points = scattered(20)
    true = points @ a_rotation(1).T + SHIFT
    wrong = true.copy()
    wrong[4] += (30, 0, 0)
    fit = fit_transform(kind, pairs_of(points, wrong, 1.0))
    others = np.arange(20) != 4
    assert "L4" in fit.notes[0].text
    assert np.linalg.norm(fit.transform(points[others]) - true[others], axis=1).max() < 1.5
    assert fit.weights[4] < 0.1 * fit.weights[others].min()


def test_a_thin_plate_spline_meets_what_people_placed():
    points = scattered()
    fit = fit_transform("tps", pairs_of(points, bent(points)))
    assert fit.residuals_mm.max() < 1e-6 and fit.folded_share == 0


def test_a_thin_plate_spline_smooths_by_the_expected_error():
    points, noise = scattered(200), np.random.default_rng(1).normal(0, 1.5, (200, 3))
    truth = bent(points)
    smooth = fit_transform("tps", pairs_of(points, truth + noise, 1.596 * 1.5))
    exact = fit_transform("tps", pairs_of(points, truth + noise))
    inside = scattered(400, seed=2)
    error, error_of_exact = (
        np.linalg.norm(one.transform(inside) - bent(inside), axis=1).mean() for one in (smooth, exact)
    )
    assert error < 0.9 * error_of_exact


def test_points_of_small_error_are_met_better_than_those_of_large_error():
    points, noise = scattered(40), np.random.default_rng(1).normal(0, 1.5, (40, 3))
    errors = np.where(np.arange(40) < 20, 0.2, 4.0)
    names = tuple(map(str, range(40)))
    fit = fit_transform("tps", LandmarkPairs(names, points, bent(points) + noise, errors))
    assert fit.residuals_mm[:20].mean() < 0.3 * fit.residuals_mm[20:].mean()


def test_the_jacobian_of_a_spline_is_that_of_differences():
    spline, _ = fit_thin_plate_spline(scattered(), bent(scattered()), np.zeros(30))
    places = scattered(50, seed=3)
    np.testing.assert_allclose(spline.jacobian(places), Transform.jacobian(spline, places), atol=1e-4)


def test_a_spline_is_differentiable_in_its_points_and_values():
    points = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    values = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    smoothing, places = torch.zeros(6, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)

    def carried(points, values):
        return evaluate(places, points, *solve(points, values, smoothing))

    assert torch.autograd.gradcheck(carried, (points, values))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_inverses_and_compositions_agree(seed):
    points = scattered(25, seed)
    spline = fit_transform("tps", pairs_of(points, bent(points))).transform
    turned = LinearTransform(np.block([[a_rotation(seed), np.array(SHIFT)[:, None]], [np.zeros(3), 1]]))
    both, places = spline.then(turned), scattered(200, seed + 1)
    np.testing.assert_allclose(both(places), turned(spline(places)))
    back = both.inverse(both(places))
    assert back.errors_mm.max() < 1e-4
    np.testing.assert_allclose(back.points, places, atol=1e-3)
    np.testing.assert_allclose(both.inverted()(both(places)), places, atol=1e-3)
    np.testing.assert_allclose(
        both.inverted().jacobian(both(places)) @ both.jacobian(places), np.eye(3)[None].repeat(200, 0), atol=1e-5
    )


def test_a_field_moves_points_as_itk_does():
    rng = np.random.default_rng(0)
    grid = Grid(np.array([-3.0, 5.0, 9.0]), np.array([2.0, 3.0, 4.0]), a_rotation(5), (6, 5, 4))
    field = DisplacementFieldTransform(rng.normal(size=(4, 5, 6, 3)), grid)
    image = sitk.GetImageFromArray(field.vectors, isVector=True)
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    theirs = sitk.DisplacementFieldTransform(image)
    places = grid.to_world(rng.uniform(-1.2, 6.0, (300, 3)))  # some beyond the nodes, some beyond their voxels
    np.testing.assert_allclose(field(places), [theirs.TransformPoint(p) for p in places.tolist()], atol=1e-9)


def test_any_transform_is_sampled_with_the_error_that_it_states():
    points = scattered()
    spline = fit_transform("tps", pairs_of(points, bent(points))).transform
    template = Grid(np.zeros(3), np.ones(3), np.eye(3), (121, 121, 121))
    sampled = sample_transform(spline, template, tolerance_mm=0.1, most_nodes=6_000_000)
    places = template.random_points(5000, seed=9)
    assert sampled.error_mm <= 0.1
    assert np.linalg.norm(sampled.transform(places) - spline(places), axis=1).max() < 0.2
    far = np.array([[1000.0, 0, 0]])
    np.testing.assert_allclose(sampled.transform(far), sampled.linear(far))


def ramp(origin=(0.0, 0.0, 0.0), size=(30, 28, 26), spacing=2.0):
    """A volume whose voxels say where they are: no error of interpolation."""
    blank = Volume(
        torch.zeros(size[::-1]), origin=np.array(origin), spacing=np.full(3, spacing), direction=a_rotation(2)
    )
    places = Grid.of(blank).points() @ [1.0, 2.0, 3.0]
    return blank.with_voxels(torch.from_numpy(places.reshape(size[::-1])).float())


def test_a_volume_is_seen_through_a_transform_in_the_right_direction():
    target, template = ramp(SHIFT), ramp()
    moved = np.add(SHIFT, (1.5, -2.0, 0.5))
    transform = LinearTransform(np.block([[np.eye(3), moved[:, None]], [np.zeros(3), 1]]))
    seen = resample(target, transform, template)
    expected = (Grid.of(template).points() + moved) @ [1.0, 2.0, 3.0]
    inside = target.contains(transform(Grid.of(template).points()))
    np.testing.assert_array_equal(seen.covered.numpy().ravel(), inside)
    # The outermost half voxel repeats its centre.
    difference = np.abs(seen.volume.voxels.numpy().ravel() - expected)[inside]
    assert np.median(difference) < 1e-3 and 0.9 < seen.covered_share < 1
    assert (seen.volume.voxels.numpy().ravel()[~inside] == 0).all()


@pytest.mark.parametrize("is_inverse", [False, True])
def test_a_volume_is_seen_through_a_bent_transform_where_that_puts_each_voxel(is_inverse):
    points = scattered(edge=50.0) @ a_rotation(2).T
    transform = fit_transform("tps", pairs_of(points, points + 2 * np.sin(points[:, [1, 2, 0]] / 6))).transform
    mapping, volume = transform.inverted() if is_inverse else transform, ramp(size=(29, 27, 26))
    seen = resample(volume, mapping, volume)
    places = mapping(Grid.of(volume).points())
    index = volume.to_index(places)
    inner = ((index >= 0) & (index <= np.array(volume.size) - 1)).all(1)  # where nothing is repeated
    off = np.abs(seen.volume.voxels.numpy().ravel() - places @ [1.0, 2.0, 3.0])[inner]
    assert inner.mean() > 0.8 and off.max() < 0.5 and np.quantile(off, 0.99) < 0.1


def test_a_single_slice_is_seen_through_a_bent_transform():
    points = scattered(edge=50.0) @ a_rotation(2).T
    spline = fit_transform("tps", pairs_of(points, points + 2 * np.sin(points[:, [1, 2, 0]] / 6))).transform
    volume = ramp(size=(29, 27, 26))
    middle = volume.to_world(np.array([[0.0, 0.0, 13.0]]))[0]
    one = replace(volume, voxels=volume.voxels[13:14], origin=middle)
    whole = resample(volume, spline, volume).volume.voxels[13]
    assert (resample(volume, spline, one).volume.voxels[0] - whole).abs().quantile(0.95) < 0.1


def test_labels_stay_labels():
    voxels = torch.zeros(20, 20, 20)
    voxels[5:15, 5:15, 5:15], voxels[8:12, 8:12, 8:12] = 3, 7
    labels = Volume(voxels)
    shift = LinearTransform(np.block([[np.eye(3), np.full((3, 1), 0.4)], [np.zeros(3), 1]]))
    for interpolation in ("nearest", "label"):
        seen = resample(labels, shift, labels, interpolation).volume.voxels
        assert set(seen.unique().tolist()) == {0.0, 3.0, 7.0}
        assert abs(int((seen > 0).sum()) - 1000) < 250


def test_folds_are_counted_and_noted():
    points = np.array([[0, 0, 0], [60, 0, 0], [0, 60, 0], [0, 0, 60], [30, 30, 30], [33, 30, 30]], float)
    targets = points.copy()
    targets[4, 0], targets[5, 0] = 45, 15  # two neighbours change places
    fit = fit_transform("tps", pairs_of(points, targets))
    assert fit.folded_share > 0 and "folds" in fit.notes[-1].text
    box = Grid(np.full(3, 20.0), np.full(3, 1.0), np.eye(3), (21, 21, 21))
    assert folded_share(fit.transform, box) > fit.folded_share


def test_a_fold_beside_a_landmark_is_named_however_small():
    points = np.concatenate([scattered(12), [[60, 60, 60], [61, 60, 60]]])
    targets = points.copy()
    targets[-1] -= (2.5, 0, 0)  # the second passes the first
    fit = fit_transform("tps", pairs_of(points, targets))
    around = points[-2:, None] + np.random.default_rng(0).normal(0, 0.1, (1, 500, 3))
    assert (fit.transform.jacobian_determinant(around.reshape(-1, 3)) <= 0).any()
    assert 0 < fit.folded_share < 1e-3
    assert "less than 0.01%" in fit.notes[-1].text and "L12, L13" in fit.notes[-1].text
    bent_only = fit_transform("tps", pairs_of(scattered(12), bent(scattered(12))))
    assert not bent_only.transform.folds_beside_control_points.any() and bent_only.folded_share == 0


def test_the_jacobian_map_shows_how_volumes_grow():
    double = LinearTransform(np.diag([2.0, 1.0, 1.5, 1.0]))
    assert torch.allclose(jacobian_map(double, ramp()).voxels, torch.tensor(3.0))


@pytest.mark.parametrize("size", [(30, 28, 26), (33, 29, 5), (31, 30, 2), (30, 28, 1)])
def test_the_jacobian_map_is_as_exact_between_the_places_at_which_it_is_computed(size):
    points = scattered(edge=60.0)
    spline = fit_transform("tps", pairs_of(points, bent(points))).transform
    template = ramp(size=size)
    exact = spline.jacobian_determinant(Grid.of(template).points()).reshape(size[::-1])
    found = jacobian_map(spline, template).voxels.numpy()
    assert np.abs(found - exact).max() < 0.02 < np.ptp(exact)


# Bad input


def test_fewer_than_three_pairs_are_refused():
    with pytest.raises(InputError, match="at least 3 landmarks"):
        fit_transform("rigid", pairs_of(scattered(2), scattered(2)))


@pytest.mark.parametrize("where", ["template", "target"])
def test_points_on_one_line_are_refused(where):
    line, free = np.outer(np.arange(5.0), [10, 3, 1]), scattered(5)
    pairs = pairs_of(line, free) if where == "template" else pairs_of(free, line)
    with pytest.raises(InputError, match=f"one line in the {where}"):
        fit_transform("affine", pairs)


@pytest.mark.parametrize("kind", ["affine", "tps", "bspline", "cpab"])
@pytest.mark.parametrize("count", [3, 6])
def test_points_in_one_plane_give_a_similarity_with_a_note(kind, count):
    points = scattered(count) * (1, 1, 0)
    targets = 1.1 * points @ a_rotation(3).T + SHIFT
    fit = fit_transform(kind, pairs_of(points, targets))
    assert fit.kind == "similarity" and "similarity" in fit.notes[0].text
    assert fit.residuals_mm.max() < 1e-6


def test_mirrored_pairs_are_refused():
    points = scattered(10)
    with pytest.raises(InputError, match="mirror image"):
        fit_transform("rigid", pairs_of(points, points * (-1, 1, 1) + SHIFT))


def landmarks(places, name, **more):
    return LandmarkSet(
        tuple(Landmark(key, None if place is None else tuple(place), **more) for key, place in places.items()), name
    )


def test_pairs_are_those_of_one_name_with_a_place_in_both():
    template = landmarks({"a": (0, 0, 0), "b": (1, 0, 0), "c": (0, 1, 0), "only here": (0, 0, 1)}, "template")
    target = LandmarkSet(
        (
            Landmark("c", (5, 6, 5)),
            Landmark("A ", (5, 5, 5), expected_error_mm=2.0, feature_distance=0.1),
            Landmark("b", None, "missing"),
        ),
        "target",
    )
    pairs = pair_by_name(template, target)
    assert pairs.names == ("a", "c")
    np.testing.assert_array_equal(pairs.targets, [(5, 5, 5), (5, 6, 5)])
    np.testing.assert_array_equal(pairs.expected_errors_mm, [2, 0])  # c was placed by a person
    assert "'A ' as 'a'" in pairs.notes[0].text
    assert pairs.notes[-1].text.endswith("are left out: b")  # "only here" has a note of names


def test_landmarks_at_one_place_of_the_template_count_as_one():
    template = landmarks({"a": (0, 0, 0), "b": (9, 0, 0), "a again": (0, 0, 0)}, "template")
    pairs = pair_by_name(template, landmarks({"a": (1, 1, 1), "b": (2, 0, 0), "a again": (3, 1, 1)}, "target"))
    assert pairs.names == ("a", "b") and "one place" in pairs.notes[0].text
    np.testing.assert_array_equal(pairs.targets[0], (2, 1, 1))


def test_no_common_name_and_double_names_are_refused():
    one, other = landmarks({"a": (0, 0, 0)}, "template"), landmarks({"b": (0, 0, 0)}, "target")
    with pytest.raises(InputError, match="No landmark of template"):
        pair_by_name(one, other)
    twice = LandmarkSet((Landmark("a", (0, 0, 0)), Landmark("a", (1, 0, 0))), "target")
    with pytest.raises(InputError, match="two landmarks named a"):
        pair_by_name(one, twice)


def test_parts_of_a_composite_run_in_their_order():
    first, second = (
        LinearTransform(np.diag([2.0, 2, 2, 1])),
        LinearTransform(np.block([[np.eye(3), np.ones((3, 1))], [np.zeros(3), 1]])),
    )
    assert CompositeTransform((first, second))([[1.0, 1, 1]]).tolist() == [[3, 3, 3]]
