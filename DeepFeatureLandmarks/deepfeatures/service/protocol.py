"""What the worker and its client say to each other, as plain data: no PyTorch, so that a user interface stays light.

A message is one line of JSON. Requests: `hello`, `encode`, `match`, `activations`, `distances`,
`check_templates`, `protocol`, `protocol_template`, `learn`, `forget`, `transform`, `write_transform`, `warp`,
`warp_file`, `jacobian`, `cancel`, `shutdown`.
Events: `started` (which stays with the client), `progress`, `interim`, `result`, `error`. Voxels travel as `.npy` files
in the client's private folder.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.notes import Note
from deepfeatures.matching.settings import MatchSettings

if TYPE_CHECKING:
    from deepfeatures.matching.result import Alternative

VOLUMES_KEPT = 4  # by the worker in memory and by the client on disk: two pairs


@dataclass(frozen=True, eq=False)
class VolumeArray:
    """A volume as `deepfeatures.Volume` has it, its voxels in a numpy array.

    Args:
        voxels: float32, shape `(depth, height, width)`.
        origin: LPS mm of the centre of the first voxel, shape `(3,)`.
        spacing: mm along x, y, z, shape `(3,)`.
        direction: Columns are the LPS unit vectors along which x, y and z grow, shape `(3, 3)`.
        name: What messages call it.
        modality: DICOM modality such as `"CT"` where it is known.
        notes: What people should know about how it was read.
    """

    voxels: np.ndarray
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    spacing: np.ndarray = field(default_factory=lambda: np.ones(3))
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    name: str = "volume"
    modality: str | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, eq=False)
class AlternativePlacement:
    """`deepfeatures.matching.result.Alternative` without what needs PyTorch: another way in which the template fits.

    Args:
        landmarks: All of them, as they would lie then.
        probability: That this is the right one, 0 to 1.
        text: How it differs from the result, one phrase.
    """

    landmarks: LandmarkSet
    probability: float
    text: str


@dataclass(frozen=True, eq=False)
class Event:
    """What became of a request.

    Args:
        request: The number that the client's method returned.
        kind: `"progress"`, `"interim"`, `"result"` or `"error"`; the last two end the request.
        fraction: Done, from 0 to 1; of progress.
        text: What is being done, or the sentence of an error: the cause and what a person can do about it.
        cause: Of an error: `"input"`, `"memory"`, `"missing"` (no PyTorch), `"crash"`, `"cancelled"` or `"bug"`.
        content: `interim`: `landmarks` (`LandmarkSet`: where they are so far). Of a
            result. `hello`: see `capabilities.describe`. `match`: `landmarks` (`LandmarkSet`), `report`
            (the matcher's), `alternatives` (tuple of `AlternativePlacement`). `activations`: `maps` (tuple of
            `VolumeArray`, one a channel), `source` (`VolumeArray`, the patch), `complete` (bool), `layer`. `distances`:
            `map` (`VolumeArray`). `check_templates`: what `quality.template_report.as_json` returns. `protocol`,
            `learn`, `forget`: what `service.learning.describe` returns, and `key` of a scan that was learnt.
            `protocol_template`: `volume` (`VolumeArray`) and `landmarks`. `encode`: empty. `transform`: `path`, `kind`,
            `names`, `residuals_mm`, `folded_share`, `notes`, `file_notes` and `description`. Its kind is a lower one
            where the points settle no other; the share is of the template, 0 to 1; notes are phrases; the description
            states the direction. `write_transform`: `path`, `notes`. `warp`: `volume` (`VolumeArray`) and
            `covered_share` (of its grid, 0 to 1). `warp_file`: `path`, `text` (on what was written), `notes`.
            `jacobian`: `map` (`VolumeArray`: the determinant, above 1 where the target is larger).
    """

    request: int
    kind: str
    fraction: float = 0.0
    text: str = ""
    cause: str = ""
    content: dict[str, Any] = field(default_factory=dict)


def volume_to_json(volume: VolumeArray) -> dict[str, Any]:
    """All but the voxels; `key` names their file and stands for their content."""
    voxels = np.ascontiguousarray(volume.voxels, np.float32)
    content = hashlib.blake2b(voxels, digest_size=16)
    geometry = {name: np.asarray(getattr(volume, name), float).tolist() for name in ("origin", "spacing", "direction")}
    content.update(repr((voxels.shape, geometry, volume.name, volume.modality, volume.notes)).encode())
    notes = [note.as_json() for note in volume.notes]
    return {"key": content.hexdigest(), "name": volume.name, "modality": volume.modality, "notes": notes, **geometry}


def volume_from_json(message: dict[str, Any], folder: Path) -> VolumeArray:
    """The volume with the voxels that lie in the folder."""
    geometry = {name: np.array(message[name], float) for name in ("origin", "spacing", "direction")}
    voxels = np.load(voxel_file(message["key"], folder), allow_pickle=False)
    notes = tuple(map(Note.from_json, message.get("notes", ())))
    return VolumeArray(voxels, **geometry, name=message["name"], modality=message["modality"], notes=notes)


def voxel_file(key: str, folder: Path) -> Path:
    """Where the voxels of a key lie; keys are letters, digits and dashes, so that no file outside can be named."""
    if not key.replace("-", "").isalnum():
        raise ValueError(f"{key!r} is no key")
    return folder / f"{key}.npy"


def landmarks_to_json(landmarks: Iterable[Landmark]) -> list[dict[str, Any]]:
    return [asdict(landmark) for landmark in landmarks]


def landmarks_from_json(messages: Iterable[dict[str, Any]]) -> LandmarkSet:
    landmarks = []
    for message in messages:
        position, rows = message["position"], message.get("orientation")
        known = {
            "position": None if position is None else tuple(position),
            "orientation": None if rows is None else tuple(map(tuple, rows)),
        }
        landmarks.append(Landmark(**{**message, **known}))
    return LandmarkSet(tuple(landmarks))


def alternatives_to_json(alternatives: Iterable[Alternative | AlternativePlacement]) -> list[dict[str, Any]]:
    return [
        {"landmarks": landmarks_to_json(one.landmarks), "probability": one.probability, "text": one.text}
        for one in alternatives
    ]


def alternatives_from_json(messages: Iterable[dict[str, Any]]) -> tuple[AlternativePlacement, ...]:
    return tuple(
        AlternativePlacement(landmarks_from_json(one["landmarks"]), one["probability"], one["text"]) for one in messages
    )


def __getattr__(name: str) -> Any:
    if name == "PlaceSettings":
        warnings.warn("PlaceSettings is now deepfeatures.MatchSettings", DeprecationWarning, stacklevel=2)
        return MatchSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
