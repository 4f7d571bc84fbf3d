"""Files that are written atomically: whole or not at all."""

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
def atomic_write(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """Yield a path to write to, which becomes `path` in one step when the block ends, or vanishes when it fails.

    The yielded file lies in a hidden folder beside `path`. There it is on the same file system, which the last step
    needs to be atomic, and other programs that list the folder's files do not find it.

    Args:
        path: The file to write.
        suffix: End of the yielded name, for writers that choose a format by it.

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
    """Write `text` as UTF-8 with Unix line ends, whole or not at all; raises `InputError` where that is not possible.

    Surrogates, which names of files that are not UTF-8 contain, are written as escapes.
    """
    with atomic_write(path) as draft:
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))


def require_utf8_name(path: str | Path) -> None:
    """Raise `InputError` where a path is not UTF-8, as on some old systems: ITK would end the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the name {path} is not UTF-8; rename the file or the folder of that name") from error


def ensure_folder(path: str | Path) -> Path:
    """Make the folder `path` where it does not exist, and check that files can be written to it.

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
