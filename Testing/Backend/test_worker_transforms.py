"""What the worker finds, writes and carries over by transforms, from the points of two made heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.phantom import make_pair

PATIENCE_S = 240
VOXELS = 48  # of a head from front to back
SETTINGS = MatchSettings(device="cpu")
APART_MM = np.array([40.0, -15.0, 8.0])  # from the template's frame to the target's


@pytest.fixture(scope="module")
def heads():
    """Template, landmarks, target and points; the target's world begins elsewhere."""
    template, landmarks, target, points = make_pair(VOXELS)
    moved = [replace(one, position=tuple(np.add(one.position, APART_MM).tolist())) for one in points]
    target = replace(target, origin=target.origin + APART_MM, name="target")
    return replace(template, name="template"), landmarks, target, LandmarkSet(tuple(moved))


@pytest.fixture
def find(client, heads, tmp_path):
    """A function that asks for a transform, and returns the event."""

    def ask(kind, name="transform.h5", points=None, settings=SETTINGS):
        template, landmarks, target, truth = heads
        truth = truth if points is None else points
        path = tmp_path / name
        request = client.transform(template, landmarks, target, truth, settings, kind=kind, path=path)
        return client.wait(request, PATIENCE_S)

    return ask


def done(client, request):
    event = client.wait(request, PATIENCE_S)
    assert event.kind == "result", event.text
    return event.content


def largest_residual(path, landmarks, points):
    """As another program sees it."""
    transform = sitk.ReadTransform(str(path))
    carried = [transform.TransformPoint(one.position) for one in landmarks]
    return np.linalg.norm(np.array(carried) - points.positions, axis=1).max()


def test_the_kinds_are_told(client):
    assert done(client, client.hello())["transforms"] == [
        "rigid",
        "similarity",
        "affine",
        "tps",
        "bspline",
        "cpab",
        "field",
    ]


@pytest.mark.parametrize(("kind", "most_mm"), [("rigid", 9.0), ("affine", 7.0), ("tps", 0.01)])
def test_the_file_takes_landmarks_to_their_points(kind, most_mm, find, heads):
    event = find(kind)
    assert event.kind == "result", event.text
    content = event.content
    _, landmarks, _, points = heads
    assert (content["kind"], content["names"]) == (kind, [one.name for one in landmarks])
    off = largest_residual(content["path"], landmarks, points)
    assert off == pytest.approx(max(content["residuals_mm"]), abs=0.01)
    assert off < most_mm
    assert content["folded_share"] == 0
    assert "points of the template template to points of the target target" in content["description"]


def test_what_points_do_not_settle_is_told(find, heads):
    points = heads[3]
    few = replace(points, landmarks=points.landmarks[:3])
    lower = find("tps", points=few)
    assert lower.content["kind"] == "similarity"
    assert any("similarity" in note for note in lower.content["notes"])
    assert "at least 3" in find("rigid", points=replace(points, landmarks=points.landmarks[:2])).text
    assert "choose one of rigid, similarity" in find("curved").text
    assert find("curved").cause == "input"


def test_the_field_is_what_the_last_match_has_found_or_is_searched_again(client, find, heads):
    template, landmarks, target, _ = heads
    found = done(client, client.match(template, landmarks, target, SETTINGS))["landmarks"]
    first = find("field", points=found).content
    assert first["kind"] == "field"
    assert np.mean(first["residuals_mm"]) < 3.0, "smooth, and within a voxel of what was found"
    client.cancel()  # ends the worker, and what it knew
    again = find("field", points=found).content
    np.testing.assert_allclose(again["residuals_mm"], first["residuals_mm"], atol=1e-3)
    moved = [replace(one, position=(one.position[0] + 20, *one.position[1:])) for one in found.landmarks[:1]]
    event = find("field", points=replace(found, landmarks=(*moved, *found.landmarks[1:])))
    assert any(f"passes {moved[0].name} by up to 2" in note for note in event.content["notes"])
    patches = MatchSettings(device="cpu", search="patch", network="mind", layer="ssc_r1_d2", search_radius_mm=4.0)
    assert "A search by patches finds no field" in find("field", settings=patches).text


def test_the_target_is_seen_in_the_template_and_labels_go_the_other_way(client, find, heads):
    template, _, target, _ = heads
    path = find("tps").content["path"]
    seen = done(client, client.warp(path, target, template, inverse=True))
    np.testing.assert_allclose(seen["volume"].origin, template.origin)
    assert seen["volume"].voxels.shape == tuple(template.voxels.shape)
    assert seen["covered_share"] > 0.7
    same = np.corrcoef(template.voxels.numpy().ravel(), seen["volume"].voxels.ravel())[0, 1]
    assert same > 0.75, "but for noise"
    labels = template.with_voxels((template.voxels > template.voxels.mean()).float() * 7)
    carried = done(client, client.warp(path, labels, target, labels=True))["volume"]
    assert set(np.unique(carried.voxels)) == {0.0, 7.0}
    np.testing.assert_allclose(carried.origin, target.origin)
    truth = (target.voxels > template.voxels.mean()).numpy()
    overlap = 2 * (truth & (carried.voxels > 0)).sum() / (truth.sum() + (carried.voxels > 0).sum())
    assert overlap > 0.7, "but for noise"


def test_the_jacobian_map_lies_on_the_template(client, find, heads):
    template = heads[0]
    content = done(client, client.jacobian(find("affine").content["path"], template))
    transform = sitk.ReadTransform(str(find("affine").content["path"]))
    corners = [np.array(transform.TransformPoint(place)) for place in np.vstack([np.zeros(3), np.eye(3)]).tolist()]
    growth = np.linalg.det(np.stack([corner - corners[0] for corner in corners[1:]], 1))
    np.testing.assert_allclose(content["map"].voxels, growth, rtol=1e-3)
    assert content["map"].voxels.shape == tuple(template.voxels.shape)


def test_a_transform_is_written_again_for_another_program(client, find, heads, tmp_path):
    template, landmarks, _, points = heads
    made = find("tps").content
    content = done(client, client.write_transform(made["path"], template, tmp_path / "field.nrrd", made["description"]))
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(content["path"], sitk.sitkVectorFloat64))
    carried = np.array([field.TransformPoint(one.position) for one in landmarks])
    assert np.linalg.norm(carried - points.positions, axis=1).max() < 1.0, content["notes"]
    assert content["notes"]
    refused = client.wait(client.write_transform(tmp_path / "none.h5", template, tmp_path / "a.h5", ""), PATIENCE_S)
    assert (refused.kind, refused.cause) == ("error", "input")


def test_files_are_carried_over(client, find, heads, tmp_path):
    template, landmarks, target, points = heads
    path = find("tps").content["path"]
    labels = sitk.GetImageFromArray((template.voxels > template.voxels.mean()).to(torch.uint8).numpy())
    labels.SetOrigin(template.origin.tolist())
    labels.SetSpacing(template.spacing.tolist())
    labels.SetDirection(template.direction.ravel().tolist())
    sitk.WriteImage(labels, str(tmp_path / "labels.nii.gz"))
    content = done(client, client.warp_file(path, tmp_path / "labels.nii.gz", tmp_path / "there.nii.gz", target))
    there = sitk.ReadImage(content["path"])
    assert there.GetSize() == target.size
    assert set(np.unique(sitk.GetArrayFromImage(there))) == {0, 1} and there.GetPixelID() != sitk.sitkFloat32
    assert content["text"]
    write_landmarks(landmarks, tmp_path / "points.mrk.json")
    done(client, client.warp_file(path, tmp_path / "points.mrk.json", tmp_path / "carried.mrk.json", target))
    np.testing.assert_allclose(read_landmarks(tmp_path / "carried.mrk.json").positions, points.positions, atol=0.01)
