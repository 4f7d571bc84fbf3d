"""Transform files: what is written is what SimpleITK reads, and what other programs write is read rightly."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.transform_files import fields, read_transform, write_transform, writing
from deepfeatures.transforms.bspline import fit_bspline
from deepfeatures.transforms.cpab import fit_cpab
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.thin_plate_spline import fit_thin_plate_spline

POINTS = 300
SHIFT = (40.0, -7.0, 12.0)  # between the world origins of template and target: a wrong direction is 40 mm off


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Lattices of fewer nodes, which take less time."""
    for module, name, nodes in (
        (writing, "BSPLINE_NODES", 1e5),
        (writing, "TEXT_NODES", 5e4),
        (fields, "MOST_NODES", 2e5),
    ):
        monkeypatch.setattr(module, name, nodes)


@pytest.fixture
def template():
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix()
    return Volume(torch.zeros(30, 40, 36), np.array([-30.0, -20.0, 10.0]), np.array([1.5, 1.2, 1.6]), turn, "head")


@pytest.fixture
def pairs(template):
    """Landmarks of the template, and where they lie in the target: turned, larger, bent, and 40 mm away."""
    rng = np.random.default_rng(3)
    points = template.to_world(rng.uniform(0.1, 0.9, (14, 3)) * (np.array(template.size) - 1))
    bent = points + 1.5 * np.sin(points[:, [1, 2, 0]] / 12)
    return points, bent @ np.array([[1.05, 0.1, 0], [-0.1, 1.02, 0.03], [0, -0.05, 0.96]]).T + SHIFT


@pytest.fixture
def places(template):
    return template.to_world(np.random.default_rng(5).random((POINTS, 3)) * (np.array(template.size) - 1))


def linear(points, targets, template):
    matrix = np.array([[1.05, 0.1, 0, 40], [-0.1, 1.02, 0.03, -7], [0, -0.05, 0.96, 12], [0, 0, 0, 1]])
    return LinearTransform(matrix)


def spline(points, targets, template):
    return fit_thin_plate_spline(points, targets, np.zeros(len(points)))[0]


def bspline(points, targets, template):
    affine = linear(points, targets, template)
    corners = template.to_world(np.array([[0, 0, 0], template.size], float))
    before = affine.inverted()(targets)
    low, high = corners.min(0) - 10, corners.max(0) + 10
    return fit_bspline(points, before, np.ones(len(points)), low, high).then(affine)


def cpab(points, targets, template):
    affine = linear(points, targets, template)
    grid = template.to_world(np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(template.size) - 1.0))
    before = affine.inverted()(targets)
    return fit_cpab(points, before, np.ones(len(points)), grid.min(0) - 10, grid.max(0) + 10).then(affine)


KINDS = {"affine": linear, "tps": spline, "bspline": bspline, "cpab": cpab}
EXACT = {"affine": 1e-9, "tps": 0.1, "bspline": 1e-9, "cpab": 0.1}  # mm, of .h5: kinks of two kinds are rounded off


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt", ".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_again_is_what_was_written(kind, suffix, pairs, template, places, tmp_path):
    transform = KINDS[kind](*pairs, template)
    notes = write_transform(transform, tmp_path / f"t{suffix}", template)
    off = np.linalg.norm(read_transform(tmp_path / f"t{suffix}")(places) - transform(places), axis=1).max()
    stated = [float(note.text.split("up to ")[1].split(" mm")[0]) for note in notes if "off by" in note.text]
    assert off <= max([2e-3, *(2 * one for one in stated)])
    assert off <= 0.2


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
@pytest.mark.parametrize("kind", KINDS)
def test_simpleitk_maps_template_points_to_target_points(kind, suffix, pairs, template, places, tmp_path):
    transform = KINDS[kind](*pairs, template)
    write_transform(transform, tmp_path / f"t{suffix}", template)
    found = sitk.ReadTransform(str(tmp_path / f"t{suffix}"))
    moved = np.array([found.TransformPoint(place) for place in places.tolist()])
    np.testing.assert_allclose(moved, read_transform(tmp_path / f"t{suffix}")(places), atol=1e-6)
    assert np.linalg.norm(moved - transform(places), axis=1).max() <= max(EXACT[kind], 1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".nrrd", ".nii.gz"])
def test_the_file_of_a_thin_plate_spline_meets_the_landmarks(suffix, pairs, template, tmp_path):
    write_transform(spline(*pairs, template), tmp_path / f"t{suffix}", template)
    moved = read_transform(tmp_path / f"t{suffix}")(pairs[0])
    np.testing.assert_allclose(moved, pairs[1], atol=1e-6 if suffix == ".h5" else 1e-4)


@pytest.mark.parametrize("suffix", [".h5", ".nrrd"])
def test_the_stated_error_is_that_around_landmarks_too(suffix, pairs, template, tmp_path):
    beside, parted = np.array([[0.5, 0, 0]]), np.array([[0, 5, 0]])
    points = np.concatenate([pairs[0], pairs[0][:1] + beside])
    targets = np.concatenate([pairs[1], pairs[1][:1] + parted])
    transform = spline(points, targets, template)
    notes = write_transform(transform, tmp_path / f"t{suffix}", template)
    (stated,) = [float(note.text.split("up to ")[1].split(" mm")[0]) for note in notes if "off by" in note.text]
    around = points[-1] + np.random.default_rng(0).normal(0, 2, (2000, 3))
    off = np.linalg.norm(read_transform(tmp_path / f"t{suffix}")(around) - transform(around), axis=1).max()
    assert 0.3 * stated < off < 1.2 * stated
    assert off < 6  # two landmarks of one cell are not met at the expense of all around


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".mat"])
def test_a_class_that_simpleitk_cannot_name_is_read(suffix, places, tmp_path):
    skewed = sitk.ComposeScaleSkewVersor3DTransform()
    skewed.SetCenter((5, -2, 7))
    skewed.SetParameters((0.1, 0.2, -0.1, 3, 4, 5, 1.1, 0.9, 1.2, 0.05, -0.02, 0.03))
    sitk.WriteTransform(skewed, str(tmp_path / f"t{suffix}"))
    moved = np.array([skewed.TransformPoint(place) for place in places.tolist()])
    np.testing.assert_allclose(read_transform(tmp_path / f"t{suffix}")(places), moved, atol=1e-9)


@pytest.mark.parametrize("suffix", [".tfm", ".mat", ".h5"])
def test_the_centre_of_a_rotation_counts(suffix, places, tmp_path):
    turned = sitk.Euler3DTransform((10, -20, 30), 0.1, 0.3, -0.4, (1, 2, 3))
    sitk.WriteTransform(turned, str(tmp_path / f"t{suffix}"))
    moved = np.array([turned.TransformPoint(place) for place in places.tolist()])
    np.testing.assert_allclose(read_transform(tmp_path / f"t{suffix}")(places), moved, atol=1e-9)


def test_a_bspline_on_an_oblique_lattice_is_read(places, template, tmp_path):
    lattice = sitk.BSplineTransform(3, 3)
    lattice.SetTransformDomainMeshSize((4, 5, 3))
    lattice.SetTransformDomainOrigin(template.origin.tolist())
    lattice.SetTransformDomainDirection(template.direction.ravel().tolist())
    lattice.SetTransformDomainPhysicalDimensions((60.0, 50.0, 50.0))
    rng = np.random.default_rng(0)
    lattice.SetParameters(rng.normal(size=len(lattice.GetParameters())).tolist())
    sitk.WriteTransform(lattice, str(tmp_path / "t.h5"))
    moved = np.array([lattice.TransformPoint(place) for place in places.tolist()])
    np.testing.assert_allclose(read_transform(tmp_path / "t.h5")(places), moved, atol=1e-9)


def test_a_field_of_the_kind_modeling_is_the_inverse(pairs, template, places, tmp_path):
    write_transform(bspline(*pairs, template), tmp_path / "t.nrrd", template)
    image = sitk.ReadImage(str(tmp_path / "t.nrrd"))
    image.SetMetaData("displacement field type", "modeling")
    sitk.WriteImage(image, str(tmp_path / "inverse.nrrd"))
    forward, back = read_transform(tmp_path / "t.nrrd"), read_transform(tmp_path / "inverse.nrrd")
    np.testing.assert_allclose(back(forward(places)), places, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.h5", b"not HDF5", "cut short or damaged"),
        ("t.tfm", b"#Insight Transform File V1.0\n", "damaged"),
        ("t.txt", b"point\n3\n", "no transform of ITK or elastix"),
        ("t.xyz", b"", "not a known kind of transform file"),
        ("t.txt", b'(Transform "BendTransform")\n', "which cannot be read"),
        ("t.nrrd", b"NRRD0004\n", "damaged"),
    ],
)
def test_what_is_no_transform_is_refused_in_one_sentence(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_transform(tmp_path / name)


def test_a_scan_is_no_field(template, tmp_path):
    sitk.WriteImage(sitk.Image(8, 8, 8, sitk.sitkFloat32), str(tmp_path / "scan.nii.gz"))
    with pytest.raises(InputError, match="no displacement vectors"):
        read_transform(tmp_path / "scan.nii.gz")


def test_a_field_of_positions_is_refused(template, tmp_path):
    image = sitk.Image(template.size, sitk.sitkVectorFloat64)
    image.CopyInformation(sitk.GetImageFromArray(template.voxels.numpy()))
    positions = sitk.PhysicalPointSource(sitk.sitkVectorFloat64, template.size, template.origin, template.spacing)
    sitk.WriteImage(positions, str(tmp_path / "positions.nii.gz"))
    with pytest.raises(InputError, match="positions instead of displacements"):
        read_transform(tmp_path / "positions.nii.gz")


def test_only_linear_transforms_fit_into_mat(pairs, template, tmp_path):
    with pytest.raises(InputError, match=r"\.mat holds linear transforms only"):
        write_transform(spline(*pairs, template), tmp_path / "t.mat", template)
    assert not list(tmp_path.iterdir())
