"""Changes of a protocol file that keep what others have taught it in the meantime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.matching.learning.protocol import Protocol
from deepfeatures.matching.learning.protocol_file import read_protocol, write_protocol

LONGEST_WAIT_S = 60


def update_protocol(path: Path, change: Callable[[Protocol | None], Protocol]) -> Protocol:
    """Write what `change` makes of the protocol that the file holds at this moment; returns it.

    Nobody else, on this machine or at another one that shares the folder, changes the file between reading and writing.

    Args:
        path: The file, which need not exist.
        change: Takes the protocol, `None` where there is no file.

    Raises:
        InputError: The file cannot be read or written, or others write to it for longer than a minute.
    """
    ensure_folder(path.parent)
    with _locked(path):
        changed = change(read_protocol(path) if path.exists() else None)
        write_protocol(changed, path)
    return changed


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """By a hidden file beside it, which stays: whoever deleted it could take the lock of the next one away."""
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LONGEST_WAIT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"another program is writing to {path}; wait until it has ended") from error
    try:
        yield
    finally:
        lock.release()
