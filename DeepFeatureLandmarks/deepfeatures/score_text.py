"""What is known of a placed point, as text that people and programs read, appended to the point's description.

`checked by A. B. | distance 12.3; expected error 1.2 mm; within 3 mm 93 %; round trip 0.4 mm`
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from deepfeatures.landmark_set import Landmark

NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)"
# field of Landmark: text around the number, factor of the number
PHRASES = {
    "distance": ("distance {}", 1),
    "expected_error": ("expected error {} mm", 1),
    "within_3mm": ("within 3 mm {} %", 100),
    "round_trip": ("round trip {} mm", 1),
}
PHRASE = "|".join(re.escape(text).replace(r"\{\}", NUMBER.replace("(", "(?:", 1)) for text, _ in PHRASES.values())
RECORD = re.compile(rf"(?:(?P<text>.*) \| )?(?P<scores>(?:{PHRASE})(?:; (?:{PHRASE}))*)", re.DOTALL)
END = " |"  # closes a description that would otherwise read as scores


def describe(landmark: Landmark) -> str:
    """The landmark's description with its scores, if it has any, at the end: to six significant digits."""
    scores = "; ".join(
        phrase.format(f"{score * factor:.6g}")
        for name, (phrase, factor) in PHRASES.items()
        if (score := getattr(landmark, name)) is not None and math.isfinite(score)
    )
    if scores:
        return f"{landmark.description} | {scores}" if landmark.description else scores
    return landmark.description + END if _needs_end(landmark.description) else landmark.description


def with_description(landmark: Landmark, described: str) -> Landmark:
    """The landmark with the description and the scores that `describe` had put into one text."""
    if described.endswith(END) and _needs_end(described[: -len(END)]):
        return replace(landmark, description=described[: -len(END)])
    record = RECORD.fullmatch(described)
    if record is None:
        return replace(landmark, description=described)
    scores = {}
    for phrase in record["scores"].split("; "):
        for name, (text, factor) in PHRASES.items():
            if number := re.fullmatch(re.escape(text).replace(r"\{\}", NUMBER), phrase):
                scores[name] = float(number[1]) / factor
    return replace(landmark, description=record["text"] or "", **scores)


def _needs_end(description: str) -> bool:
    return description.endswith(END) or RECORD.fullmatch(description) is not None
