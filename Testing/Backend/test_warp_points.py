"""Landmark files of every format, and models, carried over by a transform."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io import model_files
from deepfeatures.io.landmark_files import FORMATS, read_landmarks, write_landmarks
from deepfeatures.io.transform_files import write_transform
from deepfeatures.io.volume_files import write_volume
from deepfeatures.pipelines.warp_models import write_warped_model
from deepfeatures.pipelines.warp_points import write_warped_points
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.transform import Transform

MATRIX = np.array([(0.8, -0.6, 0.0, 40.0), (0.6, 0.8, 0.0, -30.0), (0.0, 0.0, 1.1, 5.0), (0.0, 0.0, 0.0, 1.0)])
TURN = LinearTransform(MATRIX)
POSITIONS = np.array([(1.0, 2.0, 3.0), (-20.0, 5.5, 7.0), (30.25, -40.0, 12.0)])
MOVED = POSITIONS @ MATRIX[:3, :3].T + MATRIX[:3, 3]
TRIANGLE = "{title}\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n1 2 3 -20 5.5 7 30.25 -40 12\nPOLYGONS 1 4\n3 0 1 2\n"


class Folding(Transform):
    """Takes points to one plane, so that most have no inverse."""

    def __call__(self, points):
        return np.asarray(points, float) * (1, 1, 0)


def vtk_file(path, title):
    path.write_text("# vtk DataFile Version 3.0\n" + TRIANGLE.format(title=title))
    return path


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".dcm"])
def test_points_of_every_format_are_carried_over(suffix, tmp_path):
    landmarks = LandmarkSet(tuple(Landmark(str(n), tuple(place)) for n, place in enumerate(POSITIONS, 1)))
    source, output = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_landmarks(landmarks, source)
    write_warped_points(TURN, source, output)
    np.testing.assert_allclose(read_landmarks(output).positions, MOVED, atol=1e-4)
    assert [one.name for one in read_landmarks(output)] == ["1", "2", "3"]


def test_points_change_their_format_and_keep_name_lock_and_status(tmp_path):
    points = LandmarkSet((Landmark("AC", (1, 2, 3), "defined", "mine", True), Landmark("PC", None, "missing")))
    write_landmarks(points, tmp_path / "a.mrk.json")
    write_warped_points(TURN, tmp_path / "a.mrk.json", tmp_path / "b.fcsv")
    first, second = read_landmarks(tmp_path / "b.fcsv")
    assert (first.name, first.description, first.locked, second.status) == ("AC", "mine", True, "missing")
    np.testing.assert_allclose(first.position, MOVED[0], atol=1e-6)


def test_a_file_in_ras_stays_in_ras_with_all_that_it_held(tmp_path):
    point = {"label": "x", "position": [-1.0, -2.0, 3.0], "associatedNodeID": "vtk1", "extra": [1, {"deep": True}]}
    nowhere = {"label": "y", "position": "", "positionStatus": "undefined"}
    markup = {
        "type": "Mine",
        "coordinateSystem": "RAS",
        "controlPoints": [point, nowhere],
        "display": {"color": [1, 0, 0]},
    }
    (tmp_path / "a.mrk.json").write_text(json.dumps({"@schema": "s", "markups": [markup], "more": None}))
    write_warped_points(TURN, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json")
    found = json.loads((tmp_path / "b.mrk.json").read_text())
    places = [one.pop("position") for one in found["markups"][0]["controlPoints"]]
    np.testing.assert_allclose(places[0], MOVED[0] * (-1, -1, 1))
    assert places[1] == ""
    for one in markup["controlPoints"]:
        del one["position"]
    assert found == {"@schema": "s", "markups": [markup], "more": None}


def test_a_region_that_a_transform_shears_is_noted(tmp_path):
    roi = {"type": "ROI", "center": [0, 0, 0], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "size": [20, 20, 20]}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [roi]}))
    assert not write_warped_points(TURN, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json").notes
    sheared = LinearTransform(np.array([(1, 0.3, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1.0)]))
    (note,) = write_warped_points(sheared, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json").notes
    assert "ROI stays rectangular" in note.text and " mm " in note.text


def test_points_without_an_exact_inverse_are_noted(tmp_path):
    write_landmarks(LandmarkSet((Landmark("a", (1, 2, 3)), Landmark("b", (1, 2, 0)))), tmp_path / "a.mrk.json")
    (note,) = write_warped_points(Folding().inverted(), tmp_path / "a.mrk.json", tmp_path / "b.mrk.json").notes
    assert "no exact inverse at 1 of 2 points" in note.text and "3 mm" in note.text


def test_a_file_without_points_says_so(tmp_path):
    write_landmarks(LandmarkSet((Landmark("PC", None, "missing"),)), tmp_path / "a.mrk.json")
    carried = write_warped_points(TURN, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json")
    assert "holds no point" in carried.notes[0].text


@pytest.mark.parametrize("transform", [Folding(), Folding().inverted()], ids=["forward", "inverse"])
def test_a_region_where_space_is_flattened_is_refused(transform, tmp_path):
    roi = {"type": "ROI", "center": [1, 2, 3], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "size": [20, 20, 20]}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [roi]}))
    with pytest.raises(InputError, match="flattens space"):
        write_warped_points(transform, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json")
    assert not (tmp_path / "b.mrk.json").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no markups"),
        ('{"markups": []}', "holds no markups"),
        ('{"markups": [{"coordinateSystem": "XYZ"}]}', "coordinate system"),
        ('{"markups": [{"coordinateUnits": "um"}]}', "convert them to mm"),
        ('{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "no three numbers"),
        ('{"markups": [{"type": "ROI", "center": [1, 2], "orientation": []}]}', "no 3 numbers as 'center'"),
    ],
)
def test_markups_that_cannot_be_used_are_refused(text, told, tmp_path):
    (tmp_path / "a.mrk.json").write_text(text)
    with pytest.raises(InputError, match=told):
        write_warped_points(TURN, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json")
    assert not (tmp_path / "b.mrk.json").exists()


def test_numbers_too_large_for_a_float_are_refused(tmp_path):
    roi = {"type": "ROI", "center": [10**400, 0, 0], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "size": [1, 1, 1]}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [roi | {"controlPoints": []}]}))
    with pytest.raises(InputError, match="save it from 3D Slicer again"):
        write_warped_points(TURN, tmp_path / "a.mrk.json", tmp_path / "b.mrk.json")


def test_a_model_that_states_no_system_is_lps_and_says_so(tmp_path):
    pytest.importorskip("vtkmodules")
    (note,) = write_warped_model(TURN, vtk_file(tmp_path / "a.vtk", "somebody's"), tmp_path / "b.vtk").notes
    assert "neither LPS nor RAS" in note.text
    text = (tmp_path / "b.vtk").read_text()
    assert "ASCII" in text and "SPACE" not in text
    np.testing.assert_allclose(model_points(tmp_path / "b.vtk"), MOVED, atol=1e-6)


def test_a_model_in_ras_stays_in_ras(tmp_path):
    pytest.importorskip("vtkmodules")
    assert not write_warped_model(
        TURN, vtk_file(tmp_path / "a.vtk", "3D Slicer output. SPACE=RAS"), tmp_path / "b.ply"
    ).notes
    assert b"comment SPACE=RAS" in (tmp_path / "b.ply").read_bytes()
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    there = (flip @ MATRIX @ flip)[:3]
    np.testing.assert_allclose(model_points(tmp_path / "b.ply"), POSITIONS @ there[:, :3].T + there[:, 3], atol=1e-5)


@pytest.mark.parametrize("name", ["nothing.vtk", "text.vtk", "text.stl", "text.ply", "text.vtp", "points.xyz"])
def test_models_that_cannot_be_read_are_refused(name, tmp_path, capfd):
    pytest.importorskip("vtkmodules")
    if name != "nothing.vtk":
        (tmp_path / name).write_text("no model at all\n")
    with pytest.raises(InputError):
        write_warped_model(TURN, tmp_path / name, tmp_path / "b.vtk")
    assert not (tmp_path / "b.vtk").exists()
    assert capfd.readouterr() == ("", "")


def test_without_vtk_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "vtkmodules.vtkIOLegacy", None)
    with pytest.raises(InputError, match=r"pip install '\.\[models\]'"):
        write_warped_model(TURN, vtk_file(tmp_path / "a.vtk", "x"), tmp_path / "b.vtk")


@pytest.fixture
def between(tmp_path):
    """Files of a transform and of a target in which the points come to lie, as options of `warp`."""
    target = Volume(np.zeros((40, 90, 120), np.float32), MOVED.min(0) - 20, np.ones(3), np.eye(3))
    write_volume(target, tmp_path / "target.nii.gz")
    write_transform(TURN, tmp_path / "turn.tfm")
    return ["--transform", str(tmp_path / "turn.tfm"), "--like", str(tmp_path / "target.nii.gz")]


def test_the_command_carries_points_curves_and_models(between, tmp_path, capsys):
    pytest.importorskip("vtkmodules")
    curve = {"type": "Curve", "controlPoints": [{"position": place} for place in POSITIONS.tolist()]}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [curve]}))
    assert main(["warp", *between, str(tmp_path / "a.mrk.json"), str(tmp_path / "b.mrk.json")]) == 0
    assert "3 points" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.mrk.json").read_text())["markups"][0]["type"] == "Curve"
    np.testing.assert_allclose(read_landmarks(tmp_path / "b.mrk.json").positions, MOVED, atol=1e-6)
    vtk_file(tmp_path / "a.vtk", "SPACE=LPS")
    assert main(["warp", *between, str(tmp_path / "a.vtk"), str(tmp_path / "b.stl")]) == 0
    assert "a model of 3 points" in capsys.readouterr().out
    np.testing.assert_allclose(model_points(tmp_path / "b.stl"), MOVED, atol=1e-4)


def test_points_in_the_wrong_direction_are_refused(between, tmp_path, capsys):
    write_landmarks(LandmarkSet((Landmark("a", tuple(MOVED[0] + 300)),)), tmp_path / "a.mrk.json")
    assert main(["warp", *between, str(tmp_path / "a.mrk.json"), str(tmp_path / "b.mrk.json")]) == 2
    assert "--inverse" in capsys.readouterr().err
    write_landmarks(LandmarkSet(tuple(Landmark(str(n), (1, 2, z)) for n, z in enumerate((3, 300)))), tmp_path / "a.csv")
    assert main(["warp", *between, str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 0
    assert "1 of 2 points lie outside" in capsys.readouterr().err


def model_points(path):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(model_files.read_model(path).mesh.GetPoints().GetData())
