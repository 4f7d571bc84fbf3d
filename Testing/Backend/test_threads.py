"""Fewer threads compute while other programs use the cores, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from deepfeatures import threads
from deepfeatures.threads import CHOICES, CoreTimes

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the load of each core")
LOOP = [sys.executable, "-c", "while True: pass"]
IMPORT = "import time; from deepfeatures import threads; "
WAIT = "time.sleep(0.5); "  # the load is measured meanwhile
USE = "threads.use_free_cores(); import torch; print(torch.get_num_threads(), flush=True); "
TWO = "import torch; torch.get_num_threads(); torch.set_num_threads(2); "
ENTRIES = {
    "command line": "import runpy, sys; sys.argv = ['deepfeatures', '--help']\n"
    "try: runpy.run_module('deepfeatures', run_name='__main__')\n"
    "except SystemExit: pass\n" + WAIT + USE,
    "worker": "import os; from pathlib import Path; from deepfeatures.service import server\n"
    "def begin(_): " + WAIT + USE + "os._exit(0)\n"
    "server.Worker = begin; server.main(Path('none'))",
}


def printed(code: str, **chosen: str) -> str:
    """The last word of a new process in which the user has chosen these variables only."""
    unset = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment = {**unset, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **chosen}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-c", IMPORT + code], env=environment, text=True, **pipes) as process:
        return process.stdout.read().split()[-1]  # its input stays open: a worker ends with it


@pytest.fixture
def cores_taken():
    """Other programs that keep all cores busy."""
    others = [subprocess.Popen(LOOP) for _ in range(os.cpu_count())]
    yield
    for other in others:
        other.kill()
        other.wait()


@linux
@pytest.mark.usefixtures("cores_taken")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_program_computes_with_one_thread_where_all_cores_are_taken(entry):
    assert printed(ENTRIES[entry]) == "1"


@linux
@pytest.mark.usefixtures("cores_taken")
def test_a_choice_of_the_user_stands():
    assert printed("threads.share_cores(); " + WAIT + TWO + USE, OMP_NUM_THREADS="2") == "2"


@linux
@pytest.mark.parametrize("name", [None, *CHOICES])
def test_each_choice_of_the_user_counts(name, monkeypatch):
    monkeypatch.setattr(threads, "_before", None)
    monkeypatch.delitem(sys.modules, "torch")  # as at the start of a program
    for other in CHOICES:
        monkeypatch.delenv(other, raising=False)
    if name:
        monkeypatch.setenv(name, "2")
    threads.share_cores()
    assert (threads._before is None) == (name is not None)


@linux
@pytest.mark.usefixtures("cores_taken")
@pytest.mark.parametrize("start", [TWO + "threads.share_cores(); ", TWO], ids=["PyTorch is there", "no program"])
def test_threads_of_somebody_elses_process_stay_as_they_are(start):
    assert printed(start + WAIT + USE) == "2"


@linux
def test_load_is_read_for_the_cores_of_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    user, nice, system, irq, softirq = 100, 20, 3, 4, 5
    row = f"{user} {nice} {system} 7777 7777 {irq} {softirq} 7777 7777 7777"  # idle, waiting, stolen, guests
    stat = tmp_path / "stat"
    stat.write_text(f"cpu  {row}\ncpu0 {row}\ncpu1 {row}\ncpu2 {row}\nintr 12\n")
    now = CoreTimes.now(stat)
    assert now.everyone == pytest.approx(2 * 132 / os.sysconf("SC_CLK_TCK"))
    assert now.cores == 2


def test_a_system_that_does_not_tell_its_load_is_no_error(tmp_path, monkeypatch):
    assert CoreTimes.now(tmp_path / "absent") is None
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert CoreTimes.now() is None


@pytest.mark.parametrize(
    ("everyone", "ours", "free"),
    [(12.0, 12.0, 4), (16.0, 14.0, 3), (10.0, 1.4, 2), (16.0, 0.4, 1), (3.9, 4.0, 4)],
    ids=["alone", "half of one taken", "two taken", "all taken", "counted roughly"],
)
def test_cores_that_others_leave(everyone, ours, free):
    before = CoreTimes(100.0, 500.0, 50.0, 4)
    assert CoreTimes(104.0, 500.0 + everyone, 50.0 + ours, 4).free_since(before) == free


@linux
def test_threads_come_back_when_other_programs_have_ended(monkeypatch):
    before = torch.get_num_threads()
    measured = [CoreTimes(1.0, 2.0, 0.0, 2), CoreTimes(2.0, 3.0, 1.0, 2)]  # both cores taken, then one of ours alone
    monkeypatch.setattr(threads, "_before", CoreTimes(0.0, 0.0, 0.0, 2))
    monkeypatch.setattr(threads, "_most_threads", lambda: 2)
    monkeypatch.setattr(CoreTimes, "now", lambda: measured.pop(0))
    try:
        threads.use_free_cores()
        assert torch.get_num_threads() == 1
        threads.use_free_cores()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_processes_of_a_cohort_have_one_thread_each(monkeypatch):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    pytest.importorskip("distributed")
    from deepfeatures.cli.cohort import _client

    with _client(None, 1) as client:
        assert list(client.run(torch.get_num_threads).values()) == [1]
