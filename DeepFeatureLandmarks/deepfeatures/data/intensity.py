"""Intensity policies: one rule by which the voxels of template and target are scaled to the range of the networks.

Values of CT have a meaning, Hounsfield units, which scaling should keep. Values of MR have none: only their rank among
the values of the same volume counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from deepfeatures.data.hounsfield import looks_like_hounsfield
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.data.volume import Volume

Scaling = Callable[[torch.Tensor], torch.Tensor]

HALF_RANGE = 127.5
TAIL_FRACTION = 0.01  # of the voxels, clipped at either end of the intensities
SAMPLE_VOXELS = 1 << 20  # from which percentiles are taken
CHUNK = 1 << 22  # voxels ranked at a time
DEVIATIONS = 3.0  # standard deviations from the mean to the end of the range
HU_WINDOW = (-1000.0, 1000.0)  # air to dense bone

CT = "CT"
NOT_HU = "modality is CT but values do not look like Hounsfield units"


def choose_policy(policy: str, template: Volume, target: Volume) -> str:
    """The policy for an intensity of `MatchSettings`.

    `"auto"` is `"hu"` where the values of both volumes look like Hounsfield units and neither file says that it is
    something else than CT, else `"percentile"`.

    Raises:
        InputError: Hounsfield units are chosen for a volume that is known not to be CT.
    """
    if policy == "hu":
        for volume in (template, target):
            if volume.modality not in (None, "", CT):
                raise InputError(
                    f"{volume.name} is {volume.modality} and has no Hounsfield units; choose another intensity policy."
                )
    if policy != "auto":
        return policy
    return "hu" if _has_hounsfield_units(template) and _has_hounsfield_units(target) else "percentile"


def notes_on_values(volume: Volume) -> tuple[Note, ...]:
    """A note where a volume is called CT, but its values are not Hounsfield units, as of cone-beam and micro-CT."""
    if volume.modality != CT or _has_hounsfield_units(volume):
        return ()
    return (Note(NoteKind.INTENSITY, f"{NOT_HU}: with automatic intensity they are scaled by percentiles"),)


def notes_on_policy(policy: str, *volumes: Volume) -> tuple[Note, ...]:
    """Notes on how the values of volumes, each by its name, fit the intensity that the user chose."""
    if policy != "hu":
        return tuple(note.of(volume.name) for volume in volumes for note in notes_on_values(volume))
    note = Note(NoteKind.INTENSITY, "values do not look like the Hounsfield units as which they are taken")
    return tuple(note.of(volume.name) for volume in volumes if not _has_hounsfield_units(volume))


def scaling(policy: str, template: torch.Tensor) -> Scaling:
    """The function that scales the voxels of both volumes; it keeps shapes and the order of intensities.

    Args:
        policy: `"percentile"`, `"zscore"`, `"hu"`, `"histogram"` or `"rank"`.
        template: The template's voxels, whose histogram `"histogram"` gives to both.
    """
    if policy == "histogram":
        return partial(match_histogram, like=template)
    return {"percentile": scale_percentiles, "zscore": scale_deviations, "hu": scale_hu, "rank": scale_ranks}[policy]


def scale_volume(voxels: torch.Tensor) -> torch.Tensor:
    """All voxels from their minimum and maximum to [-127.5, 127.5], as the authors' code does; flat ones to zeros."""
    low, high = voxels.min(), voxels.max()
    if low == high:
        return torch.zeros_like(voxels)
    return (voxels - low) / (high - low) * (2 * HALF_RANGE) - HALF_RANGE


def scale_percentiles(voxels: torch.Tensor) -> torch.Tensor:
    """All voxels from their 1st and 99th percentile to [-127.5, 127.5], the rest clipped; a flat volume to zeros.

    The paper scales each patch by its own extremes. The extremes of a whole volume are often a vessel or a defect.
    Scaled by them, two scans of one contrast differ in brightness, and random features find the nearest grey value
    instead of the nearest shape.
    """
    sample = _sorted_sample(voxels)
    tail = int(TAIL_FRACTION * (len(sample) - 1))
    low, high = sample[tail], sample[len(sample) - 1 - tail]
    if low == high:
        low, high = voxels.min(), voxels.max()
    if low == high:
        return torch.zeros_like(voxels)
    return ((voxels - low) / (high - low) * (2 * HALF_RANGE) - HALF_RANGE).clamp_(-HALF_RANGE, HALF_RANGE)


def scale_deviations(voxels: torch.Tensor) -> torch.Tensor:
    """Mean to 0, three standard deviations to 127.5, nothing clipped; a flat volume to zeros."""
    if voxels.min() == voxels.max():
        return torch.zeros_like(voxels)
    deviation, mean = torch.std_mean(voxels, correction=0)
    return (voxels - mean) * (HALF_RANGE / (DEVIATIONS * deviation))


def scale_hu(voxels: torch.Tensor) -> torch.Tensor:
    """-1000 to 1000 Hounsfield units to [-127.5, 127.5], the rest clipped: one tissue has one value in all volumes."""
    low, high = HU_WINDOW
    return ((voxels - low) * (2 * HALF_RANGE / (high - low)) - HALF_RANGE).clamp_(-HALF_RANGE, HALF_RANGE)


def scale_ranks(voxels: torch.Tensor) -> torch.Tensor:
    """The share of voxels that are darker, 0 to 1, as [-127.5, 127.5]: the same after any change that keeps the order.

    Voxels of one intensity have one rank, the middle of those they take up; a flat volume becomes zeros.
    """
    return _map_ranks(voxels, lambda ranks: (ranks * 2 - 1) * HALF_RANGE)


def match_histogram(voxels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Each voxel to the intensity that has the same rank in the volume `like`, scaled as `scale_percentiles` does that.

    A flat volume becomes zeros.
    """
    if voxels.min() == voxels.max():
        return torch.zeros_like(voxels)
    known = _sorted_sample(like)
    known = scale_percentiles(known)

    def value_of(ranks: torch.Tensor) -> torch.Tensor:
        places = (ranks * len(known) - 0.5).clamp(0, len(known) - 1)
        below = places.long()
        return torch.lerp(known[below], known[(below + 1).clamp(max=len(known) - 1)], (places - below).to(known.dtype))

    return _map_ranks(voxels, value_of)


def _map_ranks(voxels: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`value` of each voxel's rank, 0 to 1 in float64."""
    sample = _sorted_sample(voxels)

    def map_chunk(part: torch.Tensor) -> torch.Tensor:
        darker, not_brighter = torch.searchsorted(sample, part), torch.searchsorted(sample, part, right=True)
        return value((darker + not_brighter).double() / (2 * len(sample))).to(voxels.dtype)

    return torch.cat([map_chunk(part) for part in voxels.flatten().split(CHUNK)]).reshape(voxels.shape)


def _sample(voxels: torch.Tensor) -> torch.Tensor:
    flat = voxels.flatten()
    return flat[:: max(1, len(flat) // SAMPLE_VOXELS)]


def _sorted_sample(voxels: torch.Tensor) -> torch.Tensor:
    return _sample(voxels).sort().values


def _has_hounsfield_units(volume: Volume) -> bool:
    return volume.modality in (None, "", CT) and looks_like_hounsfield(volume.voxels, volume.modality == CT)
