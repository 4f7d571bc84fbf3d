"""The Logic behind the module and the web app: no Qt, no trame, no application; MRML from the calling thread only.

    logic = DeepFeatureLandmarksLogic(scene, WorkerClient())
    logic.onFinished = lambda run: ...
    logic.place(Placement(templateVolume, templateLandmarks, targetVolume))
    # from a QTimer or an asyncio task, about 20 times a second:
    logic.poll()

Whatever cannot work from the start raises `InputError`; what fails later arrives at `onError`. Both are one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from DeepFeatureLandmarksLib.review import ReviewRow
from deepfeatures.worker_client import WorkerClient
from deepfeatures.worker_protocol import PlaceSettings, VolumeArray


@dataclass(frozen=True, eq=False)
class Placement:
    """What is to be placed where.

    Args:
        templateVolume: vtkMRMLScalarVolumeNode in which the landmarks lie.
        templateLandmarks: vtkMRMLMarkupsFiducialNode.
        targetVolume: vtkMRMLScalarVolumeNode in which to find them.
        output: vtkMRMLMarkupsFiducialNode for the result; `None` for a new one, `"<landmarks> in <target>"`.
        settings: See `PlaceSettings`; its defaults are the best measured.
    """

    templateVolume: Any
    templateLandmarks: Any
    targetVolume: Any
    output: Any = None
    settings: PlaceSettings = field(default_factory=PlaceSettings)


@dataclass(frozen=True, eq=False)
class Run:
    """What `onFinished` is told.

    Args:
        kind: `"place"`, `"placeAgain"`, `"activations"`, `"distanceMap"`.
        number: Of the run of this output node, from 1; 0 for maps.
        node: The markups node that was filled, or the volume node of a map.
        placed: Names of points that were placed.
        missing: Names that were not found.
        kept: Names that were left alone because a person had locked, moved or made the point.
        seconds: From the request to its result.
        report: The matcher's own report.
        maps: Of activations: all channels, for a mosaic and `showChannel`.
    """

    kind: str
    number: int
    node: Any
    placed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    seconds: float = 0.0
    report: dict = field(default_factory=dict)
    maps: ActivationMaps | None = None


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


class DeepFeatureLandmarksLogic:
    """See the module's docstring.

    Args:
        scene: vtkMRMLScene.
        client: A `WorkerClient`, or what behaves like one; the Logic does not close it.

    Attributes:
        onProgress: Called with `(fraction, text)`.
        onFinished: Called with a `Run`.
        onError: Called with a sentence. A cancelled run ends here too, with "cancelled" in words.
        catalog: `None` until the worker has answered `requestCatalog`; then its `hello`: `versions` (name -> version),
            `devices` (names that can be chosen), `networks` (list of dicts: `name`, `summary`, `weights`, `licence`,
            `parameters`, `paper_number`, `default_layer`, `layers`: list of `name`, `channels`, `stride`,
            `receptive_field` in voxels, `available`), `best` (`network`, `layer`, `patch_size` of the defaults).
    """

    def __init__(self, scene, client: WorkerClient):
        raise NotImplementedError

    @property
    def isBusy(self) -> bool:
        """Whether a request is on its way."""

    def poll(self) -> None:
        """Apply what the worker has sent to the scene. Call it often, from the thread that owns the scene."""

    def close(self) -> None:
        """Let go of the scene; a running request is cancelled."""

    def requestCatalog(self) -> None:
        """Ask the worker for `catalog`; `onFinished` is called with a run of kind `"catalog"` and no node."""

    def whyNot(self, placement: Placement) -> str:
        """Why `place` would refuse, in one sentence; empty where it would not."""

    def prepare(self, placement: Placement) -> None:
        """Let the worker read both volumes ahead of the first `place`; says nothing when it is done."""

    def place(self, placement: Placement) -> None:
        """Place all landmarks; ends in `onFinished` or `onError`."""

    def placeAgain(self, placement: Placement, name: str) -> None:
        """Place one landmark again, for example with other settings; ends in `onFinished` or `onError`."""

    def cancel(self) -> None:
        """End the running request within 1 s; the scene stays as it was. Ends in `onError`."""

    def revertLastRun(self, output) -> tuple[str, ...]:
        """Put the points back to where they were before the last run; returns the names of those that changed.

        Points that a person has locked or moved since then stay.
        """

    def history(self, output) -> list[dict]:
        """Runs of an output node, the oldest first: `number`, `time`, `network`, `layer`, `patchSize`, `search`,
        `versions`, `template`, `target`, `names`, `reverted`."""

    def reviewRows(self, output) -> list[ReviewRow]:
        """One row a control point, the most doubtful first."""

    def nextUncertain(self, output, after: int | None = None) -> int | None:
        """Index of the most doubtful control point that nobody has judged yet; with `after`, of the one behind it.

        `None` where all have been judged.
        """

    def accept(self, output, index: int) -> None:
        """Lock a point: it is right, or a person has moved it to where it is right."""

    def correct(self, output, index: int, ras) -> None:
        """Move a point to `ras`, world mm, and lock it. A point dragged by hand needs no call: it is recognised."""

    def reject(self, output, index: int) -> None:
        """Take a point's position away: it is wrong. The next run may propose another."""

    def activationMaps(self, placement: Placement, name: str, *, inTarget: bool = True) -> None:
        """All channels around a landmark, in the target (where it was placed) or the template; see `Run.maps`."""

    def activationMap(self, maps: ActivationMaps, channel: int):
        """One channel as a scalar volume node beneath its volume in the subject hierarchy; one node is kept and
        refilled."""

    def distanceMap(self, placement: Placement, name: str) -> None:
        """Feature distance to one landmark everywhere in the target, as a volume node beneath it: `Run.node`."""

    def qualityTable(self, reference, placed):
        """vtkMRMLTableNode with the distance in mm between a person's points and placed ones of the same name."""
