"""All patch sizes of one layer at once: the features of a target are the same for every one of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from deepfeatures.data.intensity import choose_policy, scaling
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.features.dense import DTYPES, encode_dense
from deepfeatures.features.extractor import Features
from deepfeatures.features.receptive_window import ReceptiveWindow, crop, crop_with_margins
from deepfeatures.matching import Matcher
from deepfeatures.matching.devices import choose_device, choose_precision, memory_to_use
from deepfeatures.matching.greedy.candidates import everywhere, in_ball
from deepfeatures.matching.greedy.distance import distance_maps, mean_distance_maps
from deepfeatures.matching.greedy.scoring import CandidateScores, best_candidates
from deepfeatures.matching.preprocessing import on_common_grid
from deepfeatures.networks import catalog


class DenseGrid:
    """The paper's greedy search with several patch sizes, each as `Matcher(search="dense")` would do it alone.

    Args:
        network: A name of the catalog.
        layer: One of its layers.
        patch_sizes: Voxels.
        search_radius_mm: `None` for the whole target.
        intensity: A policy of `deepfeatures.data.intensity`.
        device: Where to compute.
    """

    def __init__(
        self,
        network: str,
        layer: str,
        patch_sizes: Sequence[int],
        search_radius_mm: float | None = None,
        intensity: str = "auto",
        device: str = "auto",
    ):
        self._device = choose_device(device)
        encoder = catalog.build(network, layer=layer, device=self._device)
        precision = choose_precision("auto", self._device, encoder)
        self._features = [Features(encoder, layer, size, precision) for size in patch_sizes]
        self._radius_mm, self._intensity = search_radius_mm, intensity
        self._one_by_one = [
            Matcher(
                network=network,
                layer=layer,
                patch_size=size,
                search="dense",
                search_radius_mm=search_radius_mm,
                device=device,
                intensity=intensity,
            )
            for size in patch_sizes
        ]
        self._template: tuple[Volume, str, torch.Tensor] | None = None

    def place(self, template: Volume, landmarks: LandmarkSet, target: Volume) -> list[tuple[np.ndarray, float]]:
        """Positions in LPS mm, shape `(L, 3)`, and seconds, for each patch size.

        The seconds are what this size alone would have taken, the template's features apart.
        """
        positions = landmarks.positions
        defined = np.isfinite(positions).all(axis=1)
        if not defined.any():
            return [(positions, 0.0) for _ in self._features]
        spacing_mm = float(np.min(template.spacing))
        of_template, of_target = (on_common_grid(volume, spacing_mm) for volume in (template, target))
        if not self._fits(of_template) or not self._fits(of_target):
            return [_timed(matcher, template, landmarks, target) for matcher in self._one_by_one]
        policy = choose_policy(self._intensity, template, target)
        known = self._encoded_template(template, of_template, policy)
        start = time.perf_counter()
        seen = self._encode(of_target, policy, template)
        encode_s = time.perf_counter() - start
        indices = of_template.to_index(positions[defined])
        voxels = np.clip(np.rint(indices), 0, np.array(of_template.size) - 1)
        offsets = indices - voxels
        starts = of_target.to_index(positions[defined] - template.centre + target.centre) - offsets
        starts = np.ascontiguousarray(starts[:, ::-1])
        placed = []
        for features in self._features:
            start = time.perf_counter()
            found = np.full_like(positions, np.nan)
            sought = _maps(features, known, voxels[:, ::-1].astype(int))
            best = best_candidates(self._scores(features, seen, sought, starts, spacing_mm), sought, starts)
            places = np.array([one.voxel[::-1] if one.voxel else (np.nan,) * 3 for one in best]).reshape(-1, 3)
            found[defined] = of_target.to_world(places + offsets)
            placed.append((found, encode_s + time.perf_counter() - start))
        return placed

    def _scores(self, features: Features, seen: torch.Tensor, sought: torch.Tensor, starts, spacing_mm: float):
        shape = tuple(seen.shape[1:])
        box = tuple((0, n) for n in shape)
        window = features.window
        around, margins = crop_with_margins(seen, box, window.seen_from(box))
        if features.averaged:
            maps = mean_distance_maps(sought, around, window.count, window.stride, margins=margins)
        else:
            maps = distance_maps(sought, around, window.stride, margins=margins)
        for landmark, (distances, start) in enumerate(zip(maps.cpu(), starts, strict=True)):
            part = everywhere(shape)
            if self._radius_mm is not None:
                part = in_ball(shape, start, self._radius_mm / spacing_mm)
            if part:
                inside = tuple(slice(a, b) for a, b in part.box)
                yield CandidateScores(landmark, part.voxels, distances[inside][part.allowed])

    def _encoded_template(self, template: Volume, grid: Volume, policy: str) -> torch.Tensor:
        last = self._template
        if last is None or last[0] is not template or last[1] != policy:
            self._template = template, policy, self._encode(grid, policy, template)
        return self._template[2]

    def _encode(self, grid: Volume, policy: str, template: Volume) -> torch.Tensor:
        one = self._features[0]
        voxels = scaling(policy, template.voxels)(grid.voxels).to(self._device)
        return encode_dense(one.encoder, one.layer, voxels, precision=one.precision)

    def _fits(self, grid: Volume) -> bool:
        one = self._features[0]
        channels = one.encoder.layers[one.layer].channels
        needed = grid.voxels.numel() * channels * DTYPES[one.precision].itemsize
        return needed <= memory_to_use(self._device) // 4


def _maps(features: Features, seen: torch.Tensor, voxels: np.ndarray) -> torch.Tensor:
    """What is searched for, as `dense_templates` has it, cut out of the features of the whole template."""
    window: ReceptiveWindow = features.window
    held = tuple((0, n) for n in seen.shape[1:])
    every = slice(None, None, window.stride)
    maps = []
    for voxel in voxels.tolist():
        wanted = window.seen_from(tuple((index, index + 1) for index in voxel))
        maps.append(crop(seen, held, wanted)[:, every, every, every].float())
    stacked = torch.stack(maps)
    return stacked.mean((2, 3, 4)) if features.averaged else stacked


def _timed(matcher: Matcher, *given) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    positions = matcher.match(*given).landmarks.positions
    return positions, time.perf_counter() - start
