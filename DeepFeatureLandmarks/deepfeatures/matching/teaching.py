"""Teaching: a scan whose landmarks a person has accepted or corrected, as a protocol learns it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
import torch

from deepfeatures.data.landmark_names import match_names
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.image_names import person_of
from deepfeatures.io.provenance import now
from deepfeatures.matching.learning.protocol import Protocol
from deepfeatures.matching.learning.taught_scan import TaughtScan
from deepfeatures.matching.matcher import Matcher

UNMOVED_MM = 0.05  # a point nearer to where the search alone has put it was accepted, where nobody says otherwise
DECIMALS = 3  # of the geometry in a scan's key: headers round


def teach(
    matcher: Matcher,
    protocol: Protocol,
    scan: Volume,
    points: LandmarkSet,
    *,
    name: str | None = None,
    person: str | None = None,
    corrected: Collection[str] | None = None,
) -> TaughtScan:
    """What a scan teaches; nothing is learnt until it is given to the protocol, see `Protocol.with_scans`.

    Args:
        matcher: With the features of the protocol.
        protocol: Whose landmarks are meant.
        scan: The volume.
        points: Where a person says that the landmarks lie, by name; those without a position teach nothing.
        name: Of the scan; by default the volume's.
        person: Whose scan it is; by default what the name says, see `person_of`.
        corrected: Names of the points that the person has moved or placed. `None`: those that lie elsewhere than the
            search alone puts them.

    Raises:
        InputError: No point has the name of a landmark, one lies outside the scan, the scan is the template, or it does
            not show the template's anatomy.
    """
    if matcher.features_key != protocol.features:
        raise InputError(f"The protocol was learnt with the features {protocol.features}; use the same.")
    name = name or scan.name
    key = scan_key(scan)
    if key == scan_key(protocol.template):
        raise InputError(f"{name} is the template itself; teach with other scans.")
    renamed = match_names(points, protocol.landmarks).renamed(points)
    by_name = {one.name: one for one in renamed if one.is_defined}
    if corrected is not None:
        corrected = {one.name for given, one in zip(points, renamed, strict=True) if given.name in corrected}
    positions = np.array(
        [by_name[one.name].position if one.name in by_name else (np.nan,) * 3 for one in protocol.landmarks], float
    )
    if np.isnan(positions).all():
        raise InputError(f"No point of {name} has a position and the name of a landmark of the protocol.")
    outside = ~scan.contains(positions) & ~np.isnan(positions).any(1)
    if outside.any():
        wrong = protocol.landmarks[int(outside.argmax())].name
        raise InputError(f"{wrong} lies outside {name}; check that the points are of this scan.")
    tensors = matcher.teach(protocol.template, protocol.landmarks, scan, positions)
    moved = _corrected(protocol.landmarks, corrected, tensors)
    return TaughtScan(name, person or person_of(name), key, now(), **tensors, corrected=moved)


def observe(matcher: Matcher, protocol: Protocol, scan: Volume) -> TaughtScan:
    """A scan in which nobody has looked at anything yet: it teaches nothing, and shows what there is to learn.

    Args:
        matcher, protocol, scan: See `teach`, as for what is raised.
    """
    nowhere = np.full((len(protocol.landmarks), 3), np.nan)
    tensors = matcher.teach(protocol.template, protocol.landmarks, scan, nowhere)
    moved = torch.zeros(len(nowhere), dtype=torch.bool)
    return TaughtScan(scan.name, person_of(scan.name), scan_key(scan), now(), **tensors, corrected=moved)


def scan_key(volume: Volume) -> str:
    """SHA-256 of voxels and geometry: the same scan in another file, or by another name, is the same."""
    content = hashlib.sha256(np.ascontiguousarray(volume.voxels.cpu().numpy(), "<f4"))
    geometry = np.concatenate([volume.origin, volume.spacing, volume.direction.ravel()]).round(DECIMALS) + 0.0
    content.update(np.ascontiguousarray(geometry, "<f8"))
    return content.hexdigest()


def _corrected(landmarks: LandmarkSet, names: Collection[str] | None, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Which landmarks a person has moved or placed, `(L,)`."""
    if names is not None:
        return torch.tensor([landmark.name in names for landmark in landmarks])
    apart = (tensors["true"] - tensors["found"]) @ tensors["voxel_to_mm"].T
    return apart.norm(dim=1).nan_to_num(0.0) > UNMOVED_MM
