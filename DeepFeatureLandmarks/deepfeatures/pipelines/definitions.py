"""Definitions of landmarks, read from a JSON file and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError, quoted
from deepfeatures.matching.learning.protocol import Definition

FIELDS = ("text", "picture", "link")
LONGEST_TEXT = 10_000  # characters
LARGEST_PICTURE = 300_000  # bytes
PICTURES = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how PNG and JPEG files begin
LINKS = ("http://", "https://")


def read_definitions(path: Path, known: Mapping[str, Definition], landmarks: LandmarkSet) -> dict[str, Definition]:
    """The definitions that a file changes; what it does not say of these stays as it is known.

    Args:
        path: JSON: for each name `text`, `picture` (a path that may be relative to the file) and `link`, each or none.
        known: Definitions by name.
        landmarks: That may be defined.

    Raises:
        InputError: The file, a picture or a link cannot be used, or a name is not that of a landmark.
    """
    content = _read(path)
    names = [landmark.name for landmark in landmarks]
    if unknown := [name for name in content if name not in names]:
        raise InputError(f"{path} defines {names_text(unknown)}, but the landmarks are {names_text(names)}")
    return {
        name: replace(known.get(name, Definition()), **_fields(entry, name, path)) for name, entry in content.items()
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content, ensure_ascii=False).encode()  # half a character cannot be shown
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a JSON file of definitions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON; give a file of definitions by landmark name") from error
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise InputError(f'{path} holds no definitions; write {{"NAME": {{"text": "…"}}}} for each landmark')
    return content


def _fields(entry: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """What the file says of one landmark, with the picture read."""
    for field, value in entry.items():
        if field not in FIELDS or not isinstance(value, str):
            raise InputError(f"{path} has {quoted(field)} at {quoted(name)}; give texts named {', '.join(FIELDS)} only")
        if len(value) > LONGEST_TEXT:
            raise InputError(
                f"the {field} of {quoted(name)} in {path} has more than {LONGEST_TEXT} characters; shorten it"
            )
    link = entry.get("link")
    if link and not link.lower().startswith(LINKS):
        raise InputError(f"the link of {quoted(name)} in {path} is {quoted(link)}; give one with http:// or https://")
    return entry | ({"picture": _picture(path.parent / entry["picture"])} if "picture" in entry else {})


def _picture(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            picture = file.read(LARGEST_PICTURE + 1)
    except OSError as error:
        raise InputError(f"the picture {path} cannot be read ({error.strerror}); correct its path") from error
    if not picture.startswith(PICTURES):
        raise InputError(f"the picture {path} is neither PNG nor JPEG; save it as one of these")
    if len(picture) > LARGEST_PICTURE:
        raise InputError(f"the picture {path} is larger than {LARGEST_PICTURE // 1000} kB; save a smaller one")
    return picture
