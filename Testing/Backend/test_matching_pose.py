"""The pose of a target: found whatever its frame, its rotation and its crop."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import OUTSIDE
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.sampling import smooth
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose import rotation_search
from deepfeatures.matching.pose.rotations import candidate_rotations
from deepfeatures.matching.pose.settings import PoseSettings


def about(axis, degrees: float) -> np.ndarray:
    """The rotation about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross, angle = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]), np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


ROTATIONS = [about((1, 2, -1), 70), about((0, 0, 1), 180), about((1, 0.3, 0.2), 180), about((-1, 1, 0.5), 130)]


@pytest.fixture(scope="module")
def body() -> Volume:
    """A body like no mirror image or rotation of itself, with structure inside, in air; 2 mm voxels."""
    shape = (34, 40, 36)
    noise = smooth(torch.randn(1, *shape, generator=torch.Generator().manual_seed(4)), 2.0)[0]
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    egg = ((x / 0.6) ** 2 + (y / 0.75) ** 2 + (z / 0.62) ** 2 < 1) | (
        ((x - 0.35) ** 2 + (y + 0.4) ** 2 + (z - 0.3) ** 2) < 0.12
    )
    voxels = smooth((egg * (100 + 40 * noise / noise.std()))[None], 0.6)[0]
    return Volume(voxels, np.array([-30.0, 12.0, 5.0]), np.full(3, 2.0), name="body")


@pytest.fixture(scope="module")
def landmarks(body) -> LandmarkSet:
    places = np.array([[17.2, 19.4, 16.1], [12.3, 15.2, 14.4], [22.4, 25.1, 18.3], [19.5, 13.2, 21.0], [15, 26, 19.2]])
    return LandmarkSet(tuple(Landmark(f"{k}", tuple(p)) for k, p in enumerate(body.to_world(places))))


@pytest.fixture(scope="module")
def matchers():
    """One matcher for each way."""
    return {way: Matcher(initialization=way, device="cpu") for way in ("auto", "centres", "world", "any")}


def resampled_turned(volume: Volume, turn: np.ndarray, shift=(7.0, -5.0, 3.0)) -> tuple[Volume, np.ndarray]:
    """The content turned about the volume's centre and moved, on a grid that says nothing of it; and where the centre
    went."""
    size = int(np.ceil(np.linalg.norm(volume.size)))
    centre = np.array([50.0, -20.0, 80.0])
    grid = Volume(torch.zeros((size,) * 3), centre - (size - 1) / 2 * volume.spacing, volume.spacing, name="turned")
    places = grid.to_world(np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1).reshape(-1, 3)[:, ::-1])
    there = volume.to_index((places - centre - shift) @ turn + volume.centre)
    ends = np.array(volume.size) - 1
    points = torch.from_numpy(2 * there / ends - 1).float().view(1, size, size, size, 3)
    voxels = torch.nn.functional.grid_sample(volume.voxels[None, None], points, align_corners=True)[0, 0]
    return grid.with_voxels(voxels), centre + shift


def turned_in_the_world(volume: Volume, turn: np.ndarray, shift: np.ndarray) -> Volume:
    """The same voxels in another place of the world."""
    return replace(volume, direction=turn @ volume.direction, origin=turn @ volume.origin + shift)


def errors(placed: LandmarkSet, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(placed.positions - truth, axis=1)


@pytest.mark.parametrize("turn", ROTATIONS)
def test_a_body_turned_by_any_angle_is_found(body, landmarks, matchers, turn):
    target, centre = resampled_turned(body, turn)
    truth = (landmarks.positions - body.centre) @ turn.T + centre
    result = matchers["auto"].match(body, landmarks, target)
    placed = result.landmarks
    assert errors(placed, truth).max() < 1.5  # of voxels of 2 mm, interpolated
    assert result.report()["pose"]["initialization"] == "any"
    # without rotations they are misplaced or missing
    upright = errors(matchers["centres"].match(body, landmarks, target).landmarks, truth)
    assert np.isnan(upright).all() or np.nanmean(upright) > 5


@pytest.mark.parametrize("turn, way", [(ROTATIONS[0], "any"), (about((1, 2, -1), 5), "centres")])
def test_where_likeness_leaves_it_open_agreement_tells_whether_a_body_is_turned(body, landmarks, turn, way):
    open_to_both = PoseSettings(alike=2.0, advantage=1.0)  # no start is ever right, no turned pose convincing
    matcher = Matcher(device="cpu", guided=GuidedSettings(pose=open_to_both))
    target, centre = resampled_turned(body, turn)
    truth = (landmarks.positions - body.centre) @ turn.T + centre
    result = matcher.match(body, landmarks, target)
    assert errors(result.landmarks, truth).max() < 1.5
    assert result.report()["pose"]["initialization"] == way


def test_a_turned_body_is_found_though_its_upright_start_passes_for_right(body, landmarks):
    credulous = PoseSettings(alike=-9.0, tilt_deg=360.0)  # any start that a full turn does not better is right
    matcher = Matcher(device="cpu", guided=GuidedSettings(pose=credulous))
    target, centre = resampled_turned(body, ROTATIONS[0])
    truth = (landmarks.positions - body.centre) @ ROTATIONS[0].T + centre
    result = matcher.match(body, landmarks, target)
    assert errors(result.landmarks, truth).max() < 1.5
    assert result.report()["pose"]["initialization"] == "any"


@pytest.mark.parametrize("flips", [(), (1,)])
def test_another_frame_of_the_same_voxels_changes_nothing(body, landmarks, matchers, flips):
    turn, shift = about((1, 2, -1), 25), np.array([200.0, -70.0, 15.0])
    target = turned_in_the_world(body, turn, shift)
    for axis in flips:  # stored the other way around: a left-handed volume
        first = np.zeros(3)
        first[axis] = target.size[axis] - 1
        flip = np.where(np.arange(3) == axis, -1.0, 1.0)
        target = replace(
            target,
            voxels=target.voxels.flip(2 - axis),
            origin=target.to_world(first[None])[0],
            direction=target.direction * flip,
        )
    placed = matchers["any"].match(body, landmarks, target).landmarks
    assert errors(placed, landmarks.positions @ turn.T + shift).max() < 0.6


@pytest.mark.parametrize("scale", [0.5, 1.8])
@pytest.mark.parametrize("turn", [np.eye(3), ROTATIONS[0]])
def test_a_body_of_another_size_is_found_and_its_errors_are_of_its_size(body, landmarks, matchers, scale, turn):
    noise = torch.randn(body.voxels.shape, generator=torch.Generator().manual_seed(1))
    noisy = replace(turned_in_the_world(body, turn, np.zeros(3)), voxels=body.voxels + 10 * noise)
    expected = []
    for factor in (1.0, scale):
        target = replace(noisy, spacing=factor * body.spacing)
        placed = matchers["auto"].match(body, landmarks, target).landmarks
        assert errors(placed, target.to_world(body.to_index(landmarks.positions))).max() < 1.5 * factor
        expected.append([landmark.expected_error_mm for landmark in placed])
    assert np.median(np.divide(*reversed(expected))) == pytest.approx(scale, rel=0.25)


def test_what_is_turned_together_is_placed_together(body, landmarks, matchers):
    other = replace(body, voxels=torch.roll(body.voxels, (1, -2, 1), (0, 1, 2)).clamp(min=0) ** 0.8, name="other")
    result = matchers["auto"].match(body, landmarks, other)
    plain = result.landmarks.positions
    assert result.report()["pose"]["initialization"] == "centres"
    turn, shift = about((1, -1, 0.4), 33), np.array([-40.0, 8.0, 90.0])
    both = [turned_in_the_world(volume, turn, shift) for volume in (body, other)]
    carried = replace(
        landmarks,
        landmarks=tuple(replace(mark, position=tuple(turn @ mark.position + shift)) for mark in landmarks),
    )
    turned = matchers["auto"].match(both[0], carried, both[1]).landmarks.positions
    np.testing.assert_allclose(turned, plain @ turn.T + shift, atol=1e-3)


def test_a_part_of_a_turned_body_is_found(body, landmarks, matchers):
    turn = about((1, 0, 0.4), 120)
    target, centre = resampled_turned(body, turn)
    truth = (landmarks.positions - body.centre) @ turn.T + centre
    cut = target.size[2] // 2
    part = replace(target, voxels=target.voxels[cut - 4 :], origin=target.to_world(np.array([[0, 0, cut - 4.0]]))[0])
    inside = (part.to_index(truth) > 3).all(axis=1)
    assert 2 <= inside.sum() < len(truth)
    assert errors(matchers["auto"].match(body, landmarks, part).landmarks, truth)[inside].max() < 1.5


@pytest.fixture(scope="module")
def whole_and_part() -> tuple[Volume, Volume, np.ndarray]:
    """A cube of 80 mm, a cube of 28 mm of it in another contrast and with noise, and the part's first voxel."""
    draw = torch.Generator().manual_seed(3)
    texture = sum(10 * size**1.5 * smooth(torch.randn(1, 80, 80, 80, generator=draw), size)[0] for size in (1.5, 3.0))
    noise = torch.randn(texture.shape, generator=draw)
    whole = Volume(500 - 2 * texture + 2 * noise, np.array([7.0, -3.0, 1.0]), np.ones(3), name="whole")
    first = np.array([44, 6, 50])
    x, y, z = (slice(n, n + 28) for n in first)
    return whole, Volume(100 + texture[z, y, x].contiguous(), np.zeros(3), np.ones(3), name="part"), first


def test_a_small_template_is_found_in_a_large_target(whole_and_part):
    whole, part, first = whole_and_part
    wanted = LandmarkSet(tuple(Landmark(f"{k}", (8.0 + k, 18.0 - k, 10.0 + k)) for k in range(5)))
    matcher = Matcher(device="cpu")
    result = matcher.match(part, wanted, whole)
    placed = result.landmarks
    assert result.report()["pose"]["initialization"] == "translation"
    truth = whole.to_world(part.to_index(wanted.positions) + first)
    assert errors(placed, truth).max() < 0.5


def test_a_small_part_of_the_template_is_found_and_what_it_does_not_show_is_missing(whole_and_part):
    whole, part, first = whole_and_part
    shown = np.array([[8.0 + k, 18.0 - k, 10.0 + k] for k in range(5)])
    truth = np.concatenate([part.to_world(shown), np.full((2, 3), np.nan)])
    places = np.concatenate([shown + first, [[10.0, 60.0, 12.0], [20.0, 40.0, 20.0]]])
    wanted = LandmarkSet(tuple(Landmark(f"{k}", tuple(p)) for k, p in enumerate(whole.to_world(places))))
    matcher = Matcher(device="cpu")
    result = matcher.match(whole, wanted, part)
    placed = result.landmarks
    assert result.report()["pose"]["initialization"] == "translation"
    assert [landmark.reason for landmark in placed] == 5 * [""] + 2 * [OUTSIDE]
    assert errors(placed, truth)[:5].max() < 0.5


def test_a_small_target_of_noise_shows_no_landmark(whole_and_part):
    whole, part, _ = whole_and_part
    wanted = LandmarkSet(
        tuple(Landmark(f"{k}", tuple(p)) for k, p in enumerate(np.random.default_rng(0).uniform(20, 60, (20, 3))))
    )
    noise = smooth(torch.randn(1, *part.voxels.shape, generator=torch.Generator().manual_seed(8)), 2.0)[0]
    assert np.isnan(Matcher(device="cpu").match(whole, wanted, part.with_voxels(100 * noise)).landmarks.positions).all()


def test_world_coordinates_can_be_taken_as_they_are(body, landmarks, matchers):
    first, count = np.array([0.0, 0.0, 13.0]), 21  # cut so that centres say something else
    part = replace(body, voxels=body.voxels[13 : 13 + count], origin=body.to_world(first[None])[0], name="part")
    inside = (part.to_index(landmarks.positions)[:, 2] > 1) & (part.to_index(landmarks.positions)[:, 2] < count - 2)
    result = matchers["world"].match(body, landmarks, part)
    placed = result.landmarks
    assert inside.sum() >= 3
    assert errors(placed, landmarks.positions)[inside].max() < 1.0
    assert result.report()["pose"]["initialization"] == "world"


def test_two_series_in_one_world_start_from_it(whole_and_part):
    """Of one patient, cut elsewhere and of another contrast: no shift has to be searched."""
    whole, part, first = whole_and_part
    there = replace(part, origin=whole.to_world(first[None].astype(float))[0])
    shown = np.array([[8.0 + k, 18.0 - k, 10.0 + k] for k in range(5)])
    wanted = LandmarkSet(tuple(Landmark(f"{k}", tuple(p)) for k, p in enumerate(there.to_world(shown))))
    matcher = Matcher(device="cpu")
    for template, target in ((whole, there), (there, whole)):
        result = matcher.match(template, wanted, target)
        assert errors(result.landmarks, wanted.positions).max() < 0.5
        assert result.report()["pose"]["initialization"] == "world"


def test_rotations_of_a_large_target_are_tried_on_a_bounded_level(monkeypatch):
    class Stopped(Exception):
        pass

    def stop(template, on, target, seen_on, turns):
        raise Stopped(max(target.shape))

    monkeypatch.setattr(rotation_search, "correlated_poses", stop)

    def noise(size: int, voxel_mm: float) -> Volume:
        random = torch.Generator().manual_seed(size)
        return Volume(torch.rand(size, size, size, generator=random), spacing=np.full(3, voxel_mm))

    small, large = noise(30, 1.0), noise(120, 3.0)
    landmarks = LandmarkSet((Landmark("middle", tuple(small.centre)),))
    with pytest.raises(Stopped) as stopped:
        Matcher(initialization="any", device="cpu").match(small, landmarks, large)
    assert stopped.value.args[0] <= PoseSettings().search_largest / 3**0.5 + 1


def test_the_report_tells_how_the_pose_was_found(body, landmarks, matchers):
    result = matchers["auto"].match(body, landmarks, body)
    report = json.loads(json.dumps(result.report()))
    assert report["pose"]["initialization"] == "centres" and report["pose"]["similarity"] > 0.95
    assert report["consistent_share"] > 0.85  # all of the 15 that are asked
    assert matchers["auto"].settings.initialization == "auto"


def test_a_target_without_structure_has_some_pose_and_a_template_needs_structure(body, landmarks, matchers):
    air = body.with_voxels(torch.zeros_like(body.voxels))
    assert len(matchers["any"].match(body, landmarks, air).landmarks) == len(landmarks)
    for target in (body, air):
        with pytest.raises(InputError, match="same value everywhere"):
            matchers["any"].match(air, landmarks, target)


def test_rotations_leave_no_gap_and_none_is_a_mirror():
    turns = candidate_rotations(30)
    torch.testing.assert_close(turns[0], torch.eye(3))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(len(turns)))
    torch.testing.assert_close(turns @ turns.transpose(1, 2), torch.eye(3).expand_as(turns), atol=1e-5, rtol=0)
    assert 400 < len(turns) < 700
    some, _ = torch.linalg.qr(torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0)))
    some = some * torch.linalg.det(some)[:, None, None]
    traces = torch.einsum("aij,bij->ab", some, turns)
    apart = torch.rad2deg(((traces.amax(1) - 1) / 2).clamp(-1, 1).acos())
    assert apart.max() < 28 and apart.mean() < 18


@pytest.mark.parametrize("settings", [{"initialization": "nowhere"}, {"initialization": "any", "search": "dense"}])
def test_a_pose_that_cannot_be_is_refused(settings):
    with pytest.raises(InputError, match="initialization"):
        Matcher(**settings)


def test_the_command_line_takes_an_initialization_and_refuses_what_is_none(place, fake_matcher, capfd):
    assert place("a.nii.gz", "--initialization", "any") == 0
    assert fake_matcher.made[-1].settings.initialization == "any"
    capfd.readouterr()
    assert place("a.nii.gz", "--initialization", "upside-down") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "upside-down" in line and "centres" in line


def test_turned_brains_are_found_as_well_as_upright_ones(data, matchers):
    template, points = (
        read_volume(data / "brain/1000.nii.gz").resampled(2.0),
        read_landmarks(data / "brain/1000.mrk.json"),
    )
    target, truth = (
        read_volume(data / "brain/1007.nii.gz").resampled(2.0),
        read_landmarks(data / "brain/1007.mrk.json").positions,
    )
    turn, shift = about((1, -2, 0.5), 160), np.array([30.0, 100.0, -60.0])
    turned = turned_in_the_world(target, turn, shift)
    placed = matchers["auto"].match(template, points, turned).landmarks
    assert errors(placed, truth @ turn.T + shift).mean() < 2.5
