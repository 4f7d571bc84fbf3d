"""Greedy search as in the paper: the candidate whose feature map is nearest to the template's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from deepfeatures.features.dense import DTYPES
from deepfeatures.features.extractor import Features
from deepfeatures.features.receptive_window import Box, crop_with_margins, within
from deepfeatures.matching.greedy.candidates import Candidates
from deepfeatures.matching.greedy.descriptors import patch_templates
from deepfeatures.matching.greedy.distance import distance_maps, mean_distance_maps
from deepfeatures.matching.search_interface import Progress
from deepfeatures.matching.timing import Timer

PATCHES_AT_A_TIME = 64
MAPS_BYTES = 256 << 20  # distance maps of landmarks that are compared in one go
WORTH_SPLITTING = 0.8  # two halves are searched one after the other where they need less than this part of the features
ENCODING = 0.7  # about the part of the time that encoding takes, for progress
TIE = 1e-6  # of the template's own squared norm: float32 cannot tell distances apart that are closer


@dataclass(frozen=True)
class CandidateScores:
    """Distances of one landmark to some of its candidates.

    Args:
        landmark: Which one.
        voxels: Indices along depth, height and width, shape `(N, 3)`, on the CPU.
        squared: Squared distances, shape `(N,)`, on the CPU.
    """

    landmark: int
    voxels: torch.Tensor
    squared: torch.Tensor


@dataclass
class BestCandidate:
    """The best candidate so far.

    Args:
        start: Continuous index (depth, height, width) that decides between equal distances.
        tie: Squared distances that differ by no more are equal.
        voxel: Index along depth, height and width; `None` before there was any.
        squared: Its squared distance.
    """

    start: torch.Tensor
    tie: float
    voxel: tuple[int, int, int] | None = None
    squared: float = float("inf")

    def add(self, scores: CandidateScores) -> None:
        """Keep the best of what was known and `scores`."""
        tied = scores.squared <= min(float(scores.squared.min()), self.squared) + self.tie
        voxels, squared = scores.voxels[tied], scores.squared[tied]
        if self.voxel is not None and (not len(squared) or self.squared <= float(squared.min()) + self.tie):
            voxels = torch.cat([torch.tensor([self.voxel]), voxels])
            squared = torch.cat([torch.tensor([self.squared]), squared])
        best = int((voxels - self.start).square().sum(1).argmin())
        self.voxel, self.squared = tuple(voxels[best].tolist()), float(squared[best])


def best_candidates(
    scores: Iterable[CandidateScores],
    templates: torch.Tensor,
    starts: np.ndarray,
    so_far: Callable[[list[BestCandidate]], None] = lambda _: None,
) -> list[BestCandidate]:
    """The candidate of least distance for every landmark; of equal ones, the one nearest its start.

    Args:
        scores: Of all landmarks, in any order.
        templates: What was searched for, one a landmark.
        starts: Continuous indices (depth, height, width), shape `(landmarks, 3)`.
        so_far: Called with what is known after each part of the scores.
    """
    ties = (templates.flatten(1).square().sum(1) * TIE).tolist()
    found = [BestCandidate(torch.from_numpy(start), tie) for start, tie in zip(starts, ties, strict=True)]
    for part in scores:
        found[part.landmark].add(part)
        so_far(found)
    return found


def dense_scores(
    features: Features,
    voxels: torch.Tensor,
    templates: torch.Tensor,
    candidates: Sequence[Candidates | None],
    *,
    memory_bytes: int,
    timer: Timer,
    progress: Progress,
) -> Iterator[CandidateScores]:
    """Distances from features that are computed once for all voxels.

    Args:
        features: How features are computed.
        voxels: The scaled target.
        templates: From `dense_templates`.
        candidates: One for each landmark; `None` where it has none.
        memory_bytes: For features and for encoding; a region that needs more is searched block by block.
        timer: Counts the seconds of `encode` and `match`.
        progress: Called with the fraction done.
    """
    window = features.window
    feature_bytes = features.encoder.layers[features.layer].channels * DTYPES[features.precision].itemsize
    most_voxels = max(1, memory_bytes // 2 // feature_bytes)
    boxes = [part.box for part in candidates if part]
    blocks = list(_blocks(boxes, window.span - 1, most_voxels))
    for done, block in enumerate(blocks):

        def report(fraction: float, done: int = done) -> None:
            progress((done + fraction) / len(blocks))

        held = within(window.seen_from(block), voxels.shape)
        with timer.stage("encode"):
            seen = features.encode(voxels, held, memory_bytes // 2, lambda done: report(ENCODING * done))
        groups = list(_alike([part and part.part(block) for part in candidates]))
        for count, (box, members) in enumerate(groups, 1):
            with timer.stage("match"):
                around, margins = crop_with_margins(seen, held, window.seen_from(box))
                sought = templates[list(members)]
                if features.averaged:
                    maps = mean_distance_maps(sought, around, window.count, window.stride, margins=margins)
                else:
                    maps = distance_maps(sought, around, window.stride, margins=margins)
                maps = maps.cpu()
            for distances, (landmark, part) in zip(maps, members.items(), strict=True):
                yield CandidateScores(landmark, part.voxels, distances[part.allowed])
            report(ENCODING + (1 - ENCODING) * count / len(groups))


def patch_scores(
    features: Features,
    voxels: torch.Tensor,
    templates: torch.Tensor,
    candidates: Sequence[Candidates | None],
    *,
    timer: Timer,
    progress: Progress,
) -> Iterator[CandidateScores]:
    """Distances from patches that are cut at every candidate, scaled and encoded each for itself, as in the paper.

    A patch that several landmarks compare with is encoded once. Arguments are those of `dense_scores`, with the
    target's own intensities and templates from `patch_templates`.
    """
    wanted = torch.zeros(voxels.shape, dtype=torch.bool)
    for part in candidates:
        if part:
            wanted[_slices(part.box)] |= part.allowed
    everything = wanted.nonzero()
    done = 0
    for chunk in everything.split(PATCHES_AT_A_TIME):
        with timer.stage("encode"):
            maps = patch_templates(features, voxels, chunk)
        with timer.stage("match"):
            squared = torch.stack([(maps - template).square_().flatten(1).sum(1) for template in templates]).cpu()
        for landmark, part in enumerate(candidates):
            mine = part.holds(chunk) if part else torch.zeros(len(chunk), dtype=torch.bool)
            if mine.any():
                yield CandidateScores(landmark, chunk[mine], squared[landmark][mine])
        done += len(chunk)
        progress(done / len(everything))


def _blocks(boxes: Sequence[Box], margin: int, most_voxels: int) -> Iterator[Box]:
    """Blocks that hold all of `boxes`, each within `most_voxels` when `margin` voxels are added along each axis."""
    if not boxes:
        return
    block = _bounding(boxes)
    axis = max(range(3), key=lambda k: block[k][1] - block[k][0])
    start, stop = block[axis]
    middle = (start + stop) // 2
    halves = [
        [part for box in boxes if (part := _cut(box, axis, low, high))]
        for low, high in ((start, middle), (middle, stop))
    ]
    whole = _volume(block, margin)
    apart = sum(_volume(_bounding(half), margin) for half in halves if half)
    if stop - start < 2 or (whole <= most_voxels and apart > WORTH_SPLITTING * whole):
        yield block
        return
    for half in halves:
        yield from _blocks(half, margin, most_voxels)


def _cut(box: Box, axis: int, low: int, high: int) -> Box | None:
    start, stop = max(box[axis][0], low), min(box[axis][1], high)
    return (*box[:axis], (start, stop), *box[axis + 1 :]) if start < stop else None


def _bounding(boxes: Sequence[Box]) -> Box:
    return tuple((min(a for a, _ in pairs), max(b for _, b in pairs)) for pairs in zip(*boxes, strict=True))


def _volume(box: Box, margin: int) -> int:
    return prod(stop - start + margin for start, stop in box)


def _alike(parts: Sequence[Candidates | None]) -> Iterator[tuple[Box, dict[int, Candidates]]]:
    """Landmarks with the same box of candidates, as many as may be compared in one go."""
    groups: dict[Box, dict[int, Candidates]] = {}
    for landmark, part in enumerate(parts):
        if part:
            groups.setdefault(part.box, {})[landmark] = part
    for box, members in groups.items():
        together = max(1, MAPS_BYTES // (4 * _volume(box, 0)))
        landmarks = list(members)
        for first in range(0, len(landmarks), together):
            yield box, {landmark: members[landmark] for landmark in landmarks[first : first + together]}


def _slices(box: Box) -> tuple[slice, slice, slice]:
    return tuple(slice(start, stop) for start, stop in box)
