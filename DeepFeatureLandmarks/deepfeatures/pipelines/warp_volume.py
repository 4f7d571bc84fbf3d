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
    from deepfeatures.pipelines.warp import WarpJob, WarpResult

MOST_LABELS = 256  # whole numbers in a volume that is taken for a label map
SAME_NEIGHBOURS = 0.7  # share from which whole numbers are taken for regions
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
    interpolation, why = _chosen(job, volume)
    resampled = resample(volume, job.transform.inverted(), like, interpolation)
    if resampled.covered_share < LEAST_COVERED:
        raise InputError(
            f"{job.input} is carried to {resampled.covered_share:.1%} of {job.like} only; check that the input belongs"
            " to the template, or say --inverse where it belongs to the target"
        )
    write_volume(resampled.volume, job.output, labels=interpolation != "linear" and _labels(volume.voxels) is not None)
    text = f"{why}, {interpolation} interpolation, {resampled.covered_share:.0%} of the volume covered"
    return WarpResult(job.output, text, (*notes_of(volume, like), *_lost(volume, resampled.volume, interpolation)))


def _chosen(job: WarpJob, volume: Volume) -> tuple[Interpolation, str]:
    """How to interpolate, and what the volume is taken for."""
    labels = _labels(volume.voxels)
    is_map = labels is not None and (len(labels) <= 2 or is_label_map(job.input) or _has_regions(volume.voxels))
    kind = (
        f"label map with {len(labels) - bool((labels == 0).any())} labels"
        if labels is not None and is_map
        else "volume"
    )
    if job.interpolation != "auto":
        return job.interpolation, kind
    return ("nearest" if is_map else "linear"), kind


def _labels(voxels: torch.Tensor) -> torch.Tensor | None:
    """The different values where all are whole and they are few, else `None`."""
    if not bool((voxels == voxels.round()).all()):
        return None
    values = voxels.unique()
    return values if len(values) <= MOST_LABELS else None


def _has_regions(voxels: torch.Tensor) -> bool:
    """Whether most neighbours of voxels that are not 0 have the same value, as in regions and not in a scan."""
    first, second = voxels[..., :-1], voxels[..., 1:]
    inner = (first != 0) & (second != 0)
    return bool(inner.any()) and float((first == second)[inner].float().mean()) > SAME_NEIGHBOURS


def _lost(before: Volume, after: Volume, interpolation: str) -> tuple[Note, ...]:
    """A note of labels that have no voxel any more."""
    labels = _labels(before.voxels) if interpolation != "linear" else None
    if labels is None:
        return ()
    kept = set(after.voxels.unique().tolist())
    lost = [f"{label:g}" for label in labels.tolist() if label not in kept]
    if not lost:
        return ()
    return (Note(NoteKind.TRANSFORM, f"labels without a voxel in the output: {', '.join(lost[:10])}"),)
