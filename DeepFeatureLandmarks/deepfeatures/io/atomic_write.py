"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfeatures.errors import InputError

PREFIX = ".deepfeatures-"


@contextmanager
def whole_file(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """Yield a path to write to that becomes `path` in one step when the block ends well, and vanishes when it does not.

    The yielded file lies in a hidden folder beside `path`. It is on the same file system, so that the last step is
    atomic, and programs that list the folder's files do not see it while it is being written.

    Args:
        path: The file to be.
        suffix: What the yielded name must end in, for writers that choose a format by it.

    Raises:
        InputError: Where the folder does not exist, may not be written to, or is full.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, suffix=".tmp", dir=path.parent) as folder:
            draft = Path(folder) / f"draft{suffix}"
            yield draft
            _flush_to_disk(draft)
            draft.replace(path)
            if os.name == "posix":  # the rename itself must survive a power cut; Windows cannot open folders
                _flush_to_disk(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all; raises `InputError` where that cannot be done.

    Halves of characters, as names of files that are not UTF-8 have them, are written as JSON escapes them.
    """
    with whole_file(path) as draft:
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))


def require_utf8_name(path: str | Path) -> None:
    """Raise `InputError` where a path is not UTF-8, as names from old systems are not: ITK would end the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the name {path} is not UTF-8; rename the file or the folder that bears it") from error


def ensure_folder(path: str | Path) -> Path:
    """Make the folder `path` where it does not exist, and prove that files can be written to it.

    Raises:
        InputError: Where it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = tempfile.mkdtemp(prefix=PREFIX, suffix=".tmp", dir=path)
        shutil.rmtree(probe)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"cannot write {path} ({reason}); choose a folder that you may write to and that has room")
