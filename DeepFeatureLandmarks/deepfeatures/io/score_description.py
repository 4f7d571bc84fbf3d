"""What is known of a placed point, as text that people and programs read, appended to the point's description.

`checked by A. B. | distance 12.3; expected error 1.2 mm; within 3 mm 93 %; round trip 0.4 mm`, or where it is missing
`checked by A. B. | not found: outside the target`.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from deepfeatures.data.landmarks import Landmark
from deepfeatures.data.missing_reason import REASONS

NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)"
# field of Landmark: text around the number, factor of the number
PHRASES = {
    "distance": ("distance {}", 1),
    "expected_error": ("expected error {} mm", 1),
    "within_3mm": ("within 3 mm {} %", 100),
    "round_trip": ("round trip {} mm", 1),
}
NOT_FOUND = "not found: "
PHRASE = "|".join(
    [re.escape(text).replace(r"\{\}", NUMBER.replace("(", "(?:", 1)) for text, _ in PHRASES.values()]
    + [re.escape(NOT_FOUND + reason) for reason in REASONS]
)
RECORD = re.compile(rf"(?:(?P<text>.*) \| )?(?P<known>(?:{PHRASE})(?:; (?:{PHRASE}))*)", re.DOTALL)
END = " |"  # closes a description that would otherwise read as scores


def describe(landmark: Landmark) -> str:
    """The landmark's description with its scores to six significant digits, or why it is missing, at the end."""
    phrases = [
        phrase.format(f"{score * factor:.6g}")
        for name, (phrase, factor) in PHRASES.items()
        if (score := getattr(landmark, name)) is not None and math.isfinite(score)
    ]
    if landmark.reason:
        phrases.append(NOT_FOUND + landmark.reason)
    if known := "; ".join(phrases):
        return f"{landmark.description} | {known}" if landmark.description else known
    return landmark.description + END if _needs_end(landmark.description) else landmark.description


def with_description(landmark: Landmark, described: str) -> Landmark:
    """The landmark with the description and the scores that `describe` had put into one text.

    Why it was missing is left out where it is so no more.
    """
    if described.endswith(END) and _needs_end(described[: -len(END)]):
        return replace(landmark, description=described[: -len(END)])
    record = RECORD.fullmatch(described)
    if record is None:
        return replace(landmark, description=described)
    scores, reason = {}, ""
    for phrase in record["known"].split("; "):
        if phrase.startswith(NOT_FOUND) and landmark.status == "missing":
            reason = phrase.removeprefix(NOT_FOUND)
        for name, (text, factor) in PHRASES.items():
            if number := re.fullmatch(re.escape(text).replace(r"\{\}", NUMBER), phrase):
                scores[name] = float(number[1]) / factor
    return replace(landmark, description=record["text"] or "", reason=reason, **scores)


def _needs_end(description: str) -> bool:
    return description.endswith(END) or RECORD.fullmatch(description) is not None
