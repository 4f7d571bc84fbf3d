"""Which landmarks are the left and the right of one, by their names: `left eye` and `right eye`, `L_eye`, `eye_r`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deepfeatures.data.landmarks import LandmarkSet

# A side within a name, and what it is on the other side. A single letter must stand by itself, or beside a change of
# case or a number as in `eyeL` and `7R`: `lip` and `rip` are no pair.
SIDES = (
    (re.compile(r"(?<![^\W\d_])(left|right)(?![^\W\d_])", re.IGNORECASE), {"left": "right", "right": "left"}),
    (re.compile(r"(left|right)(?=[A-Z\d])|(?<=[a-z\d])(Left|Right)"), {"left": "right", "right": "left"}),
    (re.compile(r"(?<![^\W_])([lrLR])(?![^\W_])"), {"l": "r", "r": "l"}),
    (re.compile(r"^([LR])(?=[A-Z])|^([lr])(?=[A-Z])|(?<=[a-z\d])([LR])$|(?<=\d)([lr])$"), {"l": "r", "r": "l"}),
)


def find_pairs(landmarks: LandmarkSet) -> tuple[tuple[str, str], ...]:
    """Names of left and right landmarks of one set, in its order.

    Two names are a pair where they differ in the side alone, whatever the case, and no third name does. Where no name
    tells a side, the descriptions are read in the same way, as in AFIDs files, whose names are numbers.
    """
    pairs = _pairs((one.name, one.name) for one in landmarks)
    return pairs or _pairs((one.name, one.description.strip()) for one in landmarks if one.description.strip())


def _pairs(texts: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Of names, each with the text that tells its side."""
    known: dict[str, list[str]] = {}
    sided = []
    for name, text in texts:
        known.setdefault(text.casefold(), []).append(name)
        sided += [(name, side, other) for side, other in _mirrored(text)]
    partners: dict[str, set[tuple[str, str]]] = {}
    for name, side, other in sided:
        for partner in known.get(other.casefold(), ()):
            pair = (name, partner) if side == "l" else (partner, name)
            for member in pair:
                partners.setdefault(member, set()).add(pair)
    clear = {next(iter(found)) for found in partners.values() if len(found) == 1}
    order = list(dict.fromkeys(name for name, _, _ in sided))
    unique = [pair for pair in clear if all(len(partners[member]) == 1 for member in pair)]
    return tuple(sorted(unique, key=lambda pair: min(order.index(member) for member in pair)))


def _mirrored(text: str) -> list[tuple[str, str]]:
    """Side, `"l"` or `"r"`, and the text of the other side, for each place that may tell a side."""
    found = []
    for pattern, other in SIDES:
        for match in pattern.finditer(text):
            side = match.group()
            mirrored = other[side.lower()]
            mirrored = mirrored.upper() if side.isupper() else mirrored.title() if side[0].isupper() else mirrored
            found.append((side[0].lower(), text[: match.start()] + mirrored + text[match.end() :]))
    return list(dict.fromkeys(found))
