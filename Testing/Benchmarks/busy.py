"""How long `deepfeatures place` takes beside other programs, compared with an idle machine.

    python Testing/Benchmarks/busy.py [--rounds 5] [--targets 1] [--output busy.json]

Places the landmarks of brain 1000 in brain 1001, or in the first of all other brains with `--targets`: alone, beside a
program that loops, beside a thread of PyTorch that multiplies matrices, and beside a second run of the same command.
Each is measured as it is ("with"), and with PyTorch's own defaults ("without"). The kinds take turns, so that changes
of the machine's speed meet all of them. Prints median seconds of the whole command, and their ratio to "without" alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from cases import data_folder

from deepfeatures.threads import CHOICES

LOOP = "while True: pass"
MULTIPLY = """
import torch
torch.set_num_threads(1)
table = torch.randn(512, 512)
print("ready", flush=True)
while True:
    table @ table
"""
KINDS = ("alone", "busy loop", "torch thread", "two runs")
# A user's own choice of this variable leaves the threads to PyTorch; the number is its default.
SETTINGS = {"without": {"OMP_NUM_THREADS": str(torch.get_num_threads())}, "with": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--targets", type=int, default=1, help="brains in which landmarks are placed, at most 11")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    brains = sorted((data_folder() / "brain").glob("*.nii.gz"))[: arguments.targets + 1]
    cells = [(kind, setting) for kind in KINDS for setting in SETTINGS]
    seconds: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    timed("alone", {}, brains)  # files are read for the first time
    for _ in range(arguments.rounds):
        for kind, setting in cells:
            seconds[kind, setting].append(timed(kind, SETTINGS[setting], brains))
    usual = median(seconds["alone", "without"])
    figures = {
        f"{kind}, {setting}": {
            "median_s": round(median(found), 2),
            "ratio": round(median(found) / usual, 2),
            "s": found,
        }
        for (kind, setting), found in seconds.items()
    }
    for name, figure in figures.items():
        print(f"{name:22} {figure['median_s']:6.2f} s  {figure['ratio']:5.2f} x alone, without")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def timed(kind: str, setting: dict[str, str], brains: Sequence[Path]) -> float:
    """Seconds until the command, or both of them, have ended."""
    own = {name: value for name, value in os.environ.items() if name not in CHOICES}
    with TemporaryDirectory() as folder, beside(kind):
        started = time.perf_counter()
        runs = [
            subprocess.Popen(command(brains, Path(folder, str(run))), env={**own, **setting}, stdout=subprocess.DEVNULL)
            for run in range(2 if kind == "two runs" else 1)
        ]
        codes = [run.wait() for run in runs]
        if any(codes):
            raise SystemExit("the command failed")
        return round(time.perf_counter() - started, 2)


def command(brains: Sequence[Path], output: Path) -> list[str]:
    template, *targets = map(str, brains)
    landmarks = template.replace(".nii.gz", ".mrk.json")
    given = ["--template", template, "--landmarks", landmarks, "--output-dir", str(output)]
    return [sys.executable, "-m", "deepfeatures", "place", *given, *targets]


@contextmanager
def beside(kind: str) -> Iterator[None]:
    """Another program, which keeps one core busy."""
    code = {"busy loop": LOOP, "torch thread": MULTIPLY}.get(kind)
    if code is None:
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        if kind == "torch thread":
            other.stdout.readline()
        yield
    finally:
        other.kill()
        other.communicate()


if __name__ == "__main__":
    main()
