"""The Logic with the real worker: what both faces do, from the scene through the process and back."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
import slicer
import torch

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.logic import SCENE_CLOSED, DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from deepfeatures.cli.main import main
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.client import CANCELLED, KILLED

PATIENCE_S = 120
QUICK = MatchSettings(network="mind", layer="ssc_r1_d2", patch_size=7, search="dense", search_radius_mm=6, device="cpu")
SLOW = MatchSettings(network="vgg19-3d-random", layer="conv4_2", patch_size=12, search="patch", device="cpu")


@pytest.fixture
def logic(scene, worker):
    logic = DeepFeatureLandmarksLogic(scene, worker)
    yield logic
    logic.close()


@pytest.fixture
def heard(logic, listen):
    return listen(logic)


def blobs(shift):
    noise = torch.rand(1, 1, 32, 28, 24, generator=torch.Generator().manual_seed(3))
    return 100 * torch.nn.functional.avg_pool3d(noise, 5, 1, 2)[0, 0].roll(shift, 0).numpy()


@pytest.fixture
def pair(add_volume, add_points):
    """A volume and the same 2 mm higher, with two landmarks."""
    points = add_points("landmarks", P=(11.0, 13.0, 15.0), Q=(12.5, 11.0, 14.0))
    return lambda settings: PlaceRequest(
        add_volume("low", blobs(0)), points, add_volume("high", blobs(2)), None, settings
    )


def run_until(logic, condition, timeout_s=PATIENCE_S):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
        logic.poll()


def begin_slow(logic, heard, place_request):
    logic.place(place_request)
    run_until(logic, lambda: any("Placing" in text for _, text in heard.progress))


def test_the_shifted_landmarks_are_found(logic, heard, pair):
    logic.place(pair(QUICK))
    run_until(logic, lambda: heard.runs or heard.errors)
    assert not heard.errors
    node = heard.runs[0].node
    np.testing.assert_allclose(node.GetNthControlPointPositionWorld(0), (11, 13, 17), atol=1e-3)
    np.testing.assert_allclose(node.GetNthControlPointPositionWorld(1), (12.5, 11, 16), atol=1e-3)


def test_a_greedy_search_tells_what_it_has_found_so_far(logic, heard, pair):
    logic.place(pair(SLOW))
    run_until(logic, lambda: heard.interim or heard.errors)
    assert logic.isBusy and not heard.errors
    assert {landmark.name for landmark in heard.interim[0]} <= {"P", "Q"}
    logic.cancel()
    logic.poll()


def test_a_distance_map_is_least_at_the_placed_landmark(logic, heard, pair):
    logic.distanceMap(pair(QUICK), "P")
    run_until(logic, lambda: heard.runs or heard.errors)
    known = nodes.volumeFromNode(heard.runs[0].node)
    z, y, x = np.unravel_index(int(known.voxels.argmin()), known.voxels.shape)
    np.testing.assert_allclose(known.to_world([[x, y, z]])[0], (-11, -13, 17), atol=1e-3)


def test_activation_maps_surround_their_landmark(logic, heard, pair):
    asked = pair(MatchSettings(network="vgg19-3d-random", layer="conv2_2", patch_size=12, device="cpu"))
    logic.activationMaps(asked, "P", inTarget=False)
    run_until(logic, lambda: heard.runs or heard.errors)
    maps = heard.runs[0].maps
    assert len(maps.channels) == 128
    node = logic.activationMap(maps, 100)
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    np.testing.assert_allclose(np.reshape(bounds, (3, 2)).mean(1), (11.5, 13.5, 15.5), atol=1e-6)


def test_cancel_within_a_second_and_place_again(logic, heard, pair, worker):
    begin_slow(logic, heard, pair(SLOW))
    start = time.monotonic()
    logic.cancel()
    logic.poll()
    assert time.monotonic() - start < 1
    assert heard.errors == [CANCELLED] and worker.pid is None
    logic.place(pair(QUICK))
    run_until(logic, lambda: heard.runs)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_worker_is_survived(logic, heard, pair, worker):
    begin_slow(logic, heard, pair(SLOW))
    os.kill(worker.pid, signal.SIGKILL)
    run_until(logic, lambda: heard.errors)
    assert heard.errors == [KILLED]
    logic.place(pair(QUICK))
    run_until(logic, lambda: heard.runs)


def test_a_scene_closed_during_the_run_stops_the_work(logic, heard, pair, worker, scene):
    begin_slow(logic, heard, pair(SLOW))
    scene.Clear(False)
    assert heard.errors == [SCENE_CLOSED] and worker.pid is None and not logic.isBusy


def load(scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", path.name.split(".")[0])
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


@pytest.mark.data
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (MatchSettings(device="cpu"), []),
        (
            MatchSettings("vgg19-3d-random", "conv1_2", 12, search_radius_mm=5.0, device="cpu"),
            ["--network", "vgg19-3d-random", "--layer", "conv1_2", "--patch-size", "12", "--search-radius", "5"],
        ),
    ],
    ids=["defaults", "greedy"],
)
def test_real_volumes_get_the_points_of_the_command_line(logic, heard, scene, data, tmp_path, settings, options):
    folder = data / "hippocampus"
    names = sorted(file.name[: -len(".nii.gz")] for file in folder.rglob("*.nii.gz"))[:2]
    volumes = [next(folder.rglob(f"{name}.nii.gz")) for name in names]
    landmarks = next(folder.rglob(f"{names[0]}.mrk.json"))
    given = ["--template", str(volumes[0]), "--landmarks", str(landmarks), "--output-dir", str(tmp_path)]
    assert main(["place", *given, "--device", "cpu", *options, str(volumes[1])]) == 0
    expected = read_landmarks(tmp_path / f"{names[1]}.mrk.json")

    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(landmarks))
    assert storage.ReadData(points)
    logic.place(PlaceRequest(load(scene, volumes[0]), points, load(scene, volumes[1]), None, settings))
    run_until(logic, lambda: heard.runs or heard.errors)
    placed = nodes.landmarkSetFromNode(heard.runs[0].node)
    assert [landmark.name for landmark in placed] == [landmark.name for landmark in expected]
    np.testing.assert_allclose(placed.positions, expected.positions, atol=1e-3)
    if options:
        assert all(known.expected_error_mm is None and known.probability_within_3mm is None for known in placed)
    else:
        for here, there in zip(placed, expected, strict=True):
            assert (here.expected_error_mm, here.probability_within_3mm) == pytest.approx(
                (there.expected_error_mm, there.probability_within_3mm)
            )
        np.testing.assert_allclose(heard.interim[-1].positions, placed.positions, atol=1e-3)


def test_the_scenes_process_loads_no_pytorch():
    """Slicer's own process stays light: PyTorch lives in the worker alone."""
    import subprocess

    code = "import DeepFeatureLandmarksLib.scene.logic, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
