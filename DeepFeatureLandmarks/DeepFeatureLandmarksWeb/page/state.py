"""What the page shows, as typed fields; tables are lists of dicts because that is what the page can read."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepfeatures.data.landmarks import LANDMARK_SUFFIXES

DROPPED_AS_LANDMARKS = tuple(suffix for suffix in LANDMARK_SUFFIXES if suffix != ".dcm")  # that is a volume more often


@dataclass
class SideState:
    """Header of one side."""

    title: str = ""
    facts: str = ""
    notes: list[str] = field(default_factory=list)  # on how the volume was read, one sentence each
    series: list = field(default_factory=list)  # of an opened folder, while a person has yet to choose one
    low: float = 0.0
    high: float = 1.0
    window: list[float] = field(default_factory=lambda: [0.0, 1.0])
    upload: float = -1.0  # percent, below 0 while nothing is on its way


@dataclass
class ProtocolState:
    """The landmark protocol in use. Texts are sentences, empty where there is nothing to say."""

    title: str = ""  # of its file; empty for none
    content: str = ""
    misfit: str = ""  # why it is not for what is open as the template
    unused: str = ""
    taught: str = ""
    errors: str = ""
    doubts: str = ""
    landmarks: list = field(default_factory=list)  # that were taught
    scans: list[str] = field(default_factory=list)  # that taught, one line each
    refusal: str = ""  # why nothing can be learnt from this scan now
    is_scan_taught: bool = False  # whether this scan is among them
    is_downloaded: bool = True  # since it has learnt or forgotten something
    definition: dict = field(
        default_factory=lambda: {"name": "", "text": "", "picture": "", "link": ""}
    )  # of `current`


@dataclass
class TransformState:
    """The transform from template to target. Texts are sentences, empty where there is nothing to say."""

    kinds: list = field(default_factory=list)  # that can be chosen, each with what it is for
    kind: str = "tps"
    refusal: str = ""  # why nothing can be computed now
    title: str = ""  # of what was computed; empty for nothing
    fit: str = ""  # how near it comes to the points, and whether it folds
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)  # a line a point, and how exact its file is
    outdated: str = ""  # why it should be computed again
    view: str = ""  # what lies over the template: `"blend"`, `"checkerboard"`, `"jacobian"`, or nothing
    share: float = 0.5  # of the target in the blend
    way: str = "target"  # of files that are carried over: where to
    carried: list = field(default_factory=list)  # the last one first


@dataclass
class PageState:
    """Everything else; `message` is an error in words, `notice` good news."""

    template: SideState = field(default_factory=SideState)
    target: SideState = field(default_factory=SideState)
    protocol: ProtocolState = field(default_factory=ProtocolState)
    transform: TransformState = field(default_factory=TransformState)
    tab: str = "place"
    is_3d: bool = False
    is_windowing: bool = False
    enlarged: str = ""
    message: str = ""
    notice: str = ""
    is_loading: bool = False
    loading_text: str = ""

    landmarks: list = field(default_factory=list)
    landmark_notes: list[str] = field(default_factory=list)  # on how their file was read, one sentence each
    landmark_suffixes: list[str] = field(default_factory=lambda: [*DROPPED_AS_LANDMARKS])
    is_marking: bool = False

    is_busy: bool = False
    progress: float = 0.0
    progress_text: str = ""
    interim_updates: int = 0  # how often the points have moved in this run
    validation_message: str = "Open a template and a target, or try the demo pair."
    can_revert: bool = False

    preset: str = "best"
    networks: list = field(default_factory=list)
    network: str = ""
    layers: list = field(default_factory=list)
    layer: str = ""
    patch_size: str = ""  # as typed, which may be no number
    intensity: str = "auto"
    devices: list = field(default_factory=lambda: [{"title": "automatic", "value": "auto"}])
    device: str = "auto"
    tolerance: str = ""  # in mm, as typed; empty for the default
    feature_note: str = ""

    rows: list = field(default_factory=list)
    run_notes: list[str] = field(default_factory=list)  # on the run, not on the volumes, one sentence each
    current: str = ""
    known_scores: list = field(default_factory=list)  # names of those with a column
    reviewed: int = 0
    pending: int = 0
    are_circles_shown: bool = True
    are_points_turned: bool = False  # whether any placed point has an orientation
    are_arrows_shown: bool = False

    ambiguity: str = ""  # where all points may lie instead, in sentences
    other_places: list = field(default_factory=list)
    compared: int = -1  # number of the place that the left views show, below 0 for none

    inspected_landmark: str = ""
    channel: int = 0
    channels: int = 0
    mosaic: str = ""
    mosaic_first: int = 0
    mosaic_rows: int = 1
    mosaic_note: str = ""
    patches: str = ""
    overlay: str = ""
    overlay_note: str = ""
    overlay_opacity: float = 0.5

    quality_rows: list = field(default_factory=list)
    quality_columns: list = field(default_factory=list)  # names of the columns that any row has
    quality_note: str = ""
    template_rows: list = field(default_factory=list)
    template_advice: str = ""
    reference_notes: list[str] = field(default_factory=list)  # as `landmark_notes`, of the second set
    is_reference_shown: bool = False
