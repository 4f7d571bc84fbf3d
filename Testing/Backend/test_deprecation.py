"""Names of version 0.1 work for one version and name the new one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import deepfeatures as df


@pytest.mark.parametrize(
    ("old", "name", "new", "new_name"),
    [
        ("deepfeatures.worker_client", "WorkerClient", "deepfeatures.service.client", "WorkerClient"),
        ("deepfeatures.worker_protocol", "VolumeArray", "deepfeatures.service.protocol", "VolumeArray"),
        ("deepfeatures.large", "read_fitting", "deepfeatures.io.downsampled_reading", "read_within_memory"),
    ],
)
def test_a_former_module_warns_and_works(old, name, new, new_name, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old}.* is now {new}") as caught:
        module = importlib.import_module(old)
    assert getattr(module, name) is getattr(importlib.import_module(new), new_name)
    assert len(caught) == 1


def test_the_former_settings_of_the_worker_are_those_of_the_matcher(monkeypatch):
    monkeypatch.delitem(sys.modules, "deepfeatures.worker_protocol", raising=False)
    with pytest.warns(DeprecationWarning, match="MatchSettings"):
        settings = importlib.import_module("deepfeatures.worker_protocol").PlaceSettings(network="mind")
    assert settings == df.MatchSettings(network="mind")


def test_the_warning_points_to_the_line_that_has_the_former_name(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nfrom deepfeatures.worker_client import WorkerClient\n")
    told = subprocess.run([sys.executable, script], capture_output=True, text=True).stderr
    assert f"{script}:2: DeprecationWarning: deepfeatures.worker_client is now deepfeatures.service.client" in told


def test_the_former_command_of_the_worker_serves(tmp_path):
    request = json.dumps({"id": 1, "type": "hello"}) + "\n"
    command = [sys.executable, "-m", "deepfeatures.worker", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        worker.stdin.write(request.encode())
        worker.stdin.flush()
        events = [json.loads(worker.stdout.readline()) for _ in range(2)]
        _, told = worker.communicate()  # closes its input, which ends it
    assert events[-1]["event"] == "result"
    assert b"python -m deepfeatures.worker is now python -m deepfeatures.service.server" in told
