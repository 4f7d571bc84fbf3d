"""Scans of made people: each anatomy by its name, with landmarks that are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.phantom.abdomen import abdomen
from deepfeatures.phantom.body import Body
from deepfeatures.phantom.deformation import Warp
from deepfeatures.phantom.digits import digits
from deepfeatures.phantom.pelvis import pelvis
from deepfeatures.phantom.render import scan, view_of
from deepfeatures.phantom.spine import spine
from deepfeatures.phantom.teeth import teeth
from deepfeatures.phantom.thorax import thorax
from deepfeatures.phantom.tissues import CONTRASTS


@dataclass(frozen=True)
class Anatomy:
    """How people with this anatomy are made and usually scanned.

    Args:
        body: Draws a person; its second argument says whether what tells repeated or mirrored parts apart is in view.
        spacing_mm: Usual voxel size.
        scale: Size in life beside the size in which the body is described.
    """

    body: Callable[[np.random.Generator, bool], Body]
    spacing_mm: float
    scale: float = 1.0


ANATOMIES: dict[str, Anatomy] = {
    "spine": Anatomy(spine, 1.0),
    "thorax": Anatomy(thorax, 2.0),
    "abdomen": Anatomy(abdomen, 2.2),
    "pelvis": Anatomy(pelvis, 2.2),
    "teeth": Anatomy(teeth, 0.6),
    "digits": Anatomy(digits, 0.8),
    "mouse": Anatomy(thorax, 0.14, scale=0.07),
}


def draw(
    anatomy: str,
    person: int,
    *,
    contrast: str = "t1",
    spacing_mm: float | Sequence[float] | None = None,
    with_ends: bool = True,
    seed: int = 0,
) -> tuple[Volume, LandmarkSet]:
    """Scan a made person.

    Args:
        anatomy: A name of `ANATOMIES`.
        person: A number from 0. It fixes the anatomy: sizes, counts, bends, and a smooth deformation of all of it.
        contrast: A name of `CONTRASTS`: T1- or T2-weighted MR, or CT in HU.
        spacing_mm: Voxel size, one for all axes or one for each of x, y and z; `None` for the usual one.
        with_ends: Whether the view shows what tells repeated or mirrored parts apart, such as the sacrum of a spine.
        seed: Fixes the scan: position, field of view, intensities, bias field and noise.

    Returns:
        The volume, and those landmarks that lie in it, LPS mm.

    Raises:
        InputError: Unknown anatomy or contrast, a number below 0, or a spacing that is not above 0.
    """
    for name, known in ((anatomy, tuple(ANATOMIES)), (contrast, CONTRASTS)):
        if name not in known:
            raise InputError(f'There is no "{name}": choose one of {", ".join(known)}.')
    if person < 0:
        raise InputError(f"People are numbered from 0, got {person}: give another number.")
    kind = ANATOMIES[anatomy]
    spacing = np.broadcast_to(np.asarray(kind.spacing_mm if spacing_mm is None else spacing_mm, float), 3)
    if not (spacing > 0).all():
        raise InputError("The voxel size must be above 0 mm: give one number, or one for each of x, y and z.")
    body = kind.body(np.random.default_rng([person, *anatomy.encode()]), with_ends)
    extent = float(np.max(body.upper - body.lower))
    random = np.random.default_rng([seed, person])
    view = view_of(body, Warp(0.5 * extent, 0.012 * extent, 3 * person), spacing / kind.scale, random)
    volume, landmarks = scan(body, view, contrast, random)
    return _scaled(replace(volume, name=f"{anatomy} {person}"), landmarks, kind.scale)


def _scaled(volume: Volume, landmarks: LandmarkSet, scale: float) -> tuple[Volume, LandmarkSet]:
    places = (scale * landmarks.positions).tolist()
    marks = (replace(mark, position=tuple(place)) for mark, place in zip(landmarks, places, strict=True))
    return replace(volume, origin=scale * volume.origin, spacing=scale * volume.spacing), LandmarkSet(tuple(marks))
