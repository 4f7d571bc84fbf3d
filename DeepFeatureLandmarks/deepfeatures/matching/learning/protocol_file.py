"""The file of a protocol, `.dflp`: a zip archive of JSON and safetensors; nothing in it can be executed.

It holds the template's voxels, for the search starts from them. Of taught scans it holds features around the
landmarks, offsets, the evidence, names and times, and no voxels.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.notes import Note
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import atomic_write
from deepfeatures.matching.learning import landmark_head, taught_scan
from deepfeatures.matching.learning.landmark_head import LandmarkHead
from deepfeatures.matching.learning.leave_one_out import LeftOut
from deepfeatures.matching.learning.protocol import Definition, Learnt, Protocol
from deepfeatures.matching.learning.taught_scan import TaughtScan
from deepfeatures.matching.uncertainty.calibration_file import model_from_json
from deepfeatures.matching.uncertainty.error_model import to_values

SUFFIX = ".dflp"
FORMAT, VERSION = "deepfeatures protocol", 1
CONTENT, TEMPLATE, HEAD = "protocol.json", "template.safetensors", "head.safetensors"
MOST_BYTES = 8 << 30  # of all parts together, unpacked
MOST_BYTES_OF_JSON = 64 << 20
SHORT = 32767  # voxels that are whole numbers up to this take two bytes
WRITTEN = (1980, 1, 1, 0, 0, 0)  # of every part: a protocol that has learnt the same is the same file


def write_protocol(protocol: Protocol, path: str | Path) -> None:
    """Write a protocol, whole or not at all; the same protocol is always the same file.

    Raises:
        InputError: The folder cannot be written to.
    """
    with (
        atomic_write(path, SUFFIX) as draft,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as file,
    ):
        for name, data in _parts(protocol):
            part = zipfile.ZipInfo(name, WRITTEN)
            part.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(part, data)


def read_protocol(path: str | Path) -> Protocol:
    """A protocol that `write_protocol` has written.

    Raises:
        InputError: The file cannot be read, is no protocol, is damaged, or is of a later version.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            sizes = {part.filename: part.file_size for part in file.infolist()}
            if CONTENT not in sizes or sizes[CONTENT] > MOST_BYTES_OF_JSON or sum(sizes.values()) > MOST_BYTES:
                raise _no_protocol(path)
            return _checked(file, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The protocol {path} cannot be read ({reason}); give a file that exists.") from error
    except zipfile.BadZipFile as error:
        raise _no_protocol(path) from error


def _checked(file: zipfile.ZipFile, path: Path) -> Protocol:
    """The protocol in an open archive."""
    try:
        content = json.loads(file.read(CONTENT))
    except Exception as error:  # of the readers of zip and JSON, whatever the damage
        raise _damaged(path) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _no_protocol(path)
    if content.get("version") != VERSION:
        raise InputError(
            f"The protocol {path} is of version {content.get('version')}, and this deepfeatures reads version"
            f" {VERSION}; update deepfeatures."
        )
    try:
        return _protocol(content, file.read)
    except Exception as error:  # of the readers of zip and safetensors, whatever the damage
        raise _damaged(path) from error


def _no_protocol(path: Path) -> InputError:
    return InputError(f"{path} is no landmark protocol; give a file that deepfeatures learn has written.")


def _damaged(path: Path) -> InputError:
    return InputError(f"The protocol {path} is damaged; take an earlier copy, or learn the scans anew.")


def _parts(protocol: Protocol) -> list[tuple[str, bytes]]:
    """Names and contents, in the order of the file."""
    pictures, definitions = [], {}
    for name, definition in sorted(protocol.definitions.items()):
        definitions[name] = {"text": definition.text, "link": definition.link, "picture": None}
        if definition.picture is not None:
            definitions[name]["picture"] = f"pictures/{len(pictures)}"
            pictures.append((f"pictures/{len(pictures)}", definition.picture))
    learnt, template = protocol.learnt, protocol.template
    content = {
        "format": FORMAT,
        "version": VERSION,
        "features": protocol.features,
        "made": dict(protocol.made),
        "template": {
            "name": template.name,
            "modality": template.modality,
            "notes": [note.as_json() for note in template.notes],
            **{key: getattr(template, key).tolist() for key in ("origin", "spacing", "direction")},
        },
        "list": protocol.landmarks.name,
        "landmarks": [
            {"name": one.name, "position": list(one.position or ()), "description": one.description}
            for one in protocol.landmarks
        ],
        "definitions": definitions,
        "scans": [
            {"name": scan.name, "person": scan.person, "key": scan.key, "learnt": scan.learnt}
            for scan in protocol.scans
        ],
        "calibration": learnt and learnt.model and to_values(learnt.model),
    }
    text = json.dumps(content, indent=1).encode()
    parts = [(CONTENT, text), (TEMPLATE, _bytes({"voxels": _short(template.voxels)})), *pictures]
    if learnt is not None:
        head = {name: getattr(learnt.head, name) for name in landmark_head.TENSORS}
        parts.append((HEAD, _bytes(head | vars(learnt.left_out))))
    for scan in protocol.scans:
        parts.append((_part_of(scan.key), _bytes({name: getattr(scan, name) for name in taught_scan.TENSORS})))
    return parts


def _protocol(content: dict[str, Any], read: Any) -> Protocol:
    template = content["template"]
    voxels = _tensors(read(TEMPLATE))["voxels"].float()
    geometry = {key: np.array(template[key], float) for key in ("origin", "spacing", "direction")}
    landmarks = tuple(
        Landmark(one["name"], tuple(map(float, one["position"])), description=one["description"])
        for one in content["landmarks"]
    )
    definitions = {
        name: Definition(one["text"], one["picture"] and read(one["picture"]), one["link"])
        for name, one in content["definitions"].items()
    }
    scans = tuple(TaughtScan(**one, **_scan_tensors(read(_part_of(one["key"])))) for one in content["scans"])
    protocol = Protocol(
        Volume(
            voxels,
            **geometry,
            name=template["name"],
            modality=template["modality"],
            notes=tuple(map(Note.from_json, template["notes"])),
        ),
        LandmarkSet(landmarks, content["list"]),
        content["features"],
        definitions,
        scans,
        made=content["made"],
    )
    _check(protocol)
    return protocol if content["calibration"] is None and not scans else _with_learnt(protocol, content, read)


def _with_learnt(protocol: Protocol, content: dict[str, Any], read: Any) -> Protocol:
    try:
        tensors = _tensors(read(HEAD))
    except KeyError:  # taught by too few
        return protocol
    head = LandmarkHead(**{name: tensors[name] for name in landmark_head.TENSORS})
    _check_finite(head.__dict__)
    count, width = len(protocol.landmarks), protocol.scans[0].true_jets.shape[2]
    _check_shapes(head.__dict__, {"offset": (count, 3), "regression": (count, width, 3), "votes": (count, width, 3)})
    left_out = LeftOut(**{name: tensors[name] for name in ("before_mm", "after_mm", "judged", "odd")})
    model = content["calibration"] and model_from_json(content["calibration"])
    if content["calibration"] and model is None:
        raise ValueError("calibration")
    return replace(protocol, learnt=Learnt(head, model, left_out))


def _check(protocol: Protocol) -> None:
    """Raise where numbers cannot be what `write_protocol` has written."""
    positions = [one.position or () for one in protocol.landmarks]
    if not all(len(position) == 3 and all(map(math.isfinite, position)) for position in positions):
        raise ValueError("landmarks")
    protocol.template.require_finite()
    count = len(protocol.landmarks)
    for scan in protocol.scans:
        tensors = {name: getattr(scan, name) for name in taught_scan.TENSORS}
        _check_finite({name: tensor for name, tensor in tensors.items() if name != "true"})
        _check_shapes(tensors, {"true": (count, 3), "found": (count, 3), "corrected": (count,)})
        _check_shapes(tensors, {"voxel_to_mm": (3, 3), "spacing_mm": (1,), "true_scales": (count,)})


def _check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.float()).all()):
            raise ValueError(name)


def _check_shapes(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(name)


def _scan_tensors(data: bytes) -> dict[str, torch.Tensor]:
    found = _tensors(data)
    return {name: found[name] for name in taught_scan.TENSORS}


def _part_of(key: str) -> str:
    return f"scans/{key}.safetensors"


def _short(voxels: torch.Tensor) -> torch.Tensor:
    """Voxels as whole numbers of two bytes where that is exact."""
    short = voxels.clamp(-SHORT, SHORT).to(torch.int16)
    return short if bool((short == voxels).all()) else voxels


def _bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())})


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load(data)
