"""Files that a browser sends: limited in kind and size, kept in the session's private folder."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from aiohttp import BodyPartReader, web

from DeepFeatureLandmarksLib.scene.taught_protocol import SUFFIX as PROTOCOL_SUFFIX
from deepfeatures.data.landmarks import LANDMARK_SUFFIXES
from deepfeatures.errors import InputError
from deepfeatures.io.dicom.headers import START_BYTES, begins_as_dicom
from deepfeatures.io.image_names import IMAGE_SUFFIXES
from deepfeatures.io.model_files import MODEL_SUFFIXES

VOLUME_ROLES, LANDMARK_ROLES, SCANS_ROLE = ("template", "target"), ("landmarks", "reference"), "scans"
PROTOCOL_ROLE, CARRIED_ROLE = "protocol", "carried"
ONE_FILE_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".nhdr", ".mhd"))
DICOM_SUFFIXES = (".dcm", ".ima")
CARRIED_SUFFIXES = tuple(
    suffix
    for suffix in (*ONE_FILE_SUFFIXES, *LANDMARK_SUFFIXES, *MODEL_SUFFIXES)
    if suffix not in DICOM_SUFFIXES  # which are read only
)
KINDS = {
    "volume": "a volume (NIfTI, NRRD, MHA or DICOM)",
    "landmarks": f"landmarks ({', '.join(LANDMARK_SUFFIXES)})",
    "scans": "a volume (NIfTI, NRRD or MHA) or a landmark file",
    "protocol": f"a landmark protocol ({PROTOCOL_SUFFIX})",
    "carried": f"a volume (NIfTI, NRRD or MHA), points or curves (.mrk.json) or a model ({', '.join(MODEL_SUFFIXES)})",
}
MAX_BYTES = {
    "volume": 2 * 2**30,
    "landmarks": 16 * 2**20,
    "scans": 8 * 2**30,
    "protocol": 2 * 2**30,
    "carried": 2 * 2**30,
}
WAYS_OUT = {
    "volume": "crop the volume or open it by path at the start",
    "landmarks": "send a file of landmarks alone",
    "scans": "send fewer scans",
    "protocol": "begin a protocol with a smaller template",
    "carried": "carry it over with the command deepfeatures warp",
}
ONE_FILE_KINDS = ("landmarks", "protocol", "carried")
MAX_FILES = 4000  # slices of the largest series
MAX_NAME_BYTES = 120  # bytes; file systems take 255 at most
FOLDERS = {  # what errors call it
    "volume": "DICOM series",
    "landmarks": "landmarks",
    "scans": "The folder",
    "protocol": "protocol",
    "carried": "carried",
}
CHUNK = 2**18


def kind_of(role: str) -> str:
    """`"volume"`, `"landmarks"`, `"scans"`, `"protocol"` or `"carried"`, by what the file is for."""
    if role in VOLUME_ROLES:
        return "volume"
    if role in LANDMARK_ROLES:
        return "landmarks"
    if role in (SCANS_ROLE, PROTOCOL_ROLE, CARRIED_ROLE):
        return role
    raise InputError("nothing of that kind can be uploaded here; reload the page and try again")


def safe_name(name: str) -> str:
    """A file name without folders and without characters that mean something to a shell or a file system."""
    name = re.sub(r"[^\w.\- ()]", "_", Path(name.replace("\\", "/")).name).strip(". ")
    return name.encode()[-MAX_NAME_BYTES:].decode(errors="ignore") or "file"


def is_dicom(name: str, start: bytes) -> bool:
    """Whether a file is DICOM by its suffix or its first bytes; files of a series are often called `IM1` or `1.MR`."""
    return name.lower().endswith(DICOM_SUFFIXES) or begins_as_dicom(start)


def is_wanted(name: str, start: bytes, kind: str) -> bool:
    """Whether a file can be of that kind: the folder of a DICOM series also holds indices, readme files and viewers."""
    if name.startswith((".", "~")) or name.upper() == "DICOMDIR":
        return False
    if kind == "protocol":
        return name.lower().endswith(PROTOCOL_SUFFIX)
    if kind == "carried":
        return name.lower().endswith(CARRIED_SUFFIXES)
    if kind == "scans":
        return name.lower().endswith((*ONE_FILE_SUFFIXES, *LANDMARK_SUFFIXES)) and not is_dicom(name, start)
    suffixes = ONE_FILE_SUFFIXES if kind == "volume" else LANDMARK_SUFFIXES
    return name.lower().endswith(suffixes) or is_dicom(name, start)


async def receive(request: web.Request, role: str, folder: Path) -> Path:
    """Write the files of a multipart request below `folder`; returns the file, or the folder of DICOM series
    or of scans.

    What is of another kind is skipped, and beside DICOM files everything else.

    Raises:
        InputError: No file is of the right kind, the whole is too large, or the disk is full; nothing is kept then.
    """
    kind = kind_of(role)
    place = Path(tempfile.mkdtemp(prefix=f"{role}-", dir=folder)) / FOLDERS[kind]
    place.mkdir()
    try:
        files, dicom, skipped, room = [], [], [], MAX_BYTES[kind]
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or not part.filename:
                continue
            name = safe_name(part.filename)
            start = await _start(part)
            if not is_wanted(name, start, kind):
                skipped.append(name)
                continue
            if len(files) >= (1 if kind in ONE_FILE_KINDS else MAX_FILES):
                raise InputError(f"more than {len(files)} files were sent; send one volume or one series at a time")
            path = place / name if not (place / name).exists() else place / f"{len(files)}-{name}"
            room -= await _write(part, start, path, room, kind)
            files.append(path)
            if is_dicom(name, start):
                dicom.append(path)
        return place if kind == "scans" and files else _opened(files, dicom, skipped, kind)
    except BaseException as error:
        shutil.rmtree(place.parent, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            raise InputError(f"the server cannot keep the file ({error.strerror}); free some room there") from error
        raise


def _opened(files: list[Path], dicom: list[Path], skipped: list[str], kind: str) -> Path:
    """What to open: the only file or the only DICOM file, else the folder of all DICOM files.

    Args:
        files: Those of the right kind.
        dicom: Those of them that are DICOM.
        skipped: Names of the others.
        kind: What was asked for.

    Raises:
        InputError: There is no file of that kind, or several that are no DICOM.
    """
    if len(dicom) > 1:
        return dicom[0].parent
    if len(dicom or files) == 1:
        return (dicom or files)[0]
    if files:
        raise InputError(f"{len(files)} volumes were sent; send one file or one DICOM folder at a time")
    if not skipped:
        raise InputError("no file arrived; choose a file and send it again")
    if len(skipped) > 1:
        raise InputError(f"none of the {len(skipped)} files is {KINDS[kind]}; choose others")
    raise InputError(f"{skipped[0]} is not {KINDS[kind]}; choose another file")


async def _start(part: BodyPartReader) -> bytes:
    """The first bytes of a file, `START_BYTES` or more unless it is shorter."""
    start = b""
    while len(start) < START_BYTES and (chunk := await part.read_chunk(CHUNK)):
        start += chunk
    return start


async def _write(part: BodyPartReader, start: bytes, path: Path, room: int, kind: str) -> int:
    written, chunk = 0, start
    with path.open("xb") as file:
        while chunk:
            written += len(chunk)
            if written > room:
                limit = MAX_BYTES[kind] // 2**20
                raise InputError(f"more than {limit} MB were sent; {WAYS_OUT[kind]}")
            file.write(chunk)
            chunk = await part.read_chunk(CHUNK)
    return written
