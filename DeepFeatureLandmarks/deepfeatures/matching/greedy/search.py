"""The paper's greedy search of volumes: what is kept between requests, and how it keeps within memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from deepfeatures.data.intensity import scaling
from deepfeatures.data.missing_reason import UNSEARCHED
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, is_out_of_memory
from deepfeatures.features.extractor import Features
from deepfeatures.io.feature_cache import cached, content_hash, tensors_hash
from deepfeatures.matching import devices
from deepfeatures.matching.greedy.candidates import Candidates, everywhere, in_ball, in_mask, intersect
from deepfeatures.matching.greedy.descriptors import dense_templates, patch_templates
from deepfeatures.matching.greedy.scoring import (
    BestCandidate,
    CandidateScores,
    best_candidates,
    dense_scores,
    patch_scores,
)
from deepfeatures.matching.preprocessing import on_common_grid
from deepfeatures.matching.result import LandmarkMatch
from deepfeatures.matching.search_interface import SearchRequest, SearchResult
from deepfeatures.matching.settings import MatchSettings

INTERIM_EVERY_S = 0.25
ATTEMPTS = 4  # each with a quarter of the memory of the one before

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Template:
    """What is kept of a template between targets.

    Args:
        volume: As given, to recognise it.
        intensity: How voxels were scaled, `None` where each patch is scaled by itself.
        spacing_mm: Of the grid on which template and targets are compared.
        positions: Of the landmarks, LPS mm, shape `(N, 3)`.
        offsets: Voxels `(x, y, z)` from the landmark's voxel to the landmark itself, shape `(N, 3)`.
        maps: Feature maps, one a landmark.
    """

    volume: Volume
    intensity: str | None
    spacing_mm: float
    positions: np.ndarray
    offsets: np.ndarray
    maps: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What a request is answered from.

    Args:
        template: Its features.
        grid: The target on the grid of comparison.
        voxels: Its scaled voxels, on the device.
        candidates: Of each landmark.
        starts: Of each landmark, as an index (depth, height, width) of the grid.
    """

    template: _Template
    grid: Volume
    voxels: torch.Tensor
    candidates: list[Candidates | None]
    starts: np.ndarray

    def positions(self, found: list[BestCandidate]) -> list[tuple[float, ...] | None]:
        """LPS mm of candidates, `None` where there is none."""
        return [
            None
            if one.voxel is None
            else tuple(self.grid.to_world(np.array(one.voxel[::-1])[None] + offset)[0].tolist())
            for one, offset in zip(found, self.template.offsets, strict=True)
        ]


class GreedySearch:
    """Finds landmarks where the target's features are nearest to the template's; keeps the latter between targets.

    Args:
        features: Network, layer, patch size and precision.
        device: Where to compute.
        settings: Everything chosen.
    """

    def __init__(self, features: Features, device: torch.device, settings: MatchSettings):
        self._features, self._device, self._settings = features, device, settings
        self._template: _Template | None = None  # replaced as a whole, never changed: threads may share this search

    def find(self, request: SearchRequest) -> SearchResult:
        """See `Search.find`."""
        if len(request.positions) == 0:
            return SearchResult(())
        prepared = self._prepare(request)
        told = time.monotonic()

        def tell(found: list[BestCandidate]) -> None:
            nonlocal told
            if time.monotonic() - told > INTERIM_EVERY_S:
                request.interim(prepared.positions(found))
                told = time.monotonic()

        best = self._with_less_memory(
            request.target,
            lambda memory_bytes: best_candidates(
                self._scores(prepared, memory_bytes, request), prepared.template.maps, prepared.starts, tell
            ),
        )
        return SearchResult(
            tuple(
                LandmarkMatch(position, feature_distance=math.sqrt(one.squared), reason="" if position else UNSEARCHED)
                for position, one in zip(prepared.positions(best), best, strict=True)
            )
        )

    def warm_up(self, request: SearchRequest) -> None:
        """See `Search.warm_up`; without landmarks there is nothing to do ahead."""

    def distances(self, request: SearchRequest) -> Volume:
        """Feature distance of the request's one landmark to every candidate; NaN where nothing was searched.

        Raises:
            InputError: As `find`.
        """
        prepared = self._prepare(request)

        def paint(memory_bytes: int) -> torch.Tensor:
            painted = torch.full(tuple(prepared.grid.voxels.shape), math.nan)
            for scores in self._scores(prepared, memory_bytes, request):
                painted[scores.voxels.unbind(1)] = scores.squared.sqrt()
            return painted

        painted, grid = self._with_less_memory(request.target, paint), prepared.grid
        return replace(grid.with_voxels(painted), origin=grid.to_world(prepared.template.offsets)[0])

    def _prepare(self, request: SearchRequest) -> _Prepared:
        known = self._known(request)
        grid, voxels = self._on_grid(request.target, known.spacing_mm, request)
        return _Prepared(known, grid, voxels, *self._candidates(known, grid, request.mask))

    def _known(self, request: SearchRequest) -> _Template:
        """The template's features: those of the last call where template, positions and intensity were the same."""
        last, template, positions = self._template, request.template, request.positions
        is_known = last and last.volume is template and last.intensity == request.intensity
        if is_known and np.array_equal(last.positions, positions):
            return last
        spacing_mm = float(np.min(template.spacing))
        grid, voxels = self._on_grid(template, spacing_mm, request)
        indices = grid.to_index(positions)
        nearest_voxels = np.clip(np.rint(indices), 0, np.array(grid.size) - 1)
        with request.timer.stage("encode"):
            encode = patch_templates if self._settings.search == "patch" else dense_templates
            wanted = torch.from_numpy(nearest_voxels[:, ::-1].astype(np.int64))
            facts = self._facts(request, nearest_voxels)
            maps = cached(facts, lambda: encode(self._features, voxels, wanted), self._device)
        offsets = indices - nearest_voxels
        self._template = _Template(template, request.intensity, spacing_mm, positions, offsets, maps)
        return self._template

    def _facts(self, request: SearchRequest, voxels: np.ndarray) -> dict:
        """All that the template's features follow from."""
        settings, encoder = self._settings, self._features.encoder
        return {
            "template": content_hash(request.template),
            "policy": request.intensity,
            "voxels": voxels.tolist(),
            "network": [settings.network, settings.layer, settings.patch_size],
            "weights": tensors_hash([*encoder.parameters(), *encoder.buffers()]),
            "search": settings.search,
            "precision": settings.precision,
            "device": devices.device_name(self._device),
        }

    def _on_grid(self, volume: Volume, spacing_mm: float, request: SearchRequest) -> tuple[Volume, torch.Tensor]:
        """The volume on the grid of comparison, and its scaled voxels on the device."""
        with request.timer.stage("prepare"):
            grid = on_common_grid(volume, spacing_mm)
            voxels = grid.voxels
            if request.intensity is not None:
                voxels = scaling(request.intensity, request.template.voxels)(voxels)
            return grid, voxels.to(self._device)

    def _candidates(
        self, known: _Template, grid: Volume, mask: Volume | None
    ) -> tuple[list[Candidates | None], np.ndarray]:
        """Candidates of each landmark, and its start as an index (depth, height, width) of the grid."""
        shape = tuple(grid.voxels.shape)
        starts = grid.to_index(known.positions - known.volume.centre + grid.centre) - known.offsets
        starts = np.ascontiguousarray(starts[:, ::-1])
        common = everywhere(shape) if mask is None else in_mask(mask, grid)
        if self._settings.search_radius_mm is None:
            return [common] * len(starts), starts
        radius = self._settings.search_radius_mm / known.spacing_mm
        return [intersect(in_ball(shape, start, radius), common) for start in starts], starts

    def _scores(self, prepared: _Prepared, memory_bytes: int, request: SearchRequest) -> Iterator[CandidateScores]:
        given = self._features, prepared.voxels, prepared.template.maps, prepared.candidates
        common = {"timer": request.timer, "progress": request.progress}
        if self._settings.search == "patch":
            return patch_scores(*given, **common)
        return dense_scores(*given, memory_bytes=memory_bytes, **common)

    def _with_less_memory(self, target: Volume, search: Callable[[int], Result]) -> Result:
        """What it finds with so many bytes of memory, tried again with less where the device runs out of it."""
        memory_bytes = devices.memory_to_use(self._device)
        for _ in range(ATTEMPTS):
            try:
                return search(memory_bytes)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            memory_bytes //= 4
        raise InputError(
            f"There is not enough memory on {self._device} to search {target.name}; give a search radius, a layer with"
            " fewer channels or a smaller volume, or close other programs."
        )
