"""Notes on how many landmark files were read, in a few lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note


def notes_of_sets(named: Iterable[tuple[str, LandmarkSet]]) -> tuple[Note, ...]:
    """The notes of sets, each given with its name; what several have alike is one note with their names."""
    names: dict[Note, list[str]] = defaultdict(list)
    for name, landmarks in named:
        for note in landmarks.notes:
            names[note].append(name)
    return tuple(note.of(names_text(found)) for note, found in names.items())
