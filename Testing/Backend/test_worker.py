"""The worker and its client: warm, interruptible, and never the end of the program that uses them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfeatures import Matcher
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import UNPLACED
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.client import KILLED, WorkerClient
from deepfeatures.service.protocol import VolumeArray, voxel_file
from deepfeatures.service.server import MEMORY, Worker, handle

QUICK = MatchSettings(network="mind", layer="ssc_r1_d2", patch_size=7, search="dense", search_radius_mm=6, device="cpu")
SLOW = MatchSettings(network="vgg19-3d-random", layer="conv4_2", patch_size=12, search="patch", device="cpu")
PATIENCE_S = 120
POINTS = LandmarkSet((Landmark("near", (-11.0, 13.0, 15.0), description="by hand"), Landmark("none", None, "missing")))

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups of POSIX")


def blobs(shift: int = 0) -> VolumeArray:
    """A smooth random volume whose content is `shift` voxels further along z."""
    noise = torch.rand(1, 1, 32, 28, 24, generator=torch.Generator().manual_seed(3))
    smooth = torch.nn.functional.avg_pool3d(noise, 5, 1, 2)[0, 0].roll(shift, 0)
    return VolumeArray(100 * smooth.numpy(), np.array([0.0, 0, 0]), np.ones(3), np.diag([-1.0, 1, 1]), f"blobs {shift}")


@pytest.fixture(scope="module")
def shared():
    """One client for the tests that leave its worker as it was."""
    client = WorkerClient()
    yield client
    client.close()


@pytest.fixture
def client():
    client = WorkerClient()
    yield client
    client.close()


def until(condition, timeout_s: float = PATIENCE_S):
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process still runs; one that has ended but was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    return status != "Z"


def begin_slow(client: WorkerClient) -> int:
    """A request that would take minutes, once it is really being worked on."""
    request = client.match(blobs(), POINTS, blobs(2), SLOW)
    until(lambda: any(event.kind == "progress" and "Placing" in event.text for event in client.poll()))
    return request


def test_the_worker_places_what_the_matcher_places(shared):
    volumes = [
        Volume(torch.from_numpy(v.voxels), v.origin, v.spacing, v.direction, v.name) for v in (blobs(), blobs(2))
    ]
    expected = Matcher(QUICK).match(volumes[0], POINTS, volumes[1]).landmarks
    event = shared.wait(shared.match(blobs(), POINTS, blobs(2), QUICK), PATIENCE_S)
    assert event.kind == "result", event.text
    found = event.content["landmarks"]
    np.testing.assert_allclose(found[0].position, expected[0].position, atol=1e-6)
    np.testing.assert_allclose(found[0].position, (-11, 13, 17), atol=1e-3)
    assert found[0].description == "by hand"
    assert (found[1].status, found[1].position, found[1].reason) == ("missing", None, UNPLACED)
    assert event.content["report"]["settings"]["layer"] == "ssc_r1_d2"
    assert "torch" in event.content["report"]["versions"]


def test_progress_is_told_in_words_and_grows(shared):
    request = shared.match(blobs(), POINTS, blobs(2), QUICK)
    events = []
    until(lambda: events.extend(shared.poll()) or any(event.kind == "result" for event in events))
    progress = [event for event in events if event.kind == "progress"]
    assert all(event.request == request and event.text for event in progress)
    assert [event.fraction for event in progress] == sorted(event.fraction for event in progress)


def test_hello_lists_what_can_be_chosen(shared):
    content = shared.wait(shared.hello(), PATIENCE_S).content
    assert {"deepfeatures", "torch"} <= set(content["versions"])
    assert content["devices"][:2] == ["auto", "cpu"]
    best = next(network for network in content["networks"] if network["name"] == content["best"]["network"])
    layer = next(layer for layer in best["layers"] if layer["name"] == content["best"]["layer"])
    assert layer["available"] and layer["channels"] > 0 and layer["receptive_field"] > 0


def test_requests_may_be_waited_for_in_any_order(shared):
    first, second, third = (shared.hello() for _ in range(3))
    for request in (second, first):
        assert shared.wait(request, 60).request == request
    assert shared.wait(third, 60).kind == "result"
    assert not shared.poll()


def test_activations_come_with_their_own_grid(shared):
    settings = MatchSettings(network="vgg19-3d-random", layer="conv2_2", device="cpu")
    content = shared.wait(shared.activations(blobs(), POINTS[0], settings, 12), PATIENCE_S).content
    assert len(content["maps"]) == 128
    assert content["maps"][5].voxels.shape == (6, 6, 6)
    np.testing.assert_allclose(content["maps"][5].spacing, 2)
    assert content["source"].voxels.shape == (12, 12, 12)
    assert content["complete"]


def test_the_distance_map_is_least_where_the_landmark_is_placed(shared):
    content = shared.wait(shared.distances(blobs(), POINTS[0], blobs(2), QUICK), PATIENCE_S).content
    voxels, known = content["map"].voxels, content["map"]
    z, y, x = np.unravel_index(np.nanargmin(voxels), voxels.shape)
    place = known.origin + known.direction @ (known.spacing * (x, y, z))
    np.testing.assert_allclose(place, (-11, 13, 17), atol=1e-3)


def test_templates_of_a_folder_are_compared_and_tables_written(shared, tmp_path):
    pytest.importorskip("pandas")
    for shift in (0, 1, 2):
        known = blobs(shift)
        volume = Volume(torch.from_numpy(known.voxels), known.origin, known.spacing, known.direction)
        write_volume(volume, tmp_path / f"scan{shift}.nii.gz")
        points = (Landmark("near", (-11.0, 13.0, 13.0 + shift)), Landmark("far", (-14.0, 10.0, 18.0 + shift)))
        write_landmarks(LandmarkSet(points), tmp_path / f"scan{shift}.mrk.json")
    event = shared.wait(shared.check_templates(tmp_path, tmp_path / "out", QUICK), PATIENCE_S)
    assert event.kind == "result", event.text
    assert [row["targets"] for row in event.content["templates"]] == [2, 2, 2]
    assert {row["template"] for row in event.content["templates"]} == {"scan0", "scan1", "scan2"}
    assert event.content["advice"].startswith("Take scan")
    assert (tmp_path / "out/template_landmarks.csv").read_text().count("\n") == 1 + 3 * 2
    event = shared.wait(shared.check_templates(tmp_path / "nowhere", tmp_path / "out", QUICK), PATIENCE_S)
    assert (event.kind, event.cause) == ("error", "input")


def test_bad_input_is_one_sentence_and_the_worker_lives_on(shared):
    shared.wait(shared.hello(), PATIENCE_S)
    pid = shared.pid
    outside = LandmarkSet((Landmark("far", (500.0, 0.0, 0.0)),))
    event = shared.wait(shared.match(blobs(), outside, blobs(2), QUICK), PATIENCE_S)
    assert (event.kind, event.cause) == ("error", "input")
    assert "far" in event.text and "outside" in event.text
    event = shared.wait(shared.match(blobs(), POINTS, blobs(2), replace(QUICK, network="vgg")), PATIENCE_S)
    assert (event.kind, event.cause) == ("error", "input")
    assert shared.pid == pid


def test_a_warm_pair_is_answered_quickly(shared):
    """All that is not search: hashing, files, the pipe, and what the worker does around the matcher."""
    shared.wait(shared.match(blobs(), POINTS, blobs(2), QUICK), PATIENCE_S)
    overheads = []
    for _ in range(3):
        start = time.monotonic()
        event = shared.wait(shared.match(blobs(), POINTS, blobs(2), QUICK), PATIENCE_S)
        overheads.append(time.monotonic() - start - sum(event.content["report"]["seconds"].values()))
    assert min(overheads) < 0.3


def test_what_was_done_ahead_is_not_done_again(shared):
    settings = MatchSettings(device="cpu", seed=1)
    assert shared.wait(shared.encode(blobs(), blobs(1), settings), PATIENCE_S).kind == "result"
    warm = shared.wait(shared.match(blobs(), POINTS, blobs(1), settings), PATIENCE_S).content
    other = replace(settings, seed=2)  # another matcher, which has done nothing yet
    cold = shared.wait(shared.match(blobs(), POINTS, blobs(1), other), PATIENCE_S).content
    assert "pose" not in warm["report"]["seconds"] and "pose" in cold["report"]["seconds"]
    np.testing.assert_allclose(warm["landmarks"].positions, cold["landmarks"].positions, atol=1e-6)


def test_only_the_latest_volumes_stay_on_disk(client):
    for shift in range(6):
        event = client.wait(client.encode(blobs(), blobs(shift), QUICK), PATIENCE_S)
        assert event.kind == "result", event.text
    assert len(list(client._folder.glob("*.npy"))) == 4


def test_cancel_ends_the_worker_at_once_and_the_next_request_starts_another(client):
    request = begin_slow(client)
    waiting = client.hello()
    pid, start = client.pid, time.monotonic()
    client.cancel()
    until(lambda: not is_alive(pid), 1.0)
    assert time.monotonic() - start < 1.0
    assert {(event.request, event.cause) for event in client.poll()} == {(request, "cancelled"), (waiting, "cancelled")}
    assert client.wait(client.match(blobs(), POINTS, blobs(2), QUICK), PATIENCE_S).kind == "result"
    assert client.pid != pid


def test_a_request_cancelled_before_it_was_sent_never_runs(client):
    request = client.match(blobs(), POINTS, blobs(2), SLOW)
    client.cancel()
    assert client.wait(request, 1.0).cause == "cancelled"
    assert client.wait(client.hello(), PATIENCE_S).kind == "result"


@posix
def test_cancel_ends_what_the_worker_has_started_too(tmp_path):
    """A stand-in for the worker that starts a process of its own, as data loaders and compilers do."""
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, pathlib; child = subprocess.Popen(['sleep', '300']);"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid)); child.wait()"
    )
    client = WorkerClient([sys.executable, "-c", code])
    client.hello()
    child = int(until(lambda: note.exists() and note.read_text()))
    client.cancel()
    until(lambda: not is_alive(child), 1.0)
    client.close()


@posix
def test_a_killed_worker_is_told_in_words_and_takes_one_request_with_it(client):
    request = begin_slow(client)
    waiting = client.match(blobs(), POINTS, blobs(2), QUICK)
    os.kill(client.pid, signal.SIGKILL)
    event = client.wait(request, PATIENCE_S)
    assert (event.kind, event.cause, event.text) == ("error", "crash", KILLED)
    assert client.wait(waiting, PATIENCE_S).kind == "result"


@posix
def test_a_worker_that_died_while_idle_is_replaced_unnoticed(client):
    client.wait(client.hello(), PATIENCE_S)
    pid = client.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    assert client.wait(client.hello(), PATIENCE_S).kind == "result"


def test_a_request_that_a_dying_worker_took_but_did_not_begin_with_goes_to_a_new_one(tmp_path):
    """A stand-in for the worker: it answers once and ends with the next request in hand; after that, the real one."""
    code = (
        "import json, pathlib, runpy, sys; was_here = pathlib.Path(sys.argv.pop(1));"
        "sys.argv[1:] = sys.argv[3:];"  # what follows `-m deepfeatures.service.server`
        "was_here.exists() and (runpy.run_module('deepfeatures.service.server', run_name='__main__'), sys.exit());"
        "was_here.touch(); number = json.loads(sys.stdin.readline())['id'];"
        "print(json.dumps({'id': number, 'event': 'result', 'content': {}}), flush=True); sys.stdin.readline()"
    )
    client = WorkerClient([sys.executable, "-c", code, str(tmp_path / "was here")])
    assert client.wait(client.hello(), PATIENCE_S).content == {}
    assert "networks" in client.wait(client.hello(), PATIENCE_S).content
    client.close()


@posix
def test_a_worker_that_never_begins_is_given_up(tmp_path):
    """A stand-in for the worker that ends with its first request."""
    code = f"import sys; open({str(tmp_path / 'starts')!r}, 'a').write('x'); sys.stdin.readline(); sys.exit(3)"
    client = WorkerClient([sys.executable, "-c", code])
    event = client.wait(client.hello(), PATIENCE_S)
    assert event.cause == "crash" and "exit code 3" in event.text
    assert (tmp_path / "starts").read_text() == "xx"
    client.close()


@posix
def test_a_crash_is_told_with_its_last_words(client):
    begin = begin_slow(client)
    os.kill(client.pid, signal.SIGSEGV)
    event = client.wait(begin, PATIENCE_S)
    assert event.cause == "crash" and "-11" in event.text and "try again" in event.text


def test_a_python_that_is_not_there_is_told_in_words(tmp_path):
    client = WorkerClient(str(tmp_path / "nopython"))
    event = client.wait(client.hello(), 10)
    assert (event.kind, event.cause) == ("error", "crash") and "nopython" in event.text
    client.close()


def test_a_python_without_pytorch_is_told_in_words(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    client = WorkerClient()
    event = client.wait(client.match(blobs(), POINTS, blobs(2), QUICK), PATIENCE_S)
    assert event.cause == "missing" and "no torch here" in event.text and "install" in event.text
    client.close()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_out_of_memory_is_told_in_words_and_survived(tmp_path, error):
    worker, sent = Worker(tmp_path), []

    def fail(*_):
        raise error

    worker._requests["match"] = fail
    handle(worker, {"id": 1, "type": "match"}, sent.append)
    assert sent == [{"id": 1, "event": "started"}, {"id": 1, "event": "error", "cause": "memory", "text": MEMORY}]


def test_an_error_that_only_speaks_of_memory_is_a_bug_with_a_traceback(tmp_path, capfd):
    worker, sent = Worker(tmp_path), []

    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    worker._requests["match"] = fail
    handle(worker, {"id": 1, "type": "match"}, sent.append)
    assert sent[1]["cause"] == "bug" and "illegal memory access" in sent[1]["text"]
    assert "Traceback" in capfd.readouterr().err


@posix
@pytest.mark.parametrize("parent_ends_by", [signal.SIGKILL, signal.SIGTERM])
def test_the_worker_dies_with_its_parent_and_leaves_nothing(tmp_path, parent_ends_by):
    code = (
        "import sys, time; from deepfeatures.service.client import WorkerClient; client = WorkerClient();"
        "client.wait(client.hello(), 100); print(client.pid, client._folder, flush=True); time.sleep(100)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid, folder = parent.stdout.readline().split()
    assert is_alive(int(pid))
    parent.send_signal(parent_ends_by)
    parent.wait(10)
    until(lambda: not is_alive(int(pid)), 5.0)
    assert not Path(folder).exists()


@posix
def test_the_worker_lets_other_programs_go_first(shared):
    shared.wait(shared.hello(), PATIENCE_S)
    assert os.getpriority(os.PRIO_PROCESS, shared.pid) > os.getpriority(os.PRIO_PROCESS, os.getpid())


def test_closing_leaves_no_process_and_no_file():
    client = WorkerClient()
    client.wait(client.hello(), PATIENCE_S)
    pid, folder = client.pid, client._folder
    client.close()
    until(lambda: not is_alive(pid), 1.0)
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="closed"):
        client.hello()


@pytest.mark.parametrize("key", ["../secret", "a/b", ""])
def test_no_file_outside_of_the_folder_can_be_named(tmp_path, key):
    with pytest.raises(ValueError, match="key"):
        voxel_file(key, tmp_path)


def test_the_client_needs_no_pytorch():
    code = "import deepfeatures.service.client, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.data
def test_real_volumes_warm_and_equal(data, shared):
    """The second request of a pair costs its search and less than 0.3 s; the points are those of the matcher."""
    folder = data / "hippocampus"
    names = sorted(file.name[: -len(".nii.gz")] for file in folder.rglob("*.nii.gz"))[:2]
    template, target = (read_volume(next(folder.rglob(f"{name}.nii.gz"))) for name in names)
    points = read_landmarks(next(folder.rglob(f"{names[0]}.mrk.json")))
    settings = MatchSettings(device="cpu")
    expected = Matcher(device="cpu").match(template, points, target).landmarks
    first = shared.wait(shared.match(template, points, target, settings), PATIENCE_S).content["landmarks"]
    np.testing.assert_allclose(first.positions, expected.positions, atol=1e-3)
    start = time.monotonic()
    event = shared.wait(shared.match(template, LandmarkSet(points.landmarks[:1]), target, settings), PATIENCE_S)
    took = time.monotonic() - start
    assert "pose" not in event.content["report"]["seconds"]
    assert took - sum(event.content["report"]["seconds"].values()) < 0.3
