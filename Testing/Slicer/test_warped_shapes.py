"""Markups and models that Slicer wrote are carried over, and lie where Slicer itself takes them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.pipelines.warp_models import write_warped_model
from deepfeatures.pipelines.warp_points import write_warped_points
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.thin_plate_spline import fit_thin_plate_spline

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

FLIP = np.array([-1.0, -1.0, 1.0])
CLOSE_MM = 1e-3
POINTS = np.array([(10.0, 20.0, 30.0), (-12.0, 25.0, 33.0), (-5.0, -18.0, 41.0), (22.0, -9.0, 12.0), (4.0, 3.0, 55.0)])
CLASSES = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve", "Plane", "ROI")


def vtk_transform(points, targets):
    """The thin plate spline of VTK through pairs of points in RAS, as Slicer has it."""
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    for name, places in (("SetSourceLandmarks", points), ("SetTargetLandmarks", targets)):
        kept = vtk.vtkPoints()
        for place in places * FLIP:
            kept.InsertNextPoint(place)
        getattr(spline, name)(kept)
    return spline


@pytest.fixture(params=["affine", "spline"])
def both(request):
    """A transform as this package and as VTK have it, the latter in RAS."""
    import vtk

    random = np.random.default_rng(3)
    if request.param == "affine":
        matrix = np.eye(4)
        matrix[:3, :3] += random.normal(0, 0.15, (3, 3))
        matrix[:3, 3] = 40, -30, 10  # the wrong direction shows
        ras = np.diag([*FLIP, 1.0]) @ matrix @ np.diag([*FLIP, 1.0])
        theirs = vtk.vtkTransform()
        theirs.SetMatrix(ras.ravel())
        return LinearTransform(matrix), theirs
    points = random.uniform(-70, 70, (15, 3))
    targets = points + random.normal(0, 4, (15, 3)) + (40, -30, 10)
    return fit_thin_plate_spline(points, targets, np.zeros(15))[0], vtk_transform(points, targets)


@pytest.fixture
def markups(new_scene):
    """A function that makes a markups node of a class, and one that writes and one that reads it."""
    scene = new_scene()

    def make(kind):
        node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", f"my {kind}")
        if kind == "ROI":
            node.SetCenter(1, 2, 3)
            node.SetSize(10, 20, 30)
            return node
        if kind == "Plane":
            node.SetPlaneType(node.PlaneTypePointNormal)
            node.SetSizeMode(node.SizeModeAbsolute)
        count = {"Line": 2, "Angle": 3, "Plane": 1}.get(kind, len(POINTS))
        for number, place in enumerate(POINTS[:count]):
            node.AddControlPoint(*place)
            node.SetNthControlPointLabel(number, f"p{number}")
            node.SetNthControlPointDescription(number, f"about {number}")
        if kind == "Plane":
            node.SetNormal(0.3, 0.2, 0.9)
            node.SetSize(40, 20)
        node.SetNthControlPointLocked(0, True)
        return node

    def write(node, path):
        storage = node.CreateDefaultStorageNode()
        scene.AddNode(storage)
        storage.SetFileName(str(path))
        assert storage.WriteData(node)

    def read(kind, path):
        node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node")
        storage = node.CreateDefaultStorageNode()
        scene.AddNode(storage)
        storage.SetFileName(str(path))
        assert storage.ReadData(node)
        assert storage.GetUserMessages().GetNumberOfMessages() == 0
        return node

    return make, write, read


def control_points(node):
    return np.array([node.GetNthControlPointPosition(n) for n in range(node.GetNumberOfControlPoints())])


def object_to_node(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    try:
        node.GetObjectToNodeMatrix(matrix)
    except TypeError:  # of regions it has no argument
        matrix = node.GetObjectToNodeMatrix()
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


@pytest.mark.parametrize("kind", CLASSES)
def test_markups_lie_where_slicer_hardens_them(kind, both, markups, tmp_path):
    ours, theirs = both
    make, write, read = markups
    node = make(kind)
    write(node, tmp_path / "template.mrk.json")
    write_warped_points(ours, tmp_path / "template.mrk.json", tmp_path / "target.mrk.json")
    found = read(kind, tmp_path / "target.mrk.json")
    node.ApplyTransform(theirs)
    np.testing.assert_allclose(control_points(found), control_points(node), atol=CLOSE_MM)
    if kind in ("Plane", "ROI"):
        np.testing.assert_allclose(object_to_node(found), object_to_node(node), atol=CLOSE_MM)
        np.testing.assert_allclose(found.GetSize(), node.GetSize(), atol=CLOSE_MM)
    if kind not in ("ROI",):
        assert found.GetNthControlPointDescription(0) == "about 0"
        assert found.GetNthControlPointLocked(0)


@pytest.mark.parametrize("kind", ["3Points", "PlaneFit"])
def test_a_plane_through_points_stays_one(kind, both, markups, tmp_path):
    ours, theirs = both
    _, write, read = markups
    node = slicer.vtkMRMLMarkupsPlaneNode()
    node.SetPlaneType(getattr(node, f"PlaneType{kind}"))
    make, *_ = markups
    scene = make("Fiducial").GetScene()
    scene.AddNode(node)
    for place in POINTS[: 3 if kind == "3Points" else None]:
        node.AddControlPoint(*place)
    write(node, tmp_path / "template.mrk.json")
    write_warped_points(ours, tmp_path / "template.mrk.json", tmp_path / "target.mrk.json")
    found = read("Plane", tmp_path / "target.mrk.json")
    node.ApplyTransform(theirs)
    assert found.GetPlaneType() == node.GetPlaneType()
    np.testing.assert_allclose(control_points(found), control_points(node), atol=CLOSE_MM)
    np.testing.assert_allclose(found.GetNormal(), node.GetNormal(), atol=CLOSE_MM)
    np.testing.assert_allclose(found.GetCenter(), node.GetCenter(), atol=CLOSE_MM)


def test_slicer_carries_template_points_by_the_inverse_of_the_node_that_it_reads(markups, tmp_path):
    """The file holds template to target, which Slicer takes as from parent."""
    import SimpleITK as sitk

    matrix = np.eye(4)
    matrix[:3, :3] = [(0.8, -0.6, 0), (0.6, 0.8, 0), (0, 0, 1.1)]
    matrix[:3, 3] = 40, -30, 10
    written = sitk.AffineTransform(matrix[:3, :3].ravel(), matrix[:3, 3])
    sitk.WriteTransform(written, str(tmp_path / "transform.tfm"))
    make, write, read = markups
    node = make("Curve")
    write(node, tmp_path / "template.mrk.json")
    write_warped_points(LinearTransform(matrix), tmp_path / "template.mrk.json", tmp_path / "target.mrk.json")
    scene = node.GetScene()
    loaded = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    storage = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(tmp_path / "transform.tfm"))
    assert storage.ReadData(loaded)
    loaded.Inverse()
    node.SetAndObserveTransformNodeID(loaded.GetID())
    assert node.HardenTransform()
    found = control_points(read("Curve", tmp_path / "target.mrk.json"))
    np.testing.assert_allclose(found, control_points(node), atol=CLOSE_MM)


def test_a_curve_is_measured_anew(markups, tmp_path):
    make, write, read = markups
    node = make("ClosedCurve")
    node.GetMeasurement("length").SetEnabled(True)
    node.UpdateAllMeasurements()
    length = node.GetMeasurement("length").GetValue()
    write(node, tmp_path / "template.mrk.json")
    twice = LinearTransform(np.diag([2.0, 2.0, 2.0, 1.0]))
    write_warped_points(twice, tmp_path / "template.mrk.json", tmp_path / "target.mrk.json")
    stated = json.loads((tmp_path / "target.mrk.json").read_text())["markups"][0]["measurements"]
    assert "value" not in next(one for one in stated if one["name"] == "length")
    found = read("ClosedCurve", tmp_path / "target.mrk.json")
    found.UpdateAllMeasurements()
    assert found.GetMeasurement("length").GetValue() == pytest.approx(2 * length, rel=1e-6)


def test_back_again_is_where_it_was(both, markups, tmp_path):
    ours, _ = both
    make, write, _ = markups
    node = make("Fiducial")
    write(node, tmp_path / "a.mrk.json")
    write_warped_points(ours, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json")
    carried = write_warped_points(ours.inverted(), tmp_path / "b.mrk.json", tmp_path / "c.mrk.json")
    assert not carried.notes
    found = read_landmarks(tmp_path / "c.mrk.json").positions
    np.testing.assert_allclose(found, POINTS * FLIP, atol=CLOSE_MM)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
@pytest.mark.parametrize("suffix", [".vtk", ".vtp", ".stl", ".ply"])
def test_models_lie_where_slicer_hardens_them(suffix, system, both, new_scene, tmp_path):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    ours, theirs = both
    scene = new_scene()
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(20, 10, -5)
    sphere.SetRadius(30)
    sphere.Update()
    mesh = vtk.vtkPolyData()
    mesh.DeepCopy(sphere.GetOutput())
    thickness = numpy_to_vtk(np.arange(mesh.GetNumberOfPoints(), dtype=np.float32), deep=True)
    thickness.SetName("thickness")
    mesh.GetPointData().SetScalars(thickness)
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    node.SetAndObservePolyData(mesh)
    storage = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
    storage.SetFileName(str(tmp_path / f"template{suffix}"))
    storage.SetCoordinateSystem(1 if system == "LPS" else 0)
    assert storage.WriteData(node)
    assert storage.ReadData(node)  # STL has another order of points
    assert not write_warped_model(ours, tmp_path / f"template{suffix}", tmp_path / f"target{suffix}").notes

    found = scene.AddNewNodeByClass("vtkMRMLModelNode", "found")
    reading = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
    reading.SetFileName(str(tmp_path / f"target{suffix}"))
    assert reading.ReadData(found)
    assert reading.GetCoordinateSystem() == (1 if system == "LPS" else 0)
    node.ApplyTransform(theirs)
    places, expected = (vtk_to_numpy(one.GetPolyData().GetPoints().GetData()) for one in (found, node))
    np.testing.assert_allclose(places, expected, atol=CLOSE_MM)
    assert found.GetPolyData().GetNumberOfPolys() == node.GetPolyData().GetNumberOfPolys()
    if suffix in (".vtk", ".vtp"):
        kept = vtk_to_numpy(found.GetPolyData().GetPointData().GetArray("thickness"))
        np.testing.assert_array_equal(kept, np.arange(len(kept)))
    if suffix != ".stl":
        normals, wanted = (vtk_to_numpy(one.GetPolyData().GetPointData().GetNormals()) for one in (found, node))
        np.testing.assert_allclose(normals, wanted, atol=2e-3)
