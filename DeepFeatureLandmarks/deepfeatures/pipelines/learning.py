"""Teaches a protocol what people have accepted or corrected, from files to a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from deepfeatures.data.landmark_checks import check_inside, check_unique_names, names_text
from deepfeatures.data.landmark_names import match_names
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, is_out_of_memory, out_of_memory
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import image_stem, person_of
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.matching.learning.protocol import Protocol, begin_protocol
from deepfeatures.matching.learning.protocol_file import SUFFIX, read_protocol
from deepfeatures.matching.settings import BEST_GUIDED
from deepfeatures.matching.teaching import teach
from deepfeatures.matching.uncertainty.error_model import features_key
from deepfeatures.pipelines.definitions import read_definitions
from deepfeatures.pipelines.place import read_template
from deepfeatures.pipelines.protocol_update import continued, learn_scan, update_protocol

if TYPE_CHECKING:
    from deepfeatures.matching.matcher import Matcher

Named = TypeVar("Named")


@dataclass(frozen=True)
class Lesson:
    """What one scan has taught.

    Args:
        scan: The volume.
        name: Of the scan in the protocol.
        accepted: Number of landmarks that a person left where a search had put them.
        corrected: Number of those that a person moved or placed.
        seconds: From reading the files to the protocol on the disk.
        notes: What people should know of how the files were read, and what was not taught.
        failure: Why nothing was taught, one sentence; `None` where something was.
    """

    scan: Path
    name: str
    accepted: int = 0
    corrected: int = 0
    seconds: float = 0.0
    notes: tuple[Note, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class ReviewedPoints:
    """The points of a file that a person has reviewed, by the names of a protocol's landmarks.

    Args:
        landmarks: These points.
        accepted: Names of those that are locked where a search had put them.
        notes: On the file, on names, and on points that nobody has reviewed.
    """

    landmarks: LandmarkSet
    accepted: frozenset[str]
    notes: tuple[Note, ...]


def split_pair(text: str) -> tuple[Path, Path]:
    """The scan and its points of `SCAN=POINTS`; both names may contain `=`.

    Raises:
        InputError: There is no `=` with an existing file or folder on each side.
    """
    places = [place for place, letter in enumerate(text) if letter == "="]
    pairs = [(Path(text[:place]), Path(text[place + 1 :])) for place in places if 0 < place < len(text) - 1]
    for pair in pairs:
        if all(path.exists() for path in pair):
            return pair
    if len(pairs) == 1:
        scan, points = pairs[0]
        raise InputError(f"{points if scan.exists() else scan} does not exist; check the path in {text}")
    raise InputError(f"{text} names no scan and its points that exist; give SCAN=POINTS")


def open_protocol(path: Path, template: Path | None, landmarks: Path | None, series: str | None = None) -> Protocol:
    """The protocol of a file, or one that begins with a template and its landmarks; nothing is written.

    It begins with the features that have done best.

    Args:
        path: The file, which need not exist.
        template: Volume in which the landmarks lie; may be left out where the file exists, as may be its landmarks.
        landmarks: Its landmark file.
        series: Of a folder of DICOM files, see `open_volume`.

    Raises:
        InputError: A file cannot be used, there is neither protocol nor template, or the protocol has another one.
    """
    check_suffix(path)
    if (template is None) != (landmarks is None):
        raise InputError("a template needs its landmarks; give --template and --landmarks, or neither")
    known = read_protocol(path) if path.exists() else None
    if template is None or landmarks is None:
        if known is None:
            raise InputError(f"{path} does not exist; give --template and --landmarks to begin it, or check the path")
        return known
    volume, points = read_template(template, landmarks, series)
    if points.missing:
        text = f"left out of the protocol, since they have no position: {names_text(points.missing)}"
        volume = replace(volume, notes=(*volume.notes, Note(NoteKind.LANDMARK_FILE, text)))
    if known is None:
        return begin_protocol(volume, points, features_key(*BEST_GUIDED))
    return continued(known, begin_protocol(volume, points, known.features), path)


def learn(
    path: Path, protocol: Protocol, pairs: Sequence[tuple[Path, Path]], matcher: Matcher, series: str | None = None
) -> Iterator[Lesson]:
    """Teach one scan after another; the file has each before the next begins.

    What cannot be taught does not keep the others from being taught.

    Args:
        path: Of the protocol, which need not exist.
        protocol: What `open_protocol` returned.
        pairs: Scans and landmark files.
        matcher: With the features of the protocol.
        series: See `open_protocol`.
    """
    check_names(pairs)
    names = {taught.key: taught.name for taught in protocol.scans}
    for scan, points in pairs:
        start, name = time.perf_counter(), image_stem(scan)
        try:
            lesson = _teach_one(path, protocol, scan, points, matcher, series, names)
        except InputError as error:
            lesson = Lesson(scan, name, failure=str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            lesson = Lesson(scan, name, failure=out_of_memory(str(scan)))
        yield replace(lesson, seconds=time.perf_counter() - start)


def check_suffix(path: Path) -> None:
    """Raise `InputError` where a protocol is not called so: it may be a scan that was given in its place."""
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"{path} does not end in {SUFFIX}; give the protocol first, NAME{SUFFIX}")


def check_names(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Raise `InputError` where two scans bear one name: a protocol tells scans apart by it."""
    taken: dict[str, Path] = {}
    for scan, _ in pairs:
        other = taken.setdefault(image_stem(scan), scan)
        if other is not scan:
            raise InputError(f"{other} and {scan} bear the same name; give the scan once, or rename one")


def reviewed_points(path: Path, landmarks: LandmarkSet) -> ReviewedPoints:
    """The points of a file that teach something of these landmarks.

    Raises:
        InputError: The file cannot be read, or has none of these landmarks reviewed.
    """
    points = read_landmarks(path)
    check_unique_names(points, path)
    match = match_names(points, landmarks)
    known = [one for one in match.renamed(points) if one.name not in match.unknown and one.is_defined]
    reviewed = tuple(one for one in known if one.is_of_a_person)
    notes = (*points.notes, *(note for note in match.notes("the protocol")))
    if not known:
        raise InputError(f"{path} has no landmark of the protocol with a position; give the points of the same names")
    if not reviewed:
        raise InputError(f"nobody has reviewed the points of {path}; accept (lock) or correct them, then teach them")
    if open_points := [one.name for one in known if not one.is_of_a_person]:
        text = f"not taught, since nobody has accepted or corrected them: {names_text(open_points)}"
        notes = (*notes, Note(NoteKind.LANDMARK_FILE, text))
    accepted = frozenset(one.name for one in reviewed if one.feature_distance is not None)
    return ReviewedPoints(LandmarkSet(reviewed, points.name), accepted, notes)


def write_begun(path: Path, protocol: Protocol) -> Protocol:
    """Write a protocol that was begun and is to be taught later; returns it.

    Raises:
        InputError: The file is there already, so that there is nothing to do, or cannot be written.
    """

    def only(current: Protocol | None) -> Protocol:
        if current is not None:
            raise InputError(f"there is nothing to teach {path}; give SCAN=POINTS, or --definitions")
        return protocol

    return update_protocol(path, only)


def change_definitions(path: Path, protocol: Protocol, file: Path) -> Protocol:
    """Write what a file of definitions says into a protocol file, see `read_definitions`.

    Args:
        path: Of the protocol, which need not exist.
        protocol: What `open_protocol` returned.
        file: With definitions.
    """
    read_definitions(file, protocol.definitions, protocol.landmarks)  # before the file is made or locked

    def changed(current: Protocol | None) -> Protocol:
        known = continued(current, protocol, path)
        return known.with_definitions(read_definitions(file, known.definitions, known.landmarks))

    return update_protocol(path, changed)


def merge(paths: Sequence[Path], output: Path) -> Protocol:
    """Write what several protocols have been taught into one; returns it.

    Raises:
        InputError: A file cannot be used, the templates or landmarks differ, or the output is there already.
    """
    check_suffix(output)
    if output.exists():
        raise InputError(f"{output} exists already; choose another --output, or delete it")
    first, *others = [read_protocol(path) for path in paths]
    for other in others:
        first = first.merged(other)

    def only(current: Protocol | None) -> Protocol:
        if current is not None:
            raise InputError(f"{output} has been made by somebody else in the meantime; choose another --output")
        return first

    return update_protocol(output, only)


def without_taught_people(protocol: Protocol, scans: Mapping[str, Named]) -> tuple[dict[str, Named], str | None]:
    """Scans, by name, of people who have not taught the protocol: on the others it would look better than it is.

    Returns:
        These, and a note on those that were left out; `None` where there are none.
    """
    taught = [name for name in scans if person_of(name) in protocol.people]
    kept = {name: scan for name, scan in scans.items() if name not in taught}
    left_out = f"left out, since these people have taught the protocol: {names_text(taught)}" if taught else None
    return kept, left_out


def _teach_one(
    path: Path,
    protocol: Protocol,
    scan: Path,
    points: Path,
    matcher: Matcher,
    series: str | None,
    names_by_key: dict[str, str],
) -> Lesson:
    name = image_stem(scan)
    reviewed = reviewed_points(points, protocol.landmarks)
    with suppress_native_output():
        volume = read_within_memory(scan, None, series)
    check_inside(reviewed.landmarks, volume, points, scan)
    taught = teach(matcher, protocol, volume, reviewed.landmarks, name=name, person=person_of(name))
    names = [landmark.name for landmark in protocol.landmarks]
    moved = torch.tensor([one not in reviewed.accepted for one in names])
    taught = replace(taught, corrected=taught.corrected & moved)
    learn_scan(path, protocol, taught)
    corrected, accepted = taught.taught & taught.corrected, taught.taught & ~taught.corrected
    notes = (*volume.notes, *reviewed.notes)
    if (earlier := names_by_key.get(taught.key, name)) != name:
        notes = (*notes, Note(NoteKind.NAMES, f"was taught before as {earlier}; that is replaced, and the name too"))
    names_by_key[taught.key] = name
    return Lesson(scan, name, int(accepted.sum()), int(corrected.sum()), notes=notes)
