"""The scores of a placed point as text that people and programs read, at the end of the point's description.

`checked by A. B. | feature distance 12.3; expected error 1.2 mm; within 3 mm 93 %; inverse-consistency error 0.4 mm`.
Where another place looks as much alike, it says so: `… | expected error 9.1 mm; ambiguous: another place looks as
much alike`. Of a missing point it is the reason: `checked by A. B. | not found: outside the target`. Notes on how the
volumes were read come last: `… | expected error 1.2 mm; note: scan7: the file gives no unit of length`.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from deepfeatures.data.ambiguity import LOOK_ALIKE
from deepfeatures.data.landmark_scores import BY_NAME, FORMER_LABELS, SCORES, Score
from deepfeatures.data.landmarks import Landmark
from deepfeatures.data.missing_reason import REASONS

NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)"
NOT_FOUND, NOTE = "not found: ", "note: "
AMBIGUOUS = f"ambiguous: {LOOK_ALIKE}"


def _phrase(label: str, number: str, score: Score) -> str:
    return f"{label.lower()} {number} {'%' if score.is_percentage else score.unit}".rstrip()


# patterns of today's phrases and of those of older files
PHRASES = [(score, _phrase(re.escape(score.label), NUMBER, score)) for score in SCORES] + [
    (BY_NAME[name], _phrase(label, NUMBER, BY_NAME[name])) for name, label in FORMER_LABELS.items()
]
PHRASE = "|".join(
    [pattern.replace("(", "(?:", 1) for _, pattern in PHRASES]
    + [re.escape(NOT_FOUND + reason) for reason in REASONS]
    + [re.escape(AMBIGUOUS), re.escape(NOTE) + r"[^;|]+"]
)
RECORD = re.compile(rf"(?:(?P<text>.*) \| )?(?P<known>(?:{PHRASE})(?:; (?:{PHRASE}))*)", re.DOTALL)
END = " |"  # closes a description that would otherwise read as scores


def describe(landmark: Landmark) -> str:
    """The landmark's description, then its scores to six significant digits, ambiguity, why it is missing, notes."""
    phrases = [
        _phrase(BY_NAME[name].label, f"{value * _factor(BY_NAME[name]):.6g}", BY_NAME[name])
        for name, value in landmark.scores.items()
        if math.isfinite(value)
    ]
    if landmark.ambiguous:
        phrases.append(AMBIGUOUS)
    if landmark.reason:
        phrases.append(NOT_FOUND + landmark.reason)
    phrases += [NOTE + text for text in landmark.note.replace("|", "/").split("; ") if text.strip()]
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
    phrases = record["known"].split("; ")
    scores, reason, notes = {"ambiguous": AMBIGUOUS in phrases}, "", []
    for phrase in phrases:
        if phrase.startswith(NOT_FOUND) and landmark.status == "missing":
            reason = phrase.removeprefix(NOT_FOUND)
        if phrase.startswith(NOTE):
            notes.append(phrase.removeprefix(NOTE))
        for score, pattern in PHRASES:
            if number := re.fullmatch(pattern, phrase):
                scores[score.name] = float(number[1]) / _factor(score)
    return replace(landmark, description=record["text"] or "", reason=reason, note="; ".join(notes), **scores)


def _factor(score: Score) -> int:
    return 100 if score.is_percentage else 1


def _needs_end(description: str) -> bool:
    return description.endswith(END) or RECORD.fullmatch(description) is not None
