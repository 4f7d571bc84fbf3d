"""What is said of several volumes in one series: at the same places, or between and beside one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.dicom.frames import Frame
from deepfeatures.io.dicom.headers import numbers, told

SAME_PLACE = 1e-3  # of the largest distance between neighbouring slices
# By which keywords volumes at one place differ, and what messages call that; the first that differ are named.
DISTINCTIONS = (
    {
        "echoes": ("EffectiveEchoTime", "EchoTime", "EchoNumbers"),
        "b-values": ("DiffusionBValue",),
        "cardiac phases": ("NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime", "TriggerTime"),
        "image types": ("FrameType", "ImageType"),
        "inversion times": ("InversionTime",),
        "tube voltages": ("KVP",),
        "time points": ("TemporalPositionIndex", "TemporalPositionIdentifier", "FrameReferenceTime"),
    },
    {"stacks": ("StackID",), "acquisitions": ("FrameAcquisitionNumber", "AcquisitionNumber")},
    {"times": ("FrameAcquisitionDateTime", "AcquisitionTime", "ContentTime")},
)
# In which slices of one volume never differ, wherever they lie. Times may: slices are taken one after another.
CONTRASTS = {
    "echoes": ("EffectiveEchoTime", "EchoTime", "EchoNumbers"),
    "b-values": ("DiffusionBValue",),
    "units": ("RescaleType", "Units", "MeasurementUnitsCodeSequence"),
}
SAME_VALUE = 0.01  # of the largest: rounding, not another echo, b-value or scale


def check_single(subject: str, frames: Sequence[Frame], heights_mm: np.ndarray) -> None:
    """Raise `InputError` where two frames or more lie at one place.

    Args:
        subject: What the message calls the series.
        frames: First slice to last.
        heights_mm: Of the frames along their normal, rising, shape `(N,)`.
    """
    steps_mm = np.diff(heights_mm)
    places = np.concatenate([[0], np.cumsum(steps_mm > SAME_PLACE * steps_mm.max())])
    counts = np.bincount(places)
    most = counts.max()
    if most == 1:
        return
    fullest = [frame for frame, place in zip(frames, places, strict=True) if place == counts.argmax()]
    kinds = _distinctions(fullest)
    if len(counts) == 1:
        raise InputError(f"{subject} shows one slice {most} times{kinds} and is no volume; give a 3D scan")
    if (counts == most).all():
        raise InputError(
            f"{subject} holds {most} volumes at one place{kinds}; "
            "export the right one alone, or split the series with dcm2niix"
        )
    raise InputError(
        f"{subject} has several slices at {int((counts > 1).sum())} of {len(counts)} places{kinds}; "
        "export it again as one complete volume"
    )


def check_contrast(subject: str, frames: Sequence[Frame]) -> None:
    """Raise `InputError` where frames at different places are of different contrasts or units."""
    kinds = [kind for kind, keywords in CONTRASTS.items() if any(_is_other(frames, keyword) for keyword in keywords)]
    if not kinds and _is_scaled_apart(frames):
        kinds = ["scales of real-world values"]
    if kinds:
        raise InputError(
            f"{subject} holds slices of different {' and '.join(kinds)}; "
            "export the right ones alone, or split the series with dcm2niix"
        )


def stack_notes(frames: Sequence[Frame]) -> tuple[Note, ...]:
    """A note where the slices are of several stacks."""
    count = len({told(frame.value, "StackID") for frame in frames})
    text = f"slices of {count} stacks of the scanner lie at even steps, and are taken as one volume"
    return (Note(NoteKind.UNEVEN, text),) if count > 1 else ()


def _is_other(frames: Sequence[Frame], keyword: str) -> bool:
    """Whether frames differ by more than rounding."""
    values = [numbers(told(frame.value, keyword), 1) for frame in frames]
    if any(value is None for value in values):
        return _differ(frames, keyword)
    return not _are_same(np.concatenate(values))


def _is_scaled_apart(frames: Sequence[Frame]) -> bool:
    """Whether the values of frames, as they are scaled here, are real-world values by different scales."""
    scales = [numbers(told(frame.value, "RealWorldValueSlope"), 1) for frame in frames]
    if any(scale is None for scale in scales):
        return False
    return not _are_same(np.array([scale[0] / frame.slope for scale, frame in zip(scales, frames, strict=True)]))


def _are_same(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= SAME_VALUE * np.abs(values).max())


def _distinctions(frames: Sequence[Frame]) -> str:
    """Of frames at one place: what tells them apart, in brackets; nothing where the header does not tell."""
    for kinds in DISTINCTIONS:
        found = [kind for kind, keywords in kinds.items() if any(_differ(frames, keyword) for keyword in keywords)]
        if found:
            return f" ({', '.join(found)})"
    return ""


def _differ(frames: Sequence[Frame], keyword: str) -> bool:
    return len({told(frame.value, keyword) for frame in frames}) > 1
