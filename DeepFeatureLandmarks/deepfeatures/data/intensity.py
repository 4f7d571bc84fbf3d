"""Intensity policies: how the voxels of template and target, both by one rule, are brought to the range of networks.

Some scanners' numbers mean something (CT: Hounsfield units) and should keep it; others' (MR) mean nothing alone, and
only their place among the volume's other numbers counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.data.volume import Volume

Scaling = Callable[[torch.Tensor], torch.Tensor]

HALF_RANGE = 127.5
TAILS = 0.01  # part of the voxels at either end of the intensities that is clipped
SAMPLES = 1 << 20  # voxels that percentiles are taken from
CHUNK = 1 << 22  # voxels ranked at a time
DEVIATIONS = 3.0  # standard deviations from the mean to the end of the range
HU_WINDOW = (-1000.0, 1000.0)  # air to dense bone

CT = "CT"
# A CT shows air or lung, and soft tissue, and little else; numbers that mean nothing rarely pile up at both places.
HU_AIR, HU_LEAST_AIR = (-3100.0, -600.0), 0.01  # with what scanners put outside their field of view
HU_SOFT, HU_LEAST_BOTH = (-200.0, 200.0), 0.7


def choose_policy(wanted: str, template: Volume, target: Volume) -> str:
    """The policy for an intensity of `MatchSettings`: `"auto"` is `"hu"` where both are CT, else `"percentile"`.

    A volume is CT where its file says so, and where the file says nothing, if its values look like Hounsfield units.

    Raises:
        InputError: Hounsfield units are wanted of a volume that is known not to be CT.
    """
    if wanted == "hu":
        for volume in (template, target):
            if volume.modality not in (None, "", CT):
                raise InputError(
                    f"{volume.name} is {volume.modality} and has no Hounsfield units; choose another intensity policy."
                )
    if wanted != "auto":
        return wanted
    return "hu" if _is_ct(template) and _is_ct(target) else "percentile"


def scaling(policy: str, template: torch.Tensor) -> Scaling:
    """How the voxels of both volumes are scaled; never changes the order of two intensities, keeps shapes.

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

    The paper scales each patch by its own extremes. Those of a whole volume are often a vessel or a defect. With them,
    two scans of one contrast differ so much in brightness that random features find the nearest grey value instead of
    the nearest shape.
    """
    some = _sorted_sample(voxels)
    tail = int(TAILS * (len(some) - 1))
    low, high = some[tail], some[len(some) - 1 - tail]
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
    return _by_rank(voxels, lambda ranks: (ranks * 2 - 1) * HALF_RANGE)


def match_histogram(voxels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Each voxel to the intensity that has the same rank in the volume `like`, scaled as `scale_percentiles` does that.

    A flat volume becomes zeros.
    """
    if voxels.min() == voxels.max():
        return torch.zeros_like(voxels)
    known = _sorted_sample(like)
    known = scale_percentiles(known)

    def looked_up(ranks: torch.Tensor) -> torch.Tensor:
        places = (ranks * len(known) - 0.5).clamp(0, len(known) - 1)
        below = places.long()
        return torch.lerp(known[below], known[(below + 1).clamp(max=len(known) - 1)], (places - below).to(known.dtype))

    return _by_rank(voxels, looked_up)


def _by_rank(voxels: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """What `value` makes of each voxel's rank, 0 to 1 in float64."""
    some = _sorted_sample(voxels)

    def valued(part: torch.Tensor) -> torch.Tensor:
        darker, not_brighter = torch.searchsorted(some, part), torch.searchsorted(some, part, right=True)
        return value((darker + not_brighter).double() / (2 * len(some))).to(voxels.dtype)

    return torch.cat([valued(part) for part in voxels.flatten().split(CHUNK)]).reshape(voxels.shape)


def _sample(voxels: torch.Tensor) -> torch.Tensor:
    flat = voxels.flatten()
    return flat[:: max(1, len(flat) // SAMPLES)]


def _sorted_sample(voxels: torch.Tensor) -> torch.Tensor:
    return _sample(voxels).sort().values


def _is_ct(volume: Volume) -> bool:
    return volume.modality == CT if volume.modality else _looks_like_hu(volume.voxels)


def _looks_like_hu(voxels: torch.Tensor) -> bool:
    some = _sample(voxels)

    def share(window: tuple[float, float]) -> float:
        low, high = window
        return float(((some >= low) & (some < high)).float().mean())

    air = share(HU_AIR)
    return air >= HU_LEAST_AIR and air + share(HU_SOFT) >= HU_LEAST_BOTH
