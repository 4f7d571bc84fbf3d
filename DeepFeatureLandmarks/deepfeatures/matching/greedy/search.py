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
from deepfeatures.errors import InputError
from deepfeatures.features.extractor import Features
from deepfeatures.io.feature_cache import cached, content_hash, tensors_hash
from deepfeatures.matching import devices
from deepfeatures.matching.greedy.candidates import Candidates, both, everywhere, in_ball, in_mask
from deepfeatures.matching.greedy.descriptors import dense_templates, patch_templates
from deepfeatures.matching.greedy.scoring import Nearest, Progress, Scores, dense_scores, nearest, patch_scores
from deepfeatures.matching.preprocessing import on_common_grid
from deepfeatures.matching.result import Place
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.timing import Clock

TELL_EVERY_S = 0.25  # of what the search knows so far
ATTEMPTS = 4  # each with a quarter of the memory of the one before

Result = TypeVar("Result")
Settling = Callable[[list[tuple[float, ...] | None]], None]  # takes LPS mm, `None` where nothing was found so far


@dataclass(frozen=True, eq=False)
class _Template:
    """What is kept of a template between targets.

    Args:
        volume: As given, to recognise it.
        policy: How intensities were scaled, `None` where each patch is scaled by itself.
        spacing_mm: Of the grid on which template and targets are compared.
        positions: Of the landmarks, LPS mm, shape `(N, 3)`.
        offsets: Voxels `(x, y, z)` from the landmark's voxel to the landmark itself, shape `(N, 3)`.
        maps: Feature maps, one a landmark.
    """

    volume: Volume
    policy: str | None
    spacing_mm: float
    positions: np.ndarray
    offsets: np.ndarray
    maps: torch.Tensor


class GreedySearch:
    """Places landmarks where the target's features are nearest to the template's; keeps the latter between targets.

    Args:
        features: Network, layer, patch size and precision.
        device: Where to compute.
        settings: What was chosen; a policy of intensities is given with each request, `None` where each patch is scaled
            by itself.
    """

    def __init__(self, features: Features, device: torch.device, settings: MatchSettings):
        self._features, self._device, self._settings = features, device, settings
        self._template: _Template | None = None

    def find(
        self,
        template: Volume,
        positions: np.ndarray,
        target: Volume,
        clock: Clock,
        progress: Progress,
        policy: str | None,
        mask: Volume | None,
        settling: Settling,
    ) -> list[Place]:
        """Places of template positions, LPS mm `(N, 3)`, in the target, where the mask is not zero.

        `settling` is called with what is known of them, now and then.

        Raises:
            InputError: The mask is empty, or memory is too short.
        """
        if len(positions) == 0:
            return []
        known, grid, voxels = self._prepare(template, positions, target, policy, clock)
        candidates, starts = self._candidates(known, grid, mask)
        told = time.monotonic()

        def places(found: list[Nearest]) -> list[tuple[float, ...] | None]:
            return [
                None
                if one.voxel is None
                else tuple(grid.to_world(np.array(one.voxel[::-1])[None] + offset)[0].tolist())
                for one, offset in zip(found, known.offsets, strict=True)
            ]

        def tell(found: list[Nearest]) -> None:
            nonlocal told
            if time.monotonic() - told > TELL_EVERY_S:
                settling(places(found))
                told = time.monotonic()

        best = self._with_less_memory(
            target,
            lambda memory_bytes: nearest(
                self._scores(known, voxels, candidates, memory_bytes, clock, progress), known.maps, starts, tell
            ),
        )
        return [
            Place(place, feature_distance=math.sqrt(one.squared), reason="" if place else UNSEARCHED)
            for place, one in zip(places(best), best, strict=True)
        ]

    def distances(
        self,
        template: Volume,
        position: np.ndarray,
        target: Volume,
        clock: Clock,
        policy: str | None,
        mask: Volume | None,
    ) -> Volume:
        """Feature distance of a template position, LPS mm `(3,)`, to every candidate; NaN where nothing was searched.

        Raises:
            InputError: As `find`.
        """
        known, grid, voxels = self._prepare(template, position[None], target, policy, clock)
        candidates, _ = self._candidates(known, grid, mask)

        def paint(memory_bytes: int) -> torch.Tensor:
            painted = torch.full(tuple(grid.voxels.shape), math.nan)
            for scores in self._scores(known, voxels, candidates, memory_bytes, clock, lambda _: None):
                painted[scores.voxels.unbind(1)] = scores.squared.sqrt()
            return painted

        painted = self._with_less_memory(target, paint)
        return replace(grid.with_voxels(painted), origin=grid.to_world(known.offsets)[0])

    def _prepare(
        self, template: Volume, positions: np.ndarray, target: Volume, policy: str | None, clock: Clock
    ) -> tuple[_Template, Volume, torch.Tensor]:
        """The template, the target on the grid of comparison, and its voxels as the search wants them."""
        known = self._known(template, positions, policy, clock)
        return known, *self._on_grid(target, known.spacing_mm, policy, template, clock)

    def _known(self, template: Volume, positions: np.ndarray, policy: str | None, clock: Clock) -> _Template:
        """The template's features: those of the last call where template, positions and policy were the same."""
        last = self._template
        if last and last.volume is template and np.array_equal(last.positions, positions) and last.policy == policy:
            return last
        spacing_mm = float(np.min(template.spacing))
        grid, voxels = self._on_grid(template, spacing_mm, policy, template, clock)
        indices = grid.to_index(positions)
        nearest_voxels = np.clip(np.rint(indices), 0, np.array(grid.size) - 1)
        with clock.stage("encode"):
            encode = patch_templates if self._settings.search == "patch" else dense_templates
            wanted = torch.from_numpy(nearest_voxels[:, ::-1].astype(np.int64))
            facts = self._facts(template, policy, nearest_voxels)
            maps = cached(facts, lambda: encode(self._features, voxels, wanted), self._device)
        self._template = _Template(
            volume=template,
            policy=policy,
            spacing_mm=spacing_mm,
            positions=positions,
            offsets=indices - nearest_voxels,
            maps=maps,
        )
        return self._template

    def _facts(self, template: Volume, policy: str | None, voxels: np.ndarray) -> dict:
        """All that the template's features follow from."""
        settings, encoder = self._settings, self._features.encoder
        return {
            "template": content_hash(template),
            "policy": policy,
            "voxels": voxels.tolist(),
            "network": [settings.network, settings.layer, settings.patch_size],
            "weights": tensors_hash([*encoder.parameters(), *encoder.buffers()]),
            "search": settings.search,
            "precision": settings.precision,
            "device": devices.device_name(self._device),
        }

    def _on_grid(
        self, volume: Volume, spacing_mm: float, policy: str | None, template: Volume, clock: Clock
    ) -> tuple[Volume, torch.Tensor]:
        """The volume on the grid of comparison, and its scaled voxels on the device."""
        with clock.stage("prepare"):
            grid = on_common_grid(volume, spacing_mm)
            voxels = grid.voxels if policy is None else scaling(policy, template.voxels)(grid.voxels)
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
        return [both(in_ball(shape, start, radius), common) for start in starts], starts

    def _scores(
        self,
        known: _Template,
        voxels: torch.Tensor,
        candidates: list[Candidates | None],
        memory_bytes: int,
        clock: Clock,
        progress: Progress,
    ) -> Iterator[Scores]:
        common = {"clock": clock, "progress": progress}
        if self._settings.search == "patch":
            return patch_scores(self._features, voxels, known.maps, candidates, **common)
        return dense_scores(self._features, voxels, known.maps, candidates, memory_bytes=memory_bytes, **common)

    def _with_less_memory(self, target: Volume, search: Callable[[int], Result]) -> Result:
        """What it finds with so many bytes of memory, tried again with less where the device runs out of it."""
        memory_bytes = devices.memory_to_use(self._device)
        for _ in range(ATTEMPTS):
            try:
                return search(memory_bytes)
            except (RuntimeError, MemoryError) as error:
                if not devices.is_out_of_memory(error):
                    raise
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            memory_bytes //= 4
        raise InputError(
            f"There is not enough memory on {self._device} to search {target.name}; give a search radius, a layer with"
            " fewer channels or a smaller volume, or close other programs."
        )
