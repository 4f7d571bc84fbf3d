"""Volumes and label maps carried through a transform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.errors import InputError
from deepfeatures.io.bids import is_label_map
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.volume_files import WRITABLE_SUFFIXES, read_volume, write_volume
from deepfeatures.transforms.resampling import Interpolation, resample

if TYPE_CHECKING:
    from pathlib import Path

    from deepfeatures.pipelines.warp import WarpJob, WarpResult

FEW_VALUES = 16  # different whole numbers: no scan has so few
SAME_NEIGHBOURS = 0.7  # share from which whole numbers are taken for regions
LARGEST_LABEL = 1 << 24  # up to which single precision tells whole numbers apart
LEAST_COVERED = 0.01  # of the output: with less, the two volumes most likely do not belong together


def warp_volume(job: WarpJob) -> WarpResult:
    """Resample a volume on the grid of another one, and write it whole or not at all.

    Raises:
        InputError: A volume cannot be read or written, or nothing of the one lies in the other.
    """
    from deepfeatures.pipelines.warp import WarpResult

    if not job.output.name.lower().endswith(WRITABLE_SUFFIXES):
        raise InputError(
            f"cannot write {job.output}: a volume needs a name that ends in one of {', '.join(WRITABLE_SUFFIXES)}"
        )
    volume, like = read_volume(job.input), read_within_memory(job.like)
    labels = _whole_numbers(volume.voxels)
    is_map = labels is not None and _is_map(job.input, volume, labels)
    interpolation = _interpolation(job, labels, is_map)
    resampled = resample(volume, job.transform.inverted(), like, interpolation)
    if resampled.covered_share < LEAST_COVERED:
        raise InputError(
            f"{job.input} is carried to {resampled.covered_share:.1%} of {job.like} only; check that the input belongs"
            " to the template, or say --inverse where it belongs to the target"
        )
    write_volume(resampled.volume, job.output, labels=interpolation != "linear" and labels is not None)
    kind, lost = "volume", ()
    if labels is not None and is_map:
        kind = f"label map with {len(labels) - bool((labels == 0).any())} labels"
        lost = _lost(labels, resampled.volume) if interpolation != "linear" else ()
    text = f"{kind}, {interpolation} interpolation, {resampled.covered_share:.0%} of the volume covered"
    return WarpResult(job.output, text, (*notes_of(volume, like), *lost))


def _interpolation(job: WarpJob, labels: torch.Tensor | None, is_map: bool) -> Interpolation:
    chosen = job.interpolation
    if chosen == "auto":
        chosen = "nearest" if is_map else "linear"
    if chosen != "linear" and labels is not None and float(labels.abs().max()) > LARGEST_LABEL:
        raise InputError(
            f"{job.input} has labels above {LARGEST_LABEL}, which cannot be kept exactly; give the regions smaller"
            " numbers first"
        )
    return chosen


def _whole_numbers(voxels: torch.Tensor) -> torch.Tensor | None:
    """The different values where all are whole, else `None`."""
    return voxels.unique() if bool((voxels == voxels.round()).all()) else None


def _is_map(path: Path, volume: Volume, values: torch.Tensor) -> bool:
    """Whether whole numbers are labels: they are few, or the name says so, or they lie in regions."""
    return len(values) <= FEW_VALUES or is_label_map(path) or _has_regions(volume.voxels)


def _has_regions(voxels: torch.Tensor) -> bool:
    """Whether most neighbours that are no background have the same value, as in regions and not in a scan."""
    background = voxels.flatten().mode().values
    first, second = voxels[..., :-1], voxels[..., 1:]
    inner = (first != background) & (second != background)
    return bool(inner.any()) and float((first == second)[inner].float().mean()) > SAME_NEIGHBOURS


def _lost(labels: torch.Tensor, after: Volume) -> tuple[Note, ...]:
    """A note of labels that have no voxel any more."""
    kept = set(after.voxels.unique().tolist())
    lost = [f"{label:g}" for label in labels.tolist() if label not in kept]
    if not lost:
        return ()
    return (Note(NoteKind.TRANSFORM, f"labels without a voxel in the output: {', '.join(lost[:10])}"),)
