"""What is shown around one slice view."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FrameState:
    """Offsets in mm along the slice's normal; letters of the patient's directions at the edges."""

    low: float = 0.0
    high: float = 1.0
    step: float = 1.0
    offset: float = 0.0
    is_shown: bool = False
    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""
