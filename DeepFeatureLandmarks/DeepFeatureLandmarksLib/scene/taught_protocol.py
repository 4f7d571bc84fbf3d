"""What people read of the file of a landmark protocol: how many scans taught it, what that brought, what is doubtful.

The worker reads the file; both faces show this.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DeepFeatureLandmarksLib.scene.place_request import NAMES_SHOWN
from deepfeatures.data.landmark_checks import names_text

SUFFIX = ".dflp"
FEWEST_PEOPLE = 3  # that change where points are placed
PICTURE_WIDTH = 240  # pixels
FORMATS = {"iVBOR": "png", "/9j/": "jpeg"}  # of pictures, by how their base64 begins


@dataclass(frozen=True)
class LandmarkDefinition:
    """What a landmark is, by the one who made the protocol.

    Args:
        text: In words.
        picture: PNG or JPEG in base64, empty where there is none.
        link: To more of it, empty where there is none.
    """

    text: str = ""
    picture: str = ""
    link: str = ""

    @property
    def pictureUrl(self) -> str:
        """The picture as an address that holds it, empty where there is none."""
        kind = next((kind for begin, kind in FORMATS.items() if self.picture.startswith(begin)), "")
        return f"data:image/{kind};base64,{self.picture}" if kind else ""

    @property
    def webLink(self) -> str:
        """The link where it leads to a page; a file of somebody else's may name anything."""
        return self.link if self.link.startswith(("https://", "http://")) else ""

    @property
    def html(self) -> str:
        """For a text field that shows pictures: all of it, in this order."""
        picture = f'<img src="{self.pictureUrl}" width="{PICTURE_WIDTH}"/>' if self.pictureUrl else ""
        address = html.escape(self.webLink)
        link = f'<a href="{address}">{address}</a>' if address else ""
        return "<br/>".join(filter(None, (html.escape(self.text), picture, link)))


@dataclass(frozen=True, eq=False)
class TaughtProtocol:
    """The content of a file.

    Args:
        path: Of the file.
        summary: See `deepfeatures.matching.learning.protocol.Protocol.summary`.
        keys: Of its scans, in their order.
        definitions: By name of the landmark, those that are defined.
        error: Why the file cannot be read, one sentence; empty where it can.
    """

    path: Path
    summary: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    definitions: Mapping[str, LandmarkDefinition] = field(default_factory=dict)
    error: str = ""

    @property
    def taughtText(self) -> str:
        """By how many scans it was taught, a sentence; the reason where it cannot be read."""
        if self.error:
            return self.error
        scans, people = self.summary["taught_by"], self.summary["people"]
        if not scans:
            return "Taught by no scan yet."
        text = f"Taught by {countText(scans, 'scan')}"
        return f"{text}." if people == scans else f"{text} of {countText(people, 'person', 'people')}."

    @property
    def errorText(self) -> str:
        """What learning has brought, in sentences; empty where the file cannot be read."""
        if self.error:
            return ""
        if not self.summary["in_use"]:
            return f"Nothing changes yet: from {FEWEST_PEOPLE} people on, it changes where points are placed."
        before, after = (self.summary[f"error_{when}_mm"] for when in ("before", "after"))
        if before is None or after is None:  # too few are left without one
            return "It changes where points are placed. With one person more, it tells how far the error has fallen."
        return f"Mean error {_change(before, after)}, measured by leaving one person out."

    @property
    def doubtText(self) -> str:
        """Which scans and landmarks are doubtful, a sentence each; empty where none is."""
        odd = [scan["name"] for scan in self.summary.get("scans", ()) if scan["odd"]]
        doubtful = [landmark["name"] for landmark in self.summary.get("landmarks", ()) if landmark["doubtful"]]
        sentences = [
            odd and f"Check {names_text(odd, NAMES_SHOWN)}: most points lie elsewhere than those of the other scans.",
            doubtful and f"Still doubtful: {names_text(doubtful, NAMES_SHOWN)}.",
        ]
        return " ".join(filter(None, sentences))

    @property
    def landmarkLines(self) -> list[str]:
        """One line a landmark that was taught: its error before and after."""
        return [_landmarkLine(known) for known in self.summary.get("landmarks", ()) if known["taught"]]

    @property
    def scanLines(self) -> list[str]:
        """One line a scan: how many of its points were accepted and corrected."""
        return [
            f"{scan['name']}: {scan['accepted']} accepted, {scan['corrected']} corrected"
            for scan in self.summary.get("scans", ())
        ]

    def hasScan(self, key: str | None) -> bool:
        """Whether it was taught the scan of that key."""
        return key in self.keys


def taughtProtocol(path: Path, content: Mapping) -> TaughtProtocol:
    """What the worker has read from a file; see `deepfeatures.service.learning.describe`."""
    definitions = {name: LandmarkDefinition(**known) for name, known in content["definitions"].items()}
    return TaughtProtocol(path, content["summary"], tuple(content["keys"]), definitions)


def _landmarkLine(landmark: Mapping) -> str:
    text = f"{landmark['name']}: taught by {countText(landmark['taught'], 'scan')}"
    before, after = landmark["error_before_mm"], landmark["error_after_mm"]
    return text if before is None or after is None else f"{text}, {_change(before, after)}"


def _change(before_mm: float, after_mm: float) -> str:
    return f"{before_mm:.2f} → {after_mm:.2f} mm"


def countText(number: int, one: str, several: str = "") -> str:
    """A number and what is counted: `"7 scans"`."""
    return f"{number} {one if number == 1 else several or one + 's'}"
