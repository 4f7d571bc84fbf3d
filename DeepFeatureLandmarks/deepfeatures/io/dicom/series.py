"""The series of a folder of DICOM files, and the choice of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepfeatures.errors import InputError, quoted
from deepfeatures.io.dicom.frames import Frame, are_parallel, frames_of
from deepfeatures.io.dicom.headers import dicom_files, read_header, told

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, eq=False)
class Series:
    """One volume of a folder.

    Args:
        number: The scanner's series number, or the place in the list where the numbers of the folder are missing or not
            unique.
        uid: Series Instance UID; several multi-frame files may share one.
        description: As the scanner names it, may be empty.
        modality: Such as `"CT"`, may be empty.
        frames: Of all its files, in no order.
    """

    number: int
    uid: str
    description: str
    modality: str
    frames: tuple[Frame, ...] = field(repr=False)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.frames)

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they lie."""
        return tuple(dict.fromkeys(frame.file for frame in self.frames))

    @property
    def text(self) -> str:
        """One line that tells it from the others of a folder."""
        facts = [self.description, f"{self.slices} slices", self.uid and f"UID {self.uid}"]
        if len(self.files) == 1:  # multi-frame files may share all else
            facts.append(self.files[0].name)
        return f"{self.number} ({', '.join(fact for fact in facts if fact)})"


def list_series(folder: str | Path) -> tuple[Series, ...]:
    """The volumes among the DICOM files of a folder, by number.

    Every multi-frame file is a volume of its own, unless it says that it is one part of a larger file. Other files,
    reports, scouts, films and other pictures without a place do not count. Where nothing else is there, scouts of
    several slices do, or else films, so that reading can say what is wrong with them.

    Args:
        folder: Its subfolders are not looked at.

    Raises:
        InputError: A file is damaged.
    """
    found: dict[tuple[str, str], tuple[Dataset, list[Frame]]] = {}
    for file in dicom_files(Path(folder)):
        header = read_header(file)
        if frames := frames_of(file, header):
            found.setdefault(_key(file, header), (header, []))[1].extend(frames)
    several = [(header, frames) for header, frames in found.values() if len(frames) > 1]
    scans = [(header, frames) for header, frames in several if all(_is_of_scan(frame) for frame in frames)]
    volumes = [(header, frames) for header, frames in scans if not _is_scout(header, frames)]
    return _numbered(volumes or scans or several)


def series_of(file: Path) -> Series:
    """The volume to which a DICOM file belongs, with what lies beside it in its folder.

    Raises:
        InputError: A file is damaged, or this one holds no image.
    """
    header = read_header(file)
    own = frames_of(file, header)
    if not own:
        raise InputError(f"{file} is DICOM but holds no image; give a file of the scan")
    frames, key = own, _key(file, header)
    if len(own) == 1 or told(header.get, "ConcatenationUID"):
        for other in dicom_files(file.parent):
            if other != file and _key(other, beside := read_header(other)) == key:
                frames = [*frames, *frames_of(other, beside)]
    return _numbered([(header, frames)])[0]


def chosen(folder: Path, wanted: str | None) -> Series:
    """The one volume of a folder, or that which is wanted.

    Args:
        folder: With DICOM files.
        wanted: Number, UID or description of a series; `None` where the folder holds only one.

    Raises:
        InputError: There is no volume, none that is wanted, or more than one.
    """
    every = list_series(folder)
    if not every:
        raise InputError(
            f"the folder {folder} holds no DICOM volume; give the folder in which the slices themselves lie"
        )
    fitting = every if wanted is None else _fitting(every, wanted)
    if len(fitting) == 1:
        return fitting[0]
    held = len(every if wanted is None else fitting) or "no"
    which = "" if wanted is None else f" {quoted(wanted)}"
    raise InputError(
        f"the folder {folder} holds {held} DICOM volumes{which}; choose one by its number or UID (--series on the "
        f"command line) or give one of its files: {', '.join(series.text for series in every)}"
    )


def _fitting(every: Sequence[Series], wanted: str) -> list[Series]:
    wanted = wanted.strip()
    for names in (lambda series: str(series.number), lambda series: series.uid, lambda series: series.description):
        if fitting := [series for series in every if names(series).casefold() == wanted.casefold()]:
            return fitting
    return []


def _key(file: Path, header: Dataset) -> tuple[str, str]:
    """What files of one volume have in common."""
    is_multi_frame = told(header.get, "NumberOfFrames") not in ("", "1")
    part_of = told(header.get, "ConcatenationUID") or (file.name if is_multi_frame else "")
    return told(header.get, "SeriesInstanceUID"), part_of


def _is_of_scan(frame: Frame) -> bool:
    return frame.is_located and frame.obstacle is None


def _is_scout(header: Dataset, frames: Sequence[Frame]) -> bool:
    """Whether the slices are for planning the scan, as those in three planes are."""
    return "LOCALIZER" in (header.get("ImageType") or ()) or not are_parallel(frames)


def _numbered(found: Sequence[tuple[Dataset, list[Frame]]]) -> tuple[Series, ...]:
    """By the scanners' numbers, or in order where these do not tell all series apart."""
    given = [told(header.get, "SeriesNumber") for header, _ in found]
    if len(set(given)) < len(given) or not all(map(str.isdecimal, given)):
        given = range(1, len(found) + 1)
    every = [
        Series(
            int(number),
            told(header.get, "SeriesInstanceUID"),
            told(header.get, "SeriesDescription"),
            told(header.get, "Modality"),
            tuple(frames),
        )
        for number, (header, frames) in zip(given, found, strict=True)
    ]
    return tuple(sorted(every, key=lambda series: series.number))
