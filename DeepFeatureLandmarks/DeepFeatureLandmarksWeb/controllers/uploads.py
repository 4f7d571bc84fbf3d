"""Files that a browser sends: limited in kind and size, kept in the session's private folder."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from aiohttp import BodyPartReader, web

from deepfeatures.data.landmarks import LANDMARK_SUFFIXES
from deepfeatures.errors import InputError
from deepfeatures.io.image_names import IMAGE_SUFFIXES

VOLUME_ROLES, LANDMARK_ROLES = ("template", "target"), ("landmarks", "reference")
ONE_FILE_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".nhdr", ".mhd"))
MAX_BYTES = {"volume": 2 * 2**30, "landmarks": 16 * 2**20}
MAX_FILES = 4000  # slices of the largest series
MAX_NAME_BYTES = 120  # bytes; file systems take 255 at most
SERIES = "DICOM series"  # what a volume of many files is called
CHUNK = 2**18


def kind_of(role: str) -> str:
    """`"volume"` or `"landmarks"`, by what the file is for."""
    if role in VOLUME_ROLES:
        return "volume"
    if role in LANDMARK_ROLES:
        return "landmarks"
    raise InputError("nothing of that kind can be uploaded here; reload the page and try again")


def safe_name(name: str) -> str:
    """A file name without folders and without characters that mean something to a shell or a file system."""
    name = re.sub(r"[^\w.\- ()]", "_", Path(name.replace("\\", "/")).name).strip(". ")
    return name.encode()[-MAX_NAME_BYTES:].decode(errors="ignore") or "file"


def check_name(name: str, kind: str) -> None:
    """Raise `InputError` where a file's name shows that it cannot be opened.

    Volumes without a suffix pass: files of DICOM series often have none, and are checked when they are read.
    """
    suffixes = ONE_FILE_SUFFIXES if kind == "volume" else LANDMARK_SUFFIXES
    looks_like_dicom = kind == "volume" and (Path(name).suffix == "" or Path(name).suffix[1:].isdigit())
    if not name.lower().endswith(suffixes) and not looks_like_dicom:
        what = (
            "a volume (NIfTI, NRRD, MHA or DICOM)"
            if kind == "volume"
            else f"landmarks ({', '.join(LANDMARK_SUFFIXES)})"
        )
        raise InputError(f"{name} is not {what}; choose another file")


async def receive(request: web.Request, role: str, folder: Path) -> Path:
    """Write the files of a multipart request below `folder`; returns the file, or the folder of a series.

    Raises:
        InputError: A file is of the wrong kind, the whole is too large, or the disk is full; nothing is kept then.
    """
    kind = kind_of(role)
    place = Path(tempfile.mkdtemp(prefix=f"{role}-", dir=folder)) / SERIES
    place.mkdir()
    try:
        files, room = [], MAX_BYTES[kind]
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or not part.filename:
                continue
            name = safe_name(part.filename)
            if name.startswith((".", "~")) or name in ("DICOMDIR", "Thumbs.db"):
                continue
            check_name(name, kind)
            if len(files) >= (MAX_FILES if kind == "volume" else 1):
                raise InputError(f"more than {len(files)} files were sent; send one volume or one series at a time")
            path = place / name if not (place / name).exists() else place / f"{len(files)}-{name}"
            room -= await _write(part, path, room, kind)
            files.append(path)
        if not files:
            raise InputError("no file arrived; choose a file and send it again")
    except BaseException as error:
        shutil.rmtree(place.parent, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            raise InputError(f"the server cannot keep the file ({error.strerror}); free some room there") from error
        raise
    return files[0] if len(files) == 1 else place


async def _write(part: BodyPartReader, path: Path, room: int, kind: str) -> int:
    written = 0
    with path.open("xb") as file:
        while chunk := await part.read_chunk(CHUNK):
            written += len(chunk)
            if written > room:
                limit = MAX_BYTES[kind] // 2**20
                raise InputError(f"more than {limit} MB were sent; crop the volume or open it by path at the start")
            file.write(chunk)
    return written
