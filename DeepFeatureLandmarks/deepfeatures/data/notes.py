"""Notes: what people should know about how a volume was read, though it can be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum


class NoteKind(str, Enum):
    """What a note is about."""

    ORIENTATION = "orientation not given"
    MATRICES = "sform and qform disagree"
    SHEAR = "shear removed"
    UNIT = "unit missing or unlikely"
    RESAMPLED = "resampled"
    UNEVEN = "slices uneven"
    INTENSITY = "intensity"
    NAMES = "names"
    SIZE = "size"
    INDEPENDENT = "placed alone"
    LANDMARK_FILE = "landmark file"
    TRANSFORM = "transform"
    SHAPE = "shape"


@dataclass(frozen=True)
class Note:
    """One thing that is doubtful, but usable.

    Args:
        kind: What it is about.
        text: One sentence without the volume's name, its first letter small, no full stop.
    """

    kind: NoteKind
    text: str

    def of(self, name: str) -> Note:
        """The same note with the name of the volume before its text."""
        return replace(self, text=f"{name}: {self.text}")

    def as_json(self) -> dict[str, str]:
        """Kind and text."""
        return {"kind": self.kind.value, "text": self.text}

    @classmethod
    def from_json(cls, content: Mapping[str, str]) -> Note:
        """What `as_json` made."""
        return cls(NoteKind(content["kind"]), content["text"])


NO_POSITION = Note(NoteKind.ORIENTATION, "the file gives no position: its first voxel is taken to lie at 0, 0, 0")
NO_VOXEL_SIZE = Note(NoteKind.UNIT, "the file gives no voxel size: 1 mm is taken, as in 3D Slicer")


def unit_ignored(unit: str) -> Note:
    """The note of a file that states a unit which its format's readers do not use."""
    return Note(NoteKind.UNIT, f"the file gives lengths in {unit}: they are taken as millimetres, as in 3D Slicer")


def joined(notes: Iterable[Note]) -> str | None:
    """All texts in one, `None` where there are none."""
    return "; ".join(note.text for note in notes) or None
