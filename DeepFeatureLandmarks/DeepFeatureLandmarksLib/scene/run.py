"""What a finished request has brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from DeepFeatureLandmarksLib.scene.place_request import NAMES_SHOWN
from DeepFeatureLandmarksLib.scene.taught_protocol import TaughtProtocol, countText
from DeepFeatureLandmarksLib.scene.template_check import TemplateCheck
from DeepFeatureLandmarksLib.scene.transform_summary import TransformSummary, noteSentences
from deepfeatures.data.landmark_checks import names_text
from deepfeatures.service.protocol import VolumeArray


@dataclass(frozen=True, eq=False)
class ActivationMaps:
    """All channels of one layer around one landmark.

    Args:
        landmark: Its name.
        layer: The layer's own name.
        source: The patch as the network saw it.
        channels: One volume a channel, on the layer's own grid.
        complete: False where the patch is too small for the layer as the paper has it.
        volume: The volume node from which the patch was cut.
    """

    landmark: str
    layer: str
    source: VolumeArray
    channels: tuple[VolumeArray, ...]
    complete: bool
    volume: Any


@dataclass(frozen=True, eq=False)
class Run:
    """The argument of `onFinished`.

    Args:
        kind: `"place"`, `"placeAgain"`, `"alternative"`, `"activations"`, `"distanceMap"`, `"templateCheck"`,
            `"catalog"`, `"protocol"`, `"learn"`, `"forget"`, `"template"`, `"transform"`, `"warpTarget"`,
            `"carryVolume"`, `"carryFile"`, `"jacobian"` or `"writeTransform"`.
        number: Of the run of this output node, from 1; 0 where nothing was placed.
        node: The markups node that was filled, the volume node of a map, or the transform node.
        placed: Names of points that were placed.
        missing: Names that were not found.
        missingText: A few of them, with the reasons.
        kept: Names that were left alone because a person had locked, moved or made the point.
        seconds: From the request to its result.
        report: The matcher's own report.
        maps: Of activations: all channels, for a mosaic and `activationMap`.
        check: Of templates.
        protocol: As its file is now.
        lesson: What was learnt, one phrase.
        template: Of a protocol: the nodes of the volume and of its landmarks.
        transform: What is known of the transform that was computed.
        covered: Share of the grid in which a carried volume has voxels, 0 to 1.
        written: The file of a transform, or of what was carried over.
        text: What was carried over, one phrase.
        notes: What people should know of what was written, phrases.
    """

    kind: str
    number: int = 0
    node: Any = None
    placed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    missingText: str = ""
    kept: tuple[str, ...] = ()
    seconds: float = 0.0
    report: dict = field(default_factory=dict)
    maps: ActivationMaps | None = None
    check: TemplateCheck | None = None
    protocol: TaughtProtocol | None = None
    lesson: str = ""
    template: tuple[Any, Any] | None = None
    transform: TransformSummary | None = None
    covered: float = 1.0
    written: Path | None = None
    text: str = ""
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was placed, learnt, forgotten, carried over or written, in a sentence or two."""
        if self.kind == "carryVolume":
            return f"{self.node.GetName()} is there; it covers {self.covered:.0%} of the grid."
        if self.transform is not None:
            return self.transform.residualText
        if self.kind == "jacobian":
            return self.node.GetDescription()
        if self.kind == "warpTarget":
            return f"{self.node.GetName()} is shown over the template."
        if self.written is not None:
            return " ".join([f"Written to {self.written.name}.", *noteSentences(self.notes)])
        if self.kind == "learn":
            return f"Learnt from this scan: {self.lesson}."
        if self.kind == "template":
            return "Template and landmarks of the protocol are loaded and chosen."
        if self.kind == "forget":
            return "This scan is forgotten, as if it had never been learnt from."
        if self.kind == "alternative":
            parts = [f"{len(self.placed)} moved to the other place"]
        else:
            parts = [f"{len(self.placed)} placed in {self.seconds:.1f} s{self._taughtBy}"]
        if self.missing:
            parts.append(f"{len(self.missing)} not found: {self.missingText}")
        if self.kept:
            parts.append(f"{len(self.kept)} reviewed by you left unchanged: {names_text(self.kept, NAMES_SHOWN)}")
        return "; ".join(parts) + "."

    @property
    def _taughtBy(self) -> str:
        """By how many scans a protocol was taught that has placed the points; empty where none has."""
        protocol = self.report.get("protocol")
        return f" as taught by {countText(protocol['taught_by'], 'scan')}" if protocol else ""
