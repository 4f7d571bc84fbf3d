"""Scans with the points of a person and a volume, as the check of templates compares them."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmark_notes import notes_of_sets
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.bids import LazyVolumes, find_volumes
from deepfeatures.quality.annotations import Annotation, read_rater, sidecar_notes, with_same_names

PROTOCOL = "the protocol"  # as a rater


@dataclass(frozen=True)
class AnnotatedScans:
    """What folders hold.

    Args:
        annotations: One a scan, with the same names for the same landmarks; points of people only.
        paths: The volume of each scan, by name.
        notes: On files, names, and what was left out.
        in_memory: Volumes that their file does not hold alone, by name.
    """

    annotations: tuple[Annotation, ...]
    paths: dict[str, Path]
    notes: tuple[Note, ...] = ()
    in_memory: Mapping[str, Volume] = field(default_factory=dict)

    @property
    def volumes(self) -> Mapping[str, Volume]:
        """Of all scans, read when they are asked for."""
        return ChainMap(dict(self.in_memory), LazyVolumes(self.paths))

    def with_template(self, template: Volume, landmarks: LandmarkSet, file: Path) -> AnnotatedScans:
        """The same with the template of a protocol's file, whose names count; instead of a scan of the same name."""
        own = Annotation(template.name, PROTOCOL, landmarks)
        others = [one for one in self.annotations if one.scan != own.scan]
        named, of_names = with_same_names([own, *others], PROTOCOL)
        paths = {**self.paths, own.scan: file}
        return AnnotatedScans(tuple(named), paths, (*self.notes, *of_names), {own.scan: template})


def read_annotated_scans(folders: Sequence[str | Path], volumes: str | Path | None = None) -> AnnotatedScans:
    """The scans of folders that have a landmark file and a volume.

    Points that a search has placed and nobody has accepted are left out: they say nothing of how people label.

    Args:
        folders: With one landmark file a scan. A volume may lie beside it.
        volumes: Folder of the volumes that do not.

    Raises:
        InputError: A folder or file cannot be used, a scan has two landmark files, or fewer than two scans are left.
    """
    paths = {name: path for folder in folders for name, path in _volumes_of(Path(folder)).items()}
    paths |= find_volumes(volumes) if volumes else {}
    if not paths:
        raise InputError(
            f"there are no volumes beside the landmarks of {folders[0]}; put each scan there, or give the folder"
            " of the volumes"
        )
    read = [one for folder in folders for one in read_rater(folder, scans=tuple(paths))]
    twice = [scan for scan, count in Counter(one.scan for one in read).items() if count > 1]
    if twice:
        raise InputError(f"there are several landmark files for {names_text(twice)}; keep one of each scan")
    kept = [own for one in read if one.scan in paths and (own := _of_people(one)) is not None]
    if len(kept) < 2:
        raise InputError(
            "the check of templates compares annotated scans with each other, and there "
            f"{'is only ' + kept[0].scan if kept else 'are none'}; annotate another scan, or accept its points"
        )
    named, of_names = with_same_names(kept)
    notes = [note for folder in folders for note in sidecar_notes(folder)]
    notes += notes_of_sets((one.scan, one.landmarks) for one in kept)
    return AnnotatedScans(tuple(named), paths, (*notes, *of_names, *_left_out(read, paths)))


def _volumes_of(folder: Path) -> dict[str, Path]:
    try:
        return find_volumes(folder)
    except InputError:  # only landmarks, or no folder, which `read_rater` tells
        return {}


def _of_people(annotation: Annotation) -> Annotation | None:
    """With points of people only; `None` where there are none."""
    points = tuple(point for point in annotation.landmarks if point.is_defined and point.is_of_a_person)
    return replace(annotation, landmarks=replace(annotation.landmarks, landmarks=points)) if points else None


def _left_out(read: Sequence[Annotation], paths: dict[str, Path]) -> list[Note]:
    notes = []
    if without := [one.scan for one in read if one.scan not in paths]:
        text = f"there is no volume for {names_text(without)}: these points are left out"
        notes.append(Note(NoteKind.LANDMARK_FILE, text))
    open_points = {one.scan: _not_accepted(one.landmarks) for one in read}
    if count := sum(open_points.values()):
        scans = names_text([scan for scan, number in open_points.items() if number])
        text = f"{count} placed points of {scans} are left out: nobody has accepted them"
        notes.append(Note(NoteKind.LANDMARK_FILE, text))
    return notes


def _not_accepted(landmarks: LandmarkSet) -> int:
    return sum(point.is_defined and not point.is_of_a_person for point in landmarks)
