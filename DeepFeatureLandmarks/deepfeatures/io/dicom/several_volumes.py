"""What is said of frames that lie at the same places: several volumes in one series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.io.dicom.frames import Frame
from deepfeatures.io.dicom.headers import told

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


def _distinctions(frames: Sequence[Frame]) -> str:
    """Of frames at one place: what tells them apart, in brackets; nothing where the header does not tell."""
    for kinds in DISTINCTIONS:
        found = [kind for kind, keywords in kinds.items() if any(_differ(frames, keyword) for keyword in keywords)]
        if found:
            return f" ({', '.join(found)})"
    return ""


def _differ(frames: Sequence[Frame], keyword: str) -> bool:
    return len({told(frame.value, keyword) for frame in frames}) > 1
