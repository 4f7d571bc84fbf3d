"""Notes on how the file of a node was read: kept in the node's attributes, or told by the file behind a volume."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from deepfeatures.data.notes import Note
from deepfeatures.io.header_notes import header_notes

ATTRIBUTE = "DeepFeatureLandmarks.notes"
FILES_KEPT = 64  # more than a person compares at a time


def writeNotes(node, notes: Iterable[Note]) -> None:
    """Keep notes in a node, and so in saved scenes; none takes away those that were there."""
    messages = [note.as_json() for note in notes]
    node.SetAttribute(ATTRIBUTE, json.dumps(messages) if messages else None)


def readNotes(node) -> tuple[Note, ...]:
    """The notes that `writeNotes` kept; what another version has written otherwise is left out."""
    try:
        return tuple(map(Note.from_json, json.loads(node.GetAttribute(ATTRIBUTE) or "[]")))
    except (ValueError, KeyError, TypeError):
        return ()


def notesOfFile(node) -> tuple[Note, ...]:
    """What the header of the file tells from which Slicer has read a node; the file is read again where it changed."""
    storage = node.GetStorageNode()
    name = storage.GetFullNameFromFileName() if storage is not None else ""
    try:
        return _headerNotes(name, Path(name).stat().st_mtime_ns) if name else ()
    except OSError:  # the file is gone, or there is none, as after a download
        return ()


def sentences(notes: Iterable[Note]) -> list[str]:
    """For people, one sentence a note."""
    return [f"{note.text[:1].upper()}{note.text[1:]}." for note in notes]


@lru_cache(FILES_KEPT)
def _headerNotes(name: str, _changed: int) -> tuple[Note, ...]:
    return header_notes(name)
