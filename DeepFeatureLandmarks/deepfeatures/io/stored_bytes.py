"""Whether a file has room for the voxels that its header promises, told before memory is taken for them."""

from __future__ import annotations

from pathlib import Path

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import damaged

DEFLATE = 1032  # the most bytes that one compressed byte can become; source: https://zlib.net/zlib_tech.html
GZIP_MODULUS = 1 << 32  # gzip keeps the length modulo this; source: RFC 1952


def bytes_of(file: Path, path: Path) -> int:
    """The length of a file that the header in `path` names; raises `InputError` where there is none."""
    try:
        if file.is_file():
            return file.stat().st_size
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise damaged(path)


def gzip_bytes(file: Path) -> int:
    """How long a gzipped file says that it is when it is decompressed, modulo `GZIP_MODULUS`."""
    with file.open("rb") as content:
        content.seek(max(file.stat().st_size - 4, 0))
        return int.from_bytes(content.read(4), "little")


def require_room(path: Path, needed: int, stored: int, most_from_one: int = 1) -> None:
    """Raise `InputError` where voxels of `needed` bytes cannot come from `stored` bytes.

    Args:
        path: What the message calls the file.
        needed: Bytes of all voxels.
        stored: Bytes that the file has for them.
        most_from_one: Bytes of voxels that one stored byte can become: 1, or `DEFLATE`.
    """
    if needed > stored * most_from_one:
        raise damaged(path)


def surplus_note(needed: int, stored: int) -> tuple[Note, ...]:
    """A note where more bytes are stored than all voxels need: type or size of the voxels may be wrong."""
    if stored <= needed:
        return ()
    text = (
        f"the file holds {stored - needed} bytes more than its voxels need: check that the header gives the right "
        "size and type of voxels"
    )
    return (Note(NoteKind.SIZE, text),)
