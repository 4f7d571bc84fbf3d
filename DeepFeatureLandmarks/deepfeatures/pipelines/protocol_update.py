"""Changes of a protocol file that keep what others have taught it in the meantime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.matching.learning.protocol import Protocol
from deepfeatures.matching.learning.protocol_file import read_protocol, write_protocol
from deepfeatures.matching.learning.taught_scan import TaughtScan

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


def learn_scan(path: Path, begun: Protocol, taught: TaughtScan) -> Protocol:
    """Add a taught scan to the protocol of a file, or to one that was begun where there is no file; returns it.

    A scan that it knows is learnt anew.

    Raises:
        InputError: See `continued`; another scan has the name; the file cannot be written.
    """

    def learnt(current: Protocol | None) -> Protocol:
        protocol = continued(current, begun, path)
        if any(scan.name == taught.name and scan.key != taught.key for scan in protocol.scans):
            raise InputError(
                f"Another scan named {taught.name} has taught the protocol; rename this one, or forget that one first."
            )
        return protocol.with_scan(taught)

    return update_protocol(path, learnt)


def forget_scans(path: Path, names: Iterable[str]) -> Protocol:
    """Take scans or people out of the protocol of a file, by name or key; returns what is left.

    Raises:
        InputError: The file cannot be read or written, or does not know a name; nothing is forgotten then.
    """
    read_protocol(path)  # before a lock is left where there is no protocol

    def without(current: Protocol | None) -> Protocol:
        return (current or read_protocol(path)).without(*names)

    return update_protocol(path, without)


def continued(current: Protocol | None, begun: Protocol, path: Path) -> Protocol:
    """What a file holds now, of the same template and landmarks as the protocol that was opened; else that one.

    Raises:
        InputError: The file is of another template, or of other landmarks.
    """
    if current is None:
        return begun
    if current.numbers_of(begun.template, begun.landmarks) != list(range(len(current.landmarks))):
        names = names_text([landmark.name for landmark in current.landmarks])
        raise InputError(f"{path} has other landmarks ({names}); give the same, or begin another protocol")
    return current


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
