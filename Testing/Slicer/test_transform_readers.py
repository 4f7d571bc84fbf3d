"""3D Slicer and this package read each other's transform files, in the same direction: from parent."""

import numpy as np
import pytest
import torch

pytest.importorskip("slicer", reason="needs slicer-core")

import SimpleITK as sitk
import slicer
import vtk

from deepfeatures.data.volume import Volume
from deepfeatures.io.transform_files import read_transform, write_transform, writing
from deepfeatures.transforms.linear import fit_affine
from deepfeatures.transforms.thin_plate_spline import fit_thin_plate_spline

RAS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def head():
    return Volume(torch.zeros(30, 36, 32), np.array([-30.0, -40.0, 5.0]), np.array([2.0, 2.0, 2.0]), name="head")


@pytest.fixture
def pairs(head):
    """Landmarks, and where they lie in a head 40 mm away."""
    points = head.to_world(np.random.default_rng(1).uniform(4, 26, (12, 3)))
    return points, points * 1.05 + 2 * np.sin(points[:, [1, 2, 0]] / 15) + (40, -5, 8)


@pytest.fixture
def places(head):
    return head.to_world(np.random.default_rng(2).uniform(1, 28, (100, 3)))


def load(scene, path):
    node, storage = slicer.vtkMRMLTransformNode(), slicer.vtkMRMLTransformStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def save(scene, node, path):
    storage = slicer.vtkMRMLTransformStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.WriteData(node)


def from_parent(node, points):
    transform = node.GetTransformFromParent()
    return np.array([transform.TransformPoint(point) for point in (points * RAS).tolist()]) * RAS


def spline_node(scene, points, targets, *, to_parent):
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    for side, places in ((spline.SetSourceLandmarks, points), (spline.SetTargetLandmarks, targets)):
        markers = vtk.vtkPoints()
        markers.SetDataTypeToDouble()
        for place in (places * RAS).tolist():
            markers.InsertNextPoint(place)
        side(markers)
    node = slicer.vtkMRMLTransformNode()
    scene.AddNode(node)
    (node.SetAndObserveTransformToParent if to_parent else node.SetAndObserveTransformFromParent)(spline)
    return node


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
@pytest.mark.parametrize("kind", ["affine", "tps"])
def test_slicer_takes_template_points_to_the_target_from_parent(kind, suffix, scene, head, pairs, places, tmp_path):
    zeros = np.zeros(len(pairs[0]))
    transform = fit_affine(*pairs, zeros + 1) if kind == "affine" else fit_thin_plate_spline(*pairs, zeros)[0]
    write_transform(transform, tmp_path / f"t{suffix}", head)
    moved = from_parent(load(scene, tmp_path / f"t{suffix}"), places)
    in_itk = sitk.ReadTransform(str(tmp_path / f"t{suffix}"))
    np.testing.assert_allclose(moved, [in_itk.TransformPoint(place) for place in places.tolist()], atol=1e-6)
    np.testing.assert_allclose(moved, transform(places), atol=0.05)


def test_a_field_is_the_same_in_slicer_at_its_nodes(scene, head, pairs, tmp_path):
    transform = fit_thin_plate_spline(*pairs, np.zeros(len(pairs[0])))[0]
    write_transform(transform, tmp_path / "t.nrrd", head)
    field = read_transform(tmp_path / "t.nrrd")
    nodes = field.grid.points()[::997]
    np.testing.assert_allclose(from_parent(load(scene, tmp_path / "t.nrrd"), nodes), field(nodes), atol=1e-3)


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".mat", ".txt"])
@pytest.mark.parametrize("to_parent", [False, True])
def test_thin_plate_splines_of_slicer_are_read(to_parent, suffix, scene, pairs, places, tmp_path):
    pytest.importorskip("h5py")
    ends = (pairs[1], pairs[0]) if to_parent else pairs
    node = spline_node(scene, *ends, to_parent=to_parent)
    save(scene, node, tmp_path / f"s{suffix}")
    inside = from_parent(node, places)
    np.testing.assert_allclose(read_transform(tmp_path / f"s{suffix}")(places), inside, atol=1e-2)


def test_inverses_and_composites_of_slicer_are_read(scene, head, pairs, places, tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    monkeypatch.setattr(writing, "BSPLINE_NODES", 5e4)
    write_transform(fit_thin_plate_spline(*pairs, np.zeros(len(pairs[0])))[0], tmp_path / "t.h5", head)
    node = load(scene, tmp_path / "t.h5")
    node.Inverse()
    for name in ("inverse.h5", "inverse.tfm"):
        save(scene, node, tmp_path / name)
        there = read_transform(tmp_path / "t.h5")(places)
        np.testing.assert_allclose(read_transform(tmp_path / name)(there), places, atol=1e-3)


def test_a_rotation_of_slicer_has_its_centre_in_the_parent(scene, places, tmp_path):
    turn = vtk.vtkTransform()
    turn.Translate(10, 20, 30)
    turn.RotateZ(30)
    node = slicer.vtkMRMLLinearTransformNode()
    scene.AddNode(node)
    node.SetMatrixTransformToParent(turn.GetMatrix())
    for suffix in (".tfm", ".h5", ".mat", ".txt"):
        save(scene, node, tmp_path / f"r{suffix}")
        np.testing.assert_allclose(
            read_transform(tmp_path / f"r{suffix}")(places), from_parent(node, places), atol=1e-6
        )
