"""Where results come from: the versions and the command of a run, and keys that tell what a result was made from.

A result is used again only where its key is the same: a key is a hash of the content of scans and landmarks, of the
settings and of this package's version. Names and dates of files do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from deepfeatures import __version__
from deepfeatures.data.landmarks import LandmarkSet

PACKAGES = ("torch", "numpy", "scipy", "SimpleITK")
DECIMALS = 4  # of positions, mm: files of landmarks round differently
BLOCK_BYTES = 1 << 20


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of what results depend on."""
    packages = {package: package_version(package) for package in PACKAGES}
    found = {"deepfeatures": __version__, "python": platform.python_version(), **packages}
    return {**found, "platform": platform.platform()}


def package_version(package: str) -> str:
    """The version that pip knows of a package, `"unknown"` where it knows none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def command_line(arguments: Sequence[str]) -> str:
    """What was typed, as a shell takes it again; `arguments` are those after the program's name."""
    return shlex.join(["deepfeatures", *arguments])


def now() -> str:
    """The time in ISO 8601, with the offset from UTC, to the second."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")


def result_key(**facts) -> str:
    """SHA-256 of all that a result follows from, as JSON holds it, and of this package's version."""
    known = json.dumps({**facts, "deepfeatures": __version__}, sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()


def landmarks_hash(landmarks: LandmarkSet) -> str:
    """SHA-256 of the landmarks' names and positions, in their order; how they are written in a file does not count."""
    known = [[landmark.name for landmark in landmarks], rounded_positions(landmarks)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def rounded_positions(landmarks: LandmarkSet) -> list[list[float] | None]:
    """Positions in LPS mm as JSON holds them; `None` where a landmark has none."""
    rows = np.round(landmarks.positions, DECIMALS) + 0.0  # -0.0 and 0.0 are one place
    return [row.tolist() if np.isfinite(row).all() else None for row in rows]


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, as OME-Zarr and DICOM series are, that of the names and content of its files."""
    if not path.is_dir():
        return _file_hash(path, *_stamp(path))
    parts = [(file.relative_to(path).as_posix(), _file_hash(file, *_stamp(file))) for file in sorted(_files(path))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names if not name.startswith("."))


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=1 << 16)
def _file_hash(path: Path, inode: int, modified_ns: int, size: int) -> str:
    """Kept as long as the file is the same one, with the same date and size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class ResultIndex:
    """What each file of a folder was made from; one line of JSON for a file, added once the file is whole.

    Args:
        folder: Where the results lie; the index lies beside them.
    """

    NAME = "provenance.jsonl"

    def __init__(self, folder: Path):
        self._path = folder / self.NAME
        self._known = dict(self._lines())

    def is_current(self, file: Path, key: str) -> bool:
        """Whether the file is there, was made from what the key stands for, and was not changed since."""
        return file.is_file() and self._known.get(file.name) == (key, content_hash(file))

    def add(self, file: Path, key: str) -> None:
        """Note that this file has just been made from what the key stands for."""
        self._known[file.name] = made = key, content_hash(file)
        append_line(self._path, dict(zip(("file", "key", "sha256"), (file.name, *made), strict=True)))

    def _lines(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for line in read_lines(self._path):
            yield line["file"], (line["key"], line["sha256"])


def append_line(path: Path, content: dict) -> None:
    """Add one line of JSON to a file, and have it on the disk before going on."""
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(content) + "\n")  # a line that was cut short must not swallow this one
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict]:
    """What `append_line` has added; a line that was cut short does not count."""
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            yield line
