"""Guided matching of volumes: what is kept between requests, and what makes a landmark missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.encoding.dense import encode_dense
from deepfeatures.matching.clock import Clock
from deepfeatures.matching.frame import Pyramid, Scan
from deepfeatures.matching.guided import GuidedSettings, Located, finest_spacing, locate
from deepfeatures.matching.pose import Pose, find_pose
from deepfeatures.matching.prepared import in_canonical_order, scale_robustly
from deepfeatures.matching.template import Features
from deepfeatures.volume import Volume

LEAST_CONTRAST = 1e-3  # how much better than an average place the best must look, relatively, to be a place at all


@dataclass(frozen=True)
class Place:
    """One landmark in the target.

    Args:
        position: LPS mm, `None` where it was not found.
        distance: Feature distance of its surroundings.
        round_trip_mm: How far from the landmark its place is matched back in the template, `None` where not tried.
    """

    position: tuple[float, float, float] | None
    distance: float
    round_trip_mm: float | None = None


class GuidedSearch:
    """Places landmarks by `locate`; keeps the template's pyramid between targets, and all of a pair that comes again.

    Args:
        features: Network, layer and precision.
        device: Where to compute.
        settings: The way from coarse to fine.
        way: How the pose is found, see `find_pose`.

    Attributes:
        pose: Of the last target, `None` where no landmark was searched.
    """

    def __init__(self, features: Features, device: torch.device, settings: GuidedSettings, way: str):
        self._features, self._device, self._settings, self._way = features, device, settings, way
        self.pose: Pose | None = None
        self._template: tuple[Volume, Pyramid] | None = None
        self._target: tuple[Volume, Pyramid, Pose] | None = None  # the pose is that of the template above

    def find(
        self,
        template: Volume,
        positions: np.ndarray,
        target: Volume,
        clock: Clock,
        progress: Callable[[float], None],
    ) -> list[Place]:
        """Places of template positions, LPS mm `(N, 3)`, in the target."""
        self.pose = None
        if len(positions) == 0:
            return []
        known, seen, self.pose = self.prepare(template, target, clock)
        progress(0.4)
        with clock.stage("match"), torch.inference_mode():
            located = locate(
                known,
                known.scan.from_world(positions),
                seen,
                self.pose.matrix,
                self._encode,
                self._settings,
                lambda done: progress(0.4 + 0.6 * done),
            )
        return _places(located, seen.scan)

    def prepare(self, template: Volume, target: Volume, clock: Clock) -> tuple[Pyramid, Pyramid, Pose]:
        """What does not depend on the landmarks: both pyramids and the pose; at no cost for the pair of the last call.

        Volumes are recognised by identity.
        """
        if self._template is None or self._template[0] is not template:
            self._template = self._target = None
            with clock.stage("prepare"), torch.inference_mode():
                self._template = template, self._pyramid(template)
        known = self._template[1]
        if self._target is None or self._target[0] is not target:
            self._target = None  # make room before the next one is read
            with clock.stage("prepare"), torch.inference_mode():
                seen = self._pyramid(target)
            with clock.stage("pose"), torch.inference_mode():
                unit = finest_spacing(known.scan, seen.scan, self._settings)
                pose = find_pose(known, seen, self._way, self._encode, unit, self._settings.pose)
            self._target = target, seen, pose
        _, seen, pose = self._target
        return known, seen, pose

    def _pyramid(self, volume: Volume) -> Pyramid:
        grid = in_canonical_order(volume)
        return Pyramid(Scan(grid, scale_robustly(grid.voxels).to(self._device)))

    def _encode(self, voxels: torch.Tensor) -> torch.Tensor:
        features = self._features
        return encode_dense(features.encoder, features.layer, voxels, precision=features.precision).float()


def _places(located: Located, target: Scan) -> list[Place]:
    settled = located.settled
    telling = 1 - settled.distances / settled.typical.clamp(min=1e-9) > LEAST_CONTRAST
    found = (target.covers(located.positions) & telling).tolist()
    positions = target.to_world(located.positions)
    distances = settled.distances.clamp(min=0).sqrt().tolist()
    return [
        Place(tuple(position.tolist()) if is_found else None, distance, round_trip)
        for position, is_found, distance, round_trip in zip(
            positions, found, distances, located.round_trip_mm.tolist(), strict=True
        )
    ]
