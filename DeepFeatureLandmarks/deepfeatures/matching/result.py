"""What a matcher returns: the landmarks in the target, and all that is known of how they were found."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from deepfeatures.data.landmark_scores import FORMER_NAMES, Scores, with_former_keys
from deepfeatures.data.landmarks import Landmark, LandmarkSet, Rotation
from deepfeatures.data.notes import Note
from deepfeatures.io.provenance import versions
from deepfeatures.matching import devices

if TYPE_CHECKING:
    from deepfeatures.matching.geometry.mapping import PointMapping
    from deepfeatures.matching.groupwise import RegistrationState
    from deepfeatures.matching.pose.estimation import Pose
    from deepfeatures.matching.settings import MatchSettings


@dataclass(frozen=True)
class LandmarkMatch(Scores):
    """One landmark in the target, with its scores.

    Args:
        position: LPS mm, `None` where it was not found.
        evidence: By name, what the expected error was predicted from.
        reason: Why it was not found, one of `missing_reason.REASONS`; empty where it was.
        orientation: See `Landmark`.
    """

    position: tuple[float, float, float] | None
    evidence: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    orientation: Rotation | None = None

    def of(self, landmark: Landmark) -> Landmark:
        """The template's landmark in the target."""
        if self.position is None:
            return missing(landmark, self.reason)
        return Landmark(
            landmark.name,
            self.position,
            "defined",
            landmark.description,
            orientation=self.orientation,
            **self.scores,
            ambiguous=self.ambiguous,
        )


@dataclass(frozen=True, eq=False)
class Alternative:
    """Another way in which the template fits the target: all landmarks moved together.

    Args:
        landmarks: As of `MatchResult`.
        probability: That this is the right one, 0 to 1.
        text: How it differs from the result, one phrase: `"33 mm towards the head"`.
    """

    landmarks: LandmarkSet
    probability: float
    text: str

    def report(self) -> dict[str, Any]:
        """As JSON takes it, with positions, LPS mm."""
        rows = [{**reported(one), "position": one.position and list(one.position)} for one in self.landmarks]
        return {"probability": round(self.probability, 4), "text": self.text, "landmarks": rows}


@dataclass(frozen=True, eq=False)
class MatchResult:
    """The landmarks of a template in a target.

    Args:
        landmarks: One for each of the template's, in the same order and with the same name and description:
            `"defined"` with its scores, or `"missing"` with the reason.
        template_name, target_name: Of the volumes.
        settings: How they were searched, everything chosen.
        intensity: The policy by which voxels were scaled; `None` where each patch is scaled by itself.
        pose: Guided search only: the affine transform that most keypoints agree on.
        consistent_share: Guided search only: share of points whose match in the target is matched back to them.
        mapping: Guided search only: template points to target points, anywhere.
        evidence: Of each landmark, by name, what its expected error was predicted from; empty where there is none.
        spacing_mm: Guided search only: of the finest level as it lies in the target, the unit of the evidence.
        seconds: By stage.
        peak_bytes: The most memory used so far, by the process and on the GPU.
        state: Guided search only: what groupwise refinement goes on from.
        group_size: How many other targets helped to refine it.
        alternatives: Other ways in which the template fits the target nearly as well, the most likely first. The scores
            of the landmarks take into account that one of these may be right.
        tolerance_mm: Of `probability_within_tolerance`.
        calibration: File and SHA-256 of the user's own calibration, `None` for what comes with the package.
        protocol: File, SHA-256 and number of taught scans of the protocol by which landmarks were moved; `None` for
            none.
        notes: What people should know of how the volumes were read, each with the volume's name; the landmarks have
            them, too.
    """

    landmarks: LandmarkSet
    template_name: str
    target_name: str
    settings: MatchSettings
    intensity: str | None = None
    pose: Pose | None = None
    consistent_share: float | None = None
    mapping: PointMapping | None = None
    evidence: tuple[Mapping[str, float], ...] = ()
    spacing_mm: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    state: RegistrationState | None = None
    group_size: int | None = None
    alternatives: tuple[Alternative, ...] = ()
    tolerance_mm: float | None = None
    calibration: Mapping[str, str] | None = None
    protocol: Mapping[str, Any] | None = None
    notes: tuple[Note, ...] = ()

    def report(self) -> dict[str, Any]:
        """All but the mapping, as JSON takes it."""
        found = [reported(landmark) for landmark in self.landmarks]
        for row, evidence in zip(found, self.evidence, strict=False):
            if evidence:
                row["evidence"] = dict(evidence)
        pose, share = self.pose, self.consistent_share
        report = {
            "settings": asdict(self.settings),
            "versions": versions(),
            "device": devices.device_name(torch.device(self.settings.device)),
            "template": self.template_name,
            "target": self.target_name,
            "intensity": self.intensity,
            "pose": pose and {"initialization": pose.initialization, "similarity": round(pose.similarity, 4)},
            "consistent_share": None if share is None else round(share, 4),
            "seconds": {name: round(seconds, 4) for name, seconds in self.seconds.items()},
            "peak_bytes": dict(self.peak_bytes),
            "tolerance_mm": self.tolerance_mm,
            "calibration": None if self.calibration is None else dict(self.calibration),
            "protocol": None if self.protocol is None else dict(self.protocol),
            "alternatives": [one.report() for one in self.alternatives],
            "notes": [note.as_json() for note in self.notes],
            "landmarks": found,
            "deprecated_keys": FORMER_NAMES,
        }
        return report if self.group_size is None else {**report, "group_size": self.group_size}

    def with_places(self, places: Sequence[tuple[Sequence[float], Rotation] | None], **changes: Any) -> MatchResult:
        """The same with found landmarks at other positions, LPS mm, and orientations; `None` leaves one as it is."""
        moved = tuple(
            replace(landmark, position=tuple(map(float, place[0])), orientation=place[1])
            if landmark.is_defined and place is not None
            else landmark
            for landmark, place in zip(self.landmarks, places, strict=True)
        )
        return replace(self, landmarks=replace(self.landmarks, landmarks=moved), **changes)

    # Until version 0.1 `match` returned the landmarks alone: for one version the result serves as them, with a warning.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(LandmarkSet, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        _warn_of_landmarks(name)
        return getattr(self.landmarks, name)

    def __iter__(self) -> Iterator[Landmark]:
        _warn_of_landmarks("iteration")
        return iter(self.landmarks)

    def __len__(self) -> int:
        _warn_of_landmarks("len")
        return len(self.landmarks)

    def __getitem__(self, index: int) -> Landmark:
        _warn_of_landmarks("indexing")
        return self.landmarks[index]


def reported(landmark: Landmark) -> dict[str, Any]:
    """What the report says of a placed landmark."""
    return {
        "name": landmark.name,
        "status": landmark.status,
        **with_former_keys(landmark.scores),
        **({"ambiguous": landmark.ambiguous} if landmark.is_defined else {}),
        **({"reason": landmark.reason} if landmark.reason else {}),
    }


def missing(landmark: Landmark, reason: str) -> Landmark:
    """The same landmark in a target where it has not been found."""
    return Landmark(landmark.name, None, "missing", landmark.description, reason=reason)


def _warn_of_landmarks(what: str) -> None:
    warnings.warn(
        f"match() returns a MatchResult; use its .landmarks ({what} works on the result for one more version)",
        DeprecationWarning,
        stacklevel=3,
    )
