"""`deepfeatures transform` and `deepfeatures warp` on volumes whose world origins are 40 mm apart."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.transform_files import read_transform
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.phantom import make_pair

SHIFT = np.array([40.0, -6.0, 9.0])
TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])  # about S
NAMES = ("AC", "PC", "left eye", "right eye", "vertex", "chin")


def to_target(points):
    return points @ TURN.T + SHIFT


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A template with a ball at the first landmark, a target with it at the same landmark, and their landmarks."""
    monkeypatch.chdir(tmp_path)
    template = Volume(torch.zeros(24, 30, 26), np.array([-20.0, -25, -18]), np.array([1.5, 1.5, 1.5]), name="T")
    points = template.to_world(np.random.default_rng(2).uniform(6, 18, (len(NAMES), 3)))
    corner = to_target(template.centre[None])[0] - 20
    target = Volume(torch.zeros(40, 40, 40), corner, np.ones(3), name="S")
    for volume, places in ((template, points), (target, to_target(points))):
        write_volume(volume.with_voxels(ball(volume, places[0])), f"{volume.name}.nii.gz")
        landmarks = LandmarkSet(tuple(Landmark(*pair) for pair in zip(NAMES, map(tuple, places), strict=True)))
        write_landmarks(landmarks, f"{volume.name}.mrk.json")
    return points


def ball(volume, centre, radius_mm=4.0):
    k, j, i = np.indices(tuple(volume.voxels.shape)).reshape(3, -1)
    off = np.linalg.norm(volume.to_world(np.stack([i, j, k], 1)) - centre, axis=1)
    return torch.from_numpy(np.clip(radius_mm - off, 0, None).reshape(volume.voxels.shape))


def centroid(path):
    volume = read_volume(path)
    k, j, i = np.nonzero(volume.voxels.numpy() > 0)
    weights = volume.voxels.numpy()[k, j, i]
    return np.average(volume.to_world(np.stack([i, j, k], 1)), axis=0, weights=weights)


def fit(output="t.h5", *more, kind="rigid", **files):
    given = {"template": "T.nii.gz", "target": "S.nii.gz", "from": "T.mrk.json", "to": "S.mrk.json", **files}
    options = [text for name, value in given.items() for text in (f"--{name}", value)]
    return main(["transform", *options, "--kind", kind, "--output", output, *more])


def test_the_file_maps_template_points_to_target_points(files, capfd):
    assert fit() == 0
    found = sitk.ReadTransform("t.h5")
    np.testing.assert_allclose([found.TransformPoint(point) for point in files.tolist()], to_target(files), atol=1e-3)
    captured = capfd.readouterr()
    assert captured.out.startswith("t.h5: rigid, 6 landmarks, residual mean 0.00 mm, worst 0.00 mm, no folds")


def test_the_report_has_residuals_by_name(files):
    assert fit("t.h5", "--report", "r.json") == 0
    report = json.loads(Path("r.json").read_text("utf-8"))
    assert [one["name"] for one in report["landmarks"]] == list(NAMES)
    assert report["direction"] == "template points to target points, LPS mm"
    assert report["command"].startswith("deepfeatures transform --template T.nii.gz")


def test_keypoints_tell_what_lies_between_few_landmarks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template, landmarks, target, truth = make_pair(64)
    write_volume(template, "T.nii.gz")
    write_volume(target, "S.nii.gz")
    known = landmarks.landmarks[::3]
    write_landmarks(LandmarkSet(known), "T.mrk.json")
    write_landmarks(LandmarkSet(truth.landmarks[::3]), "S.mrk.json")
    assert fit("few.h5", kind="tps") == 0
    assert fit("more.h5", "--keypoints", "--report", "r.json", kind="tps") == 0
    few, more = (
        np.linalg.norm(read_transform(name)(landmarks.positions) - truth.positions, axis=1).mean()
        for name in ("few.h5", "more.h5")
    )
    assert more < 0.8 * few
    rows = json.loads(Path("r.json").read_text("utf-8"))["landmarks"]
    assert [row["name"] for row in rows] == [one.name for one in known]  # keypoints have no rows


@pytest.mark.parametrize("kind", ["rigid", "tps", "bspline"])
def test_what_belongs_to_the_template_is_carried_to_the_target_and_back(files, kind):
    assert fit(kind=kind) == 0
    assert main(["warp", "--transform", "t.h5", "--like", "S.nii.gz", "T.nii.gz", "w.nii.gz"]) == 0
    np.testing.assert_allclose(centroid("w.nii.gz"), to_target(files[:1])[0], atol=0.3)
    assert main(["warp", "--transform", "t.h5", "--like", "T.nii.gz", "--inverse", "S.nii.gz", "b.nii.gz"]) == 0
    np.testing.assert_allclose(centroid("b.nii.gz"), files[0], atol=0.3)


def test_a_volume_brought_back_is_what_simpleitk_resamples_by_the_file(files):
    assert fit() == 0
    assert main(["warp", "--transform", "t.h5", "--like", "T.nii.gz", "--inverse", "S.nii.gz", "b.nii.gz"]) == 0
    images = sitk.ReadImage("S.nii.gz"), sitk.ReadImage("T.nii.gz"), sitk.ReadTransform("t.h5")
    expected = sitk.GetArrayFromImage(sitk.Resample(*images, sitk.sitkLinear, 0.0))
    np.testing.assert_allclose(read_volume("b.nii.gz").voxels.numpy(), expected, atol=2e-3)


def test_labels_stay_labels_and_are_written_as_whole_numbers(files, capfd):
    template = read_volume("T.nii.gz")
    labels = (template.voxels > 0).float() * 7 + (template.voxels > 2).float() * 2000
    write_volume(template.with_voxels(labels), "seg.nii.gz")
    assert fit() == 0
    for chosen in ("auto", "label"):
        arguments = ["--transform", "t.h5", "--like", "S.nii.gz", "--interpolation", chosen, "seg.nii.gz", "out.nii.gz"]
        assert main(["warp", *arguments]) == 0
        written = sitk.ReadImage("out.nii.gz")
        assert written.GetPixelID() == sitk.sitkInt16
        assert set(np.unique(sitk.GetArrayFromImage(written))) == {0, 7, 2007}
        np.testing.assert_allclose(centroid("out.nii.gz"), to_target(files[:1])[0], atol=0.6)
    assert "label map with 2 labels, nearest interpolation" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["parcels_dseg.nii.gz", "parcels.nii.gz"])
def test_hundreds_of_labels_are_no_scan(name, files, capfd):
    template = read_volume("T.nii.gz")
    parcels = torch.arange(template.voxels.numel()).reshape(template.voxels.shape) // 40
    assert len(parcels.unique()) > 256
    write_volume(template.with_voxels(parcels), name, labels=True)
    assert fit() == 0
    for chosen in ("auto", "label"):
        arguments = ["--transform", "t.h5", "--like", "S.nii.gz", "--interpolation", chosen, name, "o.nrrd"]
        assert main(["warp", *arguments]) == 0
        written = sitk.ReadImage("o.nrrd")
        assert written.GetPixelID() == sitk.sitkInt16
        assert set(np.unique(sitk.GetArrayFromImage(written))) <= set(parcels.unique().tolist())
    assert f"label map with {len(parcels.unique()) - 1} labels, nearest" in capfd.readouterr().out


def test_a_few_scattered_labels_are_no_scan(files, capfd):
    template = read_volume("T.nii.gz")
    tissues = torch.from_numpy(np.random.default_rng(0).integers(0, 4, tuple(template.voxels.shape)))
    write_volume(template.with_voxels(tissues), "tissues.nii.gz", labels=True)
    assert fit() == 0
    assert main(["warp", "--transform", "t.h5", "--like", "S.nii.gz", "tissues.nii.gz", "o.nii.gz"]) == 0
    assert "label map with 3 labels, nearest interpolation" in capfd.readouterr().out


def test_a_scan_with_much_padding_is_no_label_map(files, capfd):
    template = read_volume("T.nii.gz")
    scan = np.random.default_rng(0).normal(40, 20, tuple(template.voxels.shape)).round()
    scan[:, :20] = -1024
    write_volume(template.with_voxels(torch.from_numpy(scan)), "ct.nii.gz")
    assert fit() == 0
    assert main(["warp", "--transform", "t.h5", "--like", "S.nii.gz", "ct.nii.gz", "o.nii.gz"]) == 0
    assert "volume, linear interpolation" in capfd.readouterr().out


def test_labels_that_single_precision_would_change_are_refused(files, capfd):
    volume = sitk.ReadImage("T.nii.gz")
    regions = sitk.GetImageFromArray((sitk.GetArrayFromImage(volume) > 0).astype(np.uint32) * 312782546)
    regions.CopyInformation(volume)
    sitk.WriteImage(regions, "annotation.nrrd")
    assert fit() == 0
    capfd.readouterr()
    assert main(["warp", "--transform", "t.h5", "--like", "S.nii.gz", "annotation.nrrd", "o.nrrd"]) == 2
    assert "which cannot be kept exactly" in only_error(capfd)


def test_the_jacobian_map_tells_how_volumes_grow(files, capfd):
    scaled = sitk.ScaleTransform(3, (1.1, 1.2, 0.9))
    sitk.WriteTransform(scaled, "scale.tfm")
    assert main(["transform", "--jacobian", "scale.tfm", "--template", "T.nii.gz", "--output", "j.nii.gz"]) == 0
    np.testing.assert_allclose(read_volume("j.nii.gz").voxels.numpy(), 1.1 * 1.2 * 0.9, rtol=1e-5)
    assert "no folds" in capfd.readouterr().out


def only_error(capfd):
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_exchanged_landmarks_are_recognised(files, capfd):
    assert fit(**{"from": "S.mrk.json", "to": "T.mrk.json"}) == 2
    assert "exchange --from and --to" in only_error(capfd)


def test_landmarks_of_the_wrong_volume_are_refused(files, capfd):
    assert fit(to="T.mrk.json") == 2
    assert "T.mrk.json lie outside the target S" in only_error(capfd)


def test_too_few_landmarks_are_refused(files, capfd):
    write_landmarks(LandmarkSet((Landmark("AC", tuple(files[0])), Landmark("PC", tuple(files[1])))), "two.mrk.json")
    assert fit(**{"from": "two.mrk.json"}) == 2
    assert "at least 3 landmarks" in only_error(capfd)


def test_a_volume_is_no_transform(files, capfd):
    assert main(["warp", "--transform", "T.nii.gz", "--like", "S.nii.gz", "T.nii.gz", "w.nii.gz"]) == 2
    assert "no displacement vectors" in only_error(capfd)


def test_a_confused_direction_is_told(files, capfd):
    assert fit() == 0
    capfd.readouterr()
    assert main(["warp", "--transform", "t.h5", "--like", "T.nii.gz", "T.nii.gz", "w.nii.gz"]) == 2
    assert "--inverse" in only_error(capfd)


def test_place_writes_the_transform_that_it_finds(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan, other = (data / "hippocampus" / f"hippocampus_{number}" for number in ("001", "003"))
    arguments = ["--template", f"{scan}.nii.gz", "--landmarks", f"{scan}.mrk.json", "--output-dir", "out"]
    assert main(["place", *arguments, "--transform", "found", f"{other}.nii.gz"]) == 0
    found = sitk.ReadTransform("found/hippocampus_003.h5")
    points, placed = read_landmarks(f"{scan}.mrk.json"), read_landmarks("out/hippocampus_003.mrk.json")
    moved = np.array([found.TransformPoint(point) for point in points.positions.tolist()])
    assert np.linalg.norm(moved - placed.positions, axis=1).max() < 3
