"""Ambiguity in words: landmarks with a look-alike in the target, and other places in which all of them may lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from deepfeatures.data.landmark_checks import names_text

if TYPE_CHECKING:
    from deepfeatures.data.landmarks import Landmark

LOOK_ALIKE = "another place looks as much alike"


class OtherPlacement(Protocol):
    """What the text asks of an alternative, such as `matching.result.Alternative`."""

    @property
    def text(self) -> str: ...

    @property
    def probability(self) -> float: ...


def ambiguity_text(landmarks: Iterable[Landmark], alternatives: Sequence[OtherPlacement] = ()) -> str:
    """Where all landmarks of a target may lie instead, or which of them have a look-alike; empty where none is so.

    `"all landmarks may lie 33 mm towards the head (chance 38 %)"`, or
    `"another place looks as much alike as that of L3, L4"`.
    """
    if alternatives:
        places = " or ".join(f"{one.text} (chance {percent(one.probability)})" for one in alternatives)
        return f"all landmarks may lie {places}"
    names = [landmark.name for landmark in landmarks if landmark.is_defined and landmark.ambiguous]
    return f"{LOOK_ALIKE} as that of {names_text(names)}" if names else ""


def percent(probability: float) -> str:
    """`"38 %"` for 0.38."""
    return f"{probability:.0%}".replace("%", " %")
