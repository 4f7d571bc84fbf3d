"""Why a landmark is missing, in words that people read after its name."""

from __future__ import annotations

from collections.abc import Sequence

from deepfeatures.data.landmarks import Landmark
from deepfeatures.data.notes import Note, NoteKind

UNPLACED = "no position in the template"
UNSEARCHED = "no voxel of the target may be searched"
UNLIKE = "the target does not look like the template"
MIRRORED = "the target looks like the template's mirror image"
OUTSIDE = "outside the target"
NOTHING_ALIKE = "nothing there looks like it"
NOTHING_TO_COMPARE = "nothing there to compare"
DOUBTFUL = "too doubtful"
TOO_FEW = "found by too few templates"
ADVICE = {
    UNLIKE: "; check that both volumes show the same anatomy",
    MIRRORED: "; check left and right in both headers, or give a template of the same side",
}
REASONS = (UNPLACED, UNSEARCHED, UNLIKE, MIRRORED, OUTSIDE, NOTHING_TO_COMPARE, NOTHING_ALIKE, DOUBTFUL, TOO_FEW)


def missing_text(landmarks: Sequence[Landmark], shown: int | None = None, notes: Sequence[Note] = ()) -> str:
    """The names of those without a position, by reason: `"AC, PC (outside the target), V4 (too doubtful)"`.

    Where the target does not look like the template, or like its mirror image, the text also says what to check.

    Args:
        landmarks: All landmarks of a target; where all are missing for one reason, they are not named.
        shown: The largest number of names for one reason.
        notes: Of the match; sizes that differ are then what to check.
    """
    names: dict[str, list[str]] = {}
    for landmark in landmarks:
        if not landmark.is_defined:
            names.setdefault(landmark.reason, []).append(landmark.name)
    if len(names) == 1 and "" not in names and 1 < len(landmarks) == sum(map(len, names.values())):
        names = {reason: [f"all {len(landmarks)}"] for reason in names}
    text = ", ".join(_listed(of, shown) + (f" ({reason})" if reason else "") for reason, of in names.items())
    advice = next((ADVICE[reason] for reason in names if reason in ADVICE), "")
    sizes = next((f"; {note.text}" for note in notes if note.kind == NoteKind.SIZE), "") if UNLIKE in names else ""
    return text + (sizes or advice)


def _listed(names: list[str], shown: int | None) -> str:
    return ", ".join(names[:shown]) + (" …" if names[:shown] != names else "")
