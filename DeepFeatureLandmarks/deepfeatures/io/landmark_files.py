"""Landmark files of every format, read and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import atomic_write
from deepfeatures.io.landmark_formats import (
    amira,
    ants_csv,
    dicom_sr,
    elastix,
    fcsv,
    idav,
    landmark_csv,
    markups_json,
    mitk,
    mni_tag,
    tps,
)
from deepfeatures.io.landmark_formats.numbering import different_numbers
from deepfeatures.io.sidecars import is_sidecar

DICOM = ".dcm"
HEAD_BYTES = 4096


@dataclass(frozen=True)
class LandmarkFormat:
    """How files of one suffix are read and written, and what they cannot hold.

    Args:
        program: Whose files they are.
        parse: The file's text, of DICOM its bytes, and its path to landmarks.
        render: Landmarks to the file's text, of DICOM to its bytes.
        names: Which names it keeps, see `KEPT_NAMES`.
        missing: What becomes of a landmark without a position: `"kept"`, `"left out"`, or `"refused"` where the others
            would take its number.
        begins: Whether a file's first bytes are those of landmarks, where files of other kinds have the suffix, too.
    """

    program: str
    parse: Callable[..., LandmarkSet]
    render: Callable[[LandmarkSet], str | bytes]
    names: str = "all"
    missing: str = "kept"
    begins: Callable[[bytes], bool] = lambda head: True


FORMATS = {  # by suffix; a longer one before the one that it ends with
    ".json": LandmarkFormat("3D Slicer", markups_json.parse, markups_json.render),
    ".fcsv": LandmarkFormat("old 3D Slicer", fcsv.parse, fcsv.render),
    ".ants.csv": LandmarkFormat("ANTs", ants_csv.parse, ants_csv.render, "numbers", "left out"),
    ".csv": LandmarkFormat("spreadsheets", landmark_csv.parse, landmark_csv.render),
    ".mps": LandmarkFormat("MITK", mitk.parse, mitk.render, "numbers", "left out"),
    ".tag": LandmarkFormat("MINC tools", mni_tag.parse, mni_tag.render, missing="left out"),
    ".landmarkascii": LandmarkFormat("Amira and Avizo", amira.parse, amira.render, "order", "refused"),
    ".pts": LandmarkFormat("IDAV Landmark Editor", idav.parse, idav.render, "words"),
    ".txt": LandmarkFormat(
        "elastix and transformix", elastix.parse, elastix.render, "order", "refused", elastix.begins
    ),
    ".tps": LandmarkFormat("tpsDig and geomorph", tps.parse, tps.render, "order"),
    DICOM: LandmarkFormat(
        "DICOM, as a structured report", dicom_sr.parse, dicom_sr.render, missing="left out", begins=dicom_sr.begins
    ),
}
KEPT_NAMES: dict[str, Callable[[list[str]], bool]] = {  # whether names are of this kind
    "all": lambda names: True,
    "words": lambda names: [idav.without_blanks(name) for name in names] == names,
    "numbers": lambda names: different_numbers(names) is not None,
    "order": lambda names: [str(number) for number in range(1, len(names) + 1)] == names,
}
NUMBERED = "the format keeps no names: the landmarks are numbered in the order of the list"
CHANGED_NAMES = {"words": "blanks within names are written as _", "numbers": NUMBERED, "order": NUMBERED}
KNOWN = "give .mrk.json, .fcsv or .csv, or .ants.csv, .mps, .tag, .landmarkAscii, .pts, .txt, .tps or .dcm"


def is_landmark_file(path: Path) -> bool:
    """Whether a file of a folder holds landmarks, by its name and, where other files share the suffix, its beginning.

    `README.txt`, a DICOM image and `dataset_description.json` do not.
    """
    kind = next((kind for suffix, kind in FORMATS.items() if path.name.lower().endswith(suffix)), None)
    if kind is None or path.name.startswith(".") or not path.is_file() or is_sidecar(path):
        return False
    with path.open("rb") as file:
        return kind.begins(file.read(HEAD_BYTES))


def read_landmarks(path: str | Path) -> LandmarkSet:
    """Read landmarks from a file of any format that `FORMATS` names, by its suffix.

    Names may repeat, as they do in Slicer. `notes` of the result say what the file does not state, such as its frame.
    See the modules in `landmark_formats` for what each format holds.

    Raises:
        InputError: Where there is no such file, or it is not what its suffix says, or it holds no landmark.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} is not a readable text file; give landmarks as .mrk.json, .fcsv or .csv") from error
    suffix = DICOM if content[128:132] == b"DICM" else _suffix_of(path)  # files of DICOM often have no suffix
    landmarks = FORMATS[suffix].parse(content if suffix == DICOM else _decoded(content, path), path)
    if not landmarks.landmarks:
        raise InputError(f"{path} holds no landmarks; place at least one point and save again")
    return landmarks


def write_landmarks(landmarks: LandmarkSet, path: str | Path, scan: str | Path | None = None) -> tuple[Note, ...]:
    """Write `landmarks` in the format that the suffix names, in mm, whole or not at all.

    Args:
        landmarks: LPS mm; the file's own frame may be another.
        path: Of the file; today's Slicer schema for `.mrk.json`.
        scan: DICOM folder or file in which the landmarks lie; `.dcm` takes patient, study and frame from it.

    Returns:
        What the format could not hold, such as names.

    Raises:
        InputError: Where the suffix is another, the format would change what is written, or the file cannot be written.
    """
    path = Path(path)
    suffix = _suffix_of(path)
    if scan is not None and suffix != DICOM:
        raise InputError(f"{path} has no place for a DICOM scan; give a name that ends in .dcm, or no scan")
    notes = _limits(landmarks, path, FORMATS[suffix])
    if suffix == DICOM and scan is None:
        notes = (*notes, dicom_sr.NO_STUDY)
    content = FORMATS[suffix].render(landmarks) if scan is None else dicom_sr.render(landmarks, Path(scan))
    with atomic_write(path) as draft:
        draft.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
    return notes


def _limits(landmarks: LandmarkSet, path: Path, kind: LandmarkFormat) -> tuple[Note, ...]:
    """Notes on what the format cannot hold; raises `InputError` where landmarks would be exchanged or none be left."""
    notes = []
    if landmarks.missing and kind.missing != "kept":
        missing = names_text(landmarks.missing)
        if kind.missing == "refused" or len(landmarks.missing) == len(landmarks):
            raise InputError(
                f"{path} cannot hold landmarks without a position ({missing}); write .fcsv or .csv, or remove them"
            )
        notes.append(
            Note(NoteKind.LANDMARK_FILE, f"landmarks without a position are left out: {missing.replace(';', ',')}")
        )
    if not KEPT_NAMES[kind.names]([landmark.name for landmark in landmarks]):
        notes.append(Note(NoteKind.NAMES, CHANGED_NAMES[kind.names]))
    return tuple(notes)


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")  # spreadsheets put a byte order mark first
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8; save it again, as a spreadsheet as CSV UTF-8") from error


def _suffix_of(path: Path) -> str:
    """The suffix by which `FORMATS` knows the file."""
    for suffix in FORMATS:
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path} is not a known kind of landmark file; {KNOWN}")
