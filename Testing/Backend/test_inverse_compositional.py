"""Alignment between voxels: known shifts and turns of a real volume, and what becomes of them in results and files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.features.dense import encode_dense
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.block_matching import (
    ball,
    blocks_at,
    distances_of_blocks,
    emphasis,
    sub_voxel_minimum,
)
from deepfeatures.matching.geometry.inverse_compositional import AlignmentModel, AlignmentPrior, align, rotations
from deepfeatures.networks.mind import Mind
from deepfeatures.service.protocol import landmarks_from_json, landmarks_to_json
from deepfeatures.transforms.inverse_compositional import InverseCompositionalTransformer
from deepfeatures.transforms.samplers import sample

PATCH = ball(8, 2)
TURN = (0.12, -0.1, 0.2)  # radians about x, y and z


def rotation(x: float, y: float, z: float) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(x, y, z)
    return np.array(transform.GetMatrix()).reshape(3, 3)


@pytest.fixture(scope="module")
def brain(data):
    return read_volume(data / "brain" / "1009.nii.gz"), read_landmarks(data / "brain" / "1009.mrk.json")


def moved(volume, matrix, middle, shift):
    """A volume on its grid with all that it shows turned about a voxel and shifted, by cubic B-splines."""
    back = sitk.AffineTransform(3)
    back.SetMatrix(matrix.T.ravel().tolist())
    back.SetCenter(middle.tolist())
    back.SetTranslation((-matrix.T @ shift).tolist())
    image = sitk.GetImageFromArray(volume.voxels.float().numpy())
    voxels = sitk.GetArrayFromImage(sitk.Resample(image, image, back, sitk.sitkBSpline3, 0.0))
    return volume.with_voxels(torch.from_numpy(voxels))


def features_of(volume):
    voxels = volume.voxels.float()
    return encode_dense(Mind(), "ssc_r1_d2", voxels * (255 / voxels.max())).float()


def free(count: int) -> AlignmentPrior:
    return AlignmentPrior(torch.zeros(count, 3), torch.zeros(count), torch.zeros(count))


def test_alignment_is_three_times_nearer_than_a_parabola(brain):
    volume, landmarks = brain
    places = volume.to_index(landmarks.positions)[:12]
    shift = np.array([0.4, -0.3, 0.7])
    template, target = features_of(volume), features_of(moved(volume, np.eye(3), places.mean(0), shift))
    points, true = torch.from_numpy(places).float(), torch.from_numpy(places + shift).float()
    matched = ball(6, 2)
    starts = points + (true - points).round()
    costs = distances_of_blocks(blocks_at(template, points, matched), target, starts, 2, matched, emphasis(matched))
    parabola = starts + sub_voxel_minimum(costs)[0]
    found = align(
        AlignmentModel.fit(template, points, PATCH, emphasis(PATCH)),
        lambda middles, affine: sample(target, middles[:, None] + PATCH.float() @ affine.mT),
        parabola,
        free(len(points)),
    )
    before, after = (float((place - true).norm(dim=1).mean()) for place in (parabola, parabola + found.shifts))
    assert after <= 0.08
    assert after * 3 <= before


def test_a_step_follows_the_warp_from_the_right(brain):
    """Features turned by 25 degrees: steps taken on the other side would not come to the turn."""
    volume, landmarks = brain
    template = features_of(volume)
    points = torch.from_numpy(volume.to_index(landmarks.positions)[3:8]).float()
    turn = torch.from_numpy(rotation(0.3, 0.2, -0.25)).float()

    def look(middles, affine):  # what a target shows that is the template turned about each of the points
        there = middles[:, None] + PATCH.float() @ affine.mT
        return sample(template, points[:, None] + (there - points[:, None]) @ turn)

    model = AlignmentModel.fit(template, points, PATCH, emphasis(PATCH))
    found = align(model, look, points + torch.tensor([0.5, -0.4, 0.3]), free(len(points)), rounds=15)
    assert float((found.affine - turn).abs().max()) < 0.01
    assert float((found.shifts + torch.tensor([0.5, -0.4, 0.3])).norm(dim=1).max()) < 0.02


def test_what_is_believed_holds_the_warp(brain):
    volume, landmarks = brain
    template = features_of(volume)
    points = torch.from_numpy(volume.to_index(landmarks.positions)[3:8]).float()
    model = AlignmentModel.fit(template, points, PATCH, emphasis(PATCH))
    expected = torch.tensor([0.3, 0.0, -0.2]).expand(5, 3)
    sure = AlignmentPrior(expected, torch.full((5,), 1e4), torch.full((5,), 1e4))
    found = align(model, lambda middles, affine: torch.full_like(model.blocks, torch.nan), points, sure)
    torch.testing.assert_close(found.shifts, expected, atol=1e-4, rtol=0)  # a target that shows nothing changes nothing
    torch.testing.assert_close(found.affine, torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)


def test_a_flat_template_stays_where_it_is():
    flat, points = torch.zeros(2, 24, 24, 24), torch.full((1, 3), 12.0)
    model = AlignmentModel.fit(flat, points, PATCH, emphasis(PATCH))
    found = align(model, lambda middles, affine: torch.ones_like(model.blocks), points, free(1))
    assert torch.equal(found.shifts, torch.zeros(1, 3))


class Towards(torch.nn.Module):
    """Says by how much a volume's centre of mass lies beside the middle: the template would have to move there."""

    def forward(self, volumes):
        axes = [torch.linspace(-1 + 1 / n, 1 - 1 / n, n, dtype=volumes.dtype) for n in volumes.shape[2:]]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])
        centre = (volumes * places).sum((2, 3, 4)) / volumes.sum((1, 2, 3, 4))[:, None]
        return torch.nn.functional.pad(-centre[..., None], (3, 0)).flatten(1)


def blob(dtype=torch.float32):
    axis = torch.arange(24, dtype=dtype)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.exp(-((x - 14.3) ** 2 + (y - 10.1) ** 2 + (z - 12.7) ** 2) / 18)[None, None]


def test_a_layer_brings_what_it_sees_to_the_middle():
    found, warp = InverseCompositionalTransformer(Towards())(blob())
    assert float(Towards()(found).abs().max()) < 0.01
    wanted = torch.tensor([14.3, 10.1, 12.7]) / 12 - 11.5 / 12
    torch.testing.assert_close(warp[0, :3, 3], wanted, atol=0.01, rtol=0)


def test_a_layer_has_the_gradient_of_its_rounds():
    layer = InverseCompositionalTransformer(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(125, 12)), 3
    ).double()
    torch.nn.init.normal_(layer.localisation[1].weight, std=0.01, generator=torch.Generator().manual_seed(0))
    volumes = torch.rand(1, 1, 5, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(layer, volumes.requires_grad_(), eps=1e-7, atol=1e-5)


def test_rotations_are_never_reflections():
    matrices = torch.stack([torch.diag(torch.tensor([2.0, 3.0, 0.5])), torch.diag(torch.tensor([1.0, 1.0, -0.1]))])
    found = rotations(matrices)
    torch.testing.assert_close(found[0], torch.eye(3))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(2))


def test_a_turned_target_turns_its_landmarks(brain, tmp_path):
    volume, landmarks = brain
    matrix = rotation(*TURN)
    middle = volume.to_index(landmarks.positions).mean(0)
    target = moved(volume, matrix, middle, np.array([0.3, 0.5, -0.2]))
    placed = Matcher().match(volume, landmarks, target).landmarks
    world = volume.direction @ matrix @ volume.direction.T
    turned = np.array([landmark.orientation for landmark in placed if landmark.is_defined])
    cosines = (np.trace(turned @ world.T, axis1=1, axis2=2) - 1) / 2
    assert len(turned) > 30
    assert np.degrees(np.arccos(cosines.clip(-1, 1))).mean() < 1.5  # the turn itself has 15 degrees
    path = tmp_path / "placed.mrk.json"
    write_landmarks(placed, path)
    again = [landmark.orientation for landmark in read_landmarks(path) if landmark.is_defined]
    np.testing.assert_allclose(again, turned, atol=1e-12)
    sent = landmarks_from_json(json.loads(json.dumps(landmarks_to_json(placed))))
    assert sent.landmarks == placed.landmarks


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_axes_in_a_file_are_those_of_slicer(system, tmp_path):
    """A quarter turn about S: Slicer's R axis then points to A."""
    path = tmp_path / "points.mrk.json"
    write_landmarks(LandmarkSet((Landmark("a", (1.0, 2.0, 3.0)), Landmark("b", (1.0, 2.0, 3.0)))), path)
    content = json.loads(path.read_text())
    first, second = content["markups"][0]["controlPoints"]
    assert first["orientation"] == [-1, 0, 0, 0, -1, 0, 0, 0, 1]  # as in files written until now
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])  # of RAS, and, since x and y both change sign, of LPS
    axes = quarter if system == "RAS" else np.diag([-1, -1, 1]) @ quarter
    first["orientation"] = axes.ravel().tolist()
    second["orientation"] = [-1, 0, 0, 0, -1, 0, 0, 0, 1] if system == "LPS" else np.eye(3).ravel().tolist()
    content["markups"][0]["coordinateSystem"] = system
    path.write_text(json.dumps(content))
    turned, unturned = read_landmarks(path)
    np.testing.assert_allclose(turned.orientation, quarter)
    assert unturned.orientation is None


@pytest.mark.parametrize(
    "values", [None, "x", [1, 2], [0] * 9, [[1]], ["a"] * 9, [1e400] * 9, [1, 0, 0, 0, 1, 0, 0, 0, 1]]
)
def test_what_is_no_rotation_is_no_orientation(values, tmp_path):
    path = tmp_path / "points.mrk.json"
    write_landmarks(LandmarkSet((Landmark("a", (1.0, 2.0, 3.0)),)), path)
    content = json.loads(path.read_text())
    content["markups"][0]["controlPoints"][0]["orientation"] = values
    path.write_text(json.dumps(content))
    (landmark,) = read_landmarks(path)
    if values == [1, 0, 0, 0, 1, 0, 0, 0, 1]:  # half a turn about S, seen from LPS
        np.testing.assert_allclose(landmark.orientation, np.diag([-1, -1, 1]))
    else:
        assert landmark.orientation is None
    assert landmark.position == (1.0, 2.0, 3.0)
