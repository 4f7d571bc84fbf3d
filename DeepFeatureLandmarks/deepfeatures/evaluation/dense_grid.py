"""All patch sizes of one layer at once: the features of a volume are the same for every one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from deepfeatures.data.intensity import choose_policy
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.features.dense import DTYPES, WORKING_BYTES
from deepfeatures.features.extractor import Features
from deepfeatures.features.receptive_window import Box
from deepfeatures.matching.devices import choose_device, choose_precision, memory_to_use
from deepfeatures.matching.greedy.search import GreedySearch
from deepfeatures.matching.search_interface import SearchRequest
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.timing import Timer
from deepfeatures.networks import catalog

KEPT = 2  # volumes whose features are kept: the template and the target


@dataclass
class _FeatureMaps:
    """Features of whole volumes, each encoded once.

    Args:
        kept: Scaled voxels and their features, those that were used last at the end.
        last_s: Seconds that the last encoding took.
        all_s: Seconds that all have taken.
    """

    kept: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    last_s: float = 0.0
    all_s: float = 0.0

    def of(self, voxels: torch.Tensor, encode: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What `encode` returns for these voxels, or has returned for equal ones."""
        known = next((entry for entry in self.kept if torch.equal(entry[0], voxels)), None)
        if known is None:
            start = time.perf_counter()
            known = voxels, encode()
            self.last_s = time.perf_counter() - start
            self.all_s += self.last_s
        self.kept = [*(entry for entry in self.kept if entry is not known), known][-KEPT:]
        return known[1]


@dataclass(frozen=True)
class _SharedFeatures(Features):
    """Features that are cut out of those of the whole volume, as long as these fit into memory.

    Args:
        maps: Shared by all patch sizes.
    """

    maps: _FeatureMaps = field(default_factory=_FeatureMaps)

    def encode(
        self,
        voxels: torch.Tensor,
        box: Box,
        working_bytes: int = WORKING_BYTES,
        progress: Callable[[float], None] = lambda _: None,
    ) -> torch.Tensor:
        """See `Features.encode`."""
        channels = self.encoder.layers[self.layer].channels
        if voxels.numel() * channels * DTYPES[self.precision].itemsize > memory_to_use(voxels.device) // 4:
            return super().encode(voxels, box, working_bytes, progress)
        everything = tuple((0, size) for size in voxels.shape)
        whole = self.maps.of(voxels, lambda: super(_SharedFeatures, self).encode(voxels, everything))
        return whole[(slice(None), *(slice(start, stop) for start, stop in box))]


class DenseGrid:
    """The paper's greedy search with several patch sizes, each as `Matcher` would do it alone.

    Args:
        settings: Of a dense search, with a network and one of its layers.
        patch_sizes: Voxels.
    """

    def __init__(self, settings: MatchSettings, patch_sizes: Sequence[int]):
        self._settings, self._maps = settings, _FeatureMaps()
        self._device = choose_device(settings.device)
        encoder = catalog.build(settings.network, layer=settings.layer, seed=settings.seed, device=self._device)
        precision = choose_precision(settings.precision, self._device, encoder)
        self._searches = [
            GreedySearch(
                _SharedFeatures(encoder, settings.layer, size, precision, self._maps),
                self._device,
                replace(settings, patch_size=size, precision=precision),
            )
            for size in patch_sizes
        ]

    def place(self, template: Volume, landmarks: LandmarkSet, target: Volume) -> list[tuple[np.ndarray, float]]:
        """Positions in LPS mm, shape `(L, 3)`, and seconds, for each patch size.

        The seconds are what this size alone would have taken, the template's features apart.
        """
        positions = landmarks.positions
        defined = np.isfinite(positions).all(axis=1)
        intensity = choose_policy(self._settings.intensity, template, target)
        placed = []
        for search in self._searches:
            start, encoded_s = time.perf_counter(), self._maps.all_s
            request = SearchRequest(template, positions[defined], target, intensity, Timer(self._device))
            found = np.full_like(positions, np.nan)
            rows = [match.position or (np.nan,) * 3 for match in search.find(request).matches]
            found[defined] = np.reshape(rows, (-1, 3))
            searched_s = time.perf_counter() - start - (self._maps.all_s - encoded_s)
            placed.append((found, searched_s + self._maps.last_s))
        return placed
