"""Guided matching of volumes: what is kept between requests, and what makes a landmark missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from deepfeatures.data.intensity import Scaling, scaling
from deepfeatures.data.missing_reason import DOUBTFUL, NOTHING_ALIKE, OUTSIDE, UNLIKE
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.dense import encode_dense
from deepfeatures.features.extractor import Features
from deepfeatures.matching.geometry.pyramid import Encode, Pyramid, Scan
from deepfeatures.matching.guided.groupwise import Company, Course
from deepfeatures.matching.guided.registration import Located, finest_spacing, locate, locate_again
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose.estimation import Pose, find_poses
from deepfeatures.matching.preprocessing import in_canonical_order
from deepfeatures.matching.result import Place
from deepfeatures.matching.timing import Clock
from deepfeatures.matching.uncertainty.error_model import Expectation
from deepfeatures.matching.uncertainty.match_features import NAMES
from deepfeatures.networks.mind import Mind

# A landmark that lies beyond the target's edge may come to lie just inside of it: nearer to the edge than this, in
# finest spacings, it counts as outside, unless it lies near the template's edge too. Fixed on crops of known scans.
EDGE = 1.0
POSE_LAYER = "ssc_r1_d2"  # of self-similarity, which finds the pose whatever features the landmarks settle by
FEWEST_VOXELS = 3  # of the coarser scan that the template spans along each axis; less holds nothing to compare
# Where the start was right, scans of the same anatomy had a likeness of 0.17 or more, noise and other organs below 0.1;
# where the pose was searched, 0.3 and, in targets of 40 mm, up to 0.2.
LEAST_LIKENESS = 0.15
LEAST_SEARCHED_LIKENESS = 0.25
# Of other organs that were so alike at most 0.14 of the points came back; of the same anatomy, other contrasts, thick
# slices and small crops among them, hardly ever less than 0.25, but of a small crop with few keypoints 0.17.
LEAST_AGREEMENT = 0.15
AMPLE_AGREEMENT = 0.4  # from which on likeness, which is low between contrasts, does not matter
# Where likeness leaves open whether a target is turned, so much more of the points must agree that it is.
TURNED_AGREEMENT = 0.2
LEAST_CHANCE = 0.2  # to be within three finest voxels; below it a place is too doubtful to be given
LEAST_CONTRAST = 1e-3  # how much better than an average place the best must look, relatively, to be a place at all


class GuidedSearch:
    """Places landmarks by `locate`; keeps the template's pyramid between targets, and all of a pair that comes again.

    Args:
        features: Network, layer and precision by which landmarks settle.
        device: Where to compute.
        settings: The way from coarse to fine.
        way: How the pose is found, see `find_poses`.
        expectation: Predicts errors, `None` where nobody has calibrated these features.

    Attributes:
        pose, agreement: Of the last target, see `Located`; `None` where no landmark was searched, the latter also where
            too few points tell.
        course: Of the last target, where it joined a company.
    """

    def __init__(
        self,
        features: Features,
        device: torch.device,
        settings: GuidedSettings,
        way: str,
        expectation: Expectation | None = None,
    ):
        self._features, self._device, self._settings, self._way = features, device, settings, way
        self._expectation = expectation
        self._self_similarity = Mind().to(device)
        self.course: Course | None = None
        self.pose: Pose | None = None
        self.agreement: float | None = None
        self._template: tuple[Volume, str, Pyramid] | None = None
        # The poses are those of the template above.
        self._target: tuple[Volume, Pyramid, tuple[Pose, ...]] | None = None

    def find(
        self,
        template: Volume,
        positions: np.ndarray,
        target: Volume,
        clock: Clock,
        progress: Callable[[float], None],
        intensity: str = "percentile",
        settling: Callable[[np.ndarray], None] = lambda _: None,
        company: Company | None = None,
    ) -> list[Place]:
        """Places of template positions, LPS mm `(N, 3)`, in the target; see `intensity.scaling` for the policy.

        `settling` is called with what is known of them after each level, LPS mm `(N, 3)`. A target that shows the
        template's anatomy joins the company.

        Raises:
            InputError: The template is too small for the voxels.
        """
        self.pose = self.agreement = self.course = None
        if len(positions) == 0:
            return []
        known, seen, poses = self.prepare(template, target, clock, intensity)
        progress(0.4)
        points = known.scan.from_world(positions)

        def located_from(pose: Pose, begun: float, ended: float) -> tuple[Pose, Located]:
            with clock.stage("match"), torch.inference_mode():
                return pose, locate(
                    known,
                    points,
                    seen,
                    pose.matrix,
                    self._encode,
                    self._settings,
                    lambda done: progress(0.4 + 0.6 * (begun + (ended - begun) * done)),
                    lambda positions: settling(seen.scan.to_world(positions)),
                )

        count = len(poses)
        found = [located_from(pose, number / count, (number + 1) / count) for number, pose in enumerate(poses)]
        self.pose, located = _most_agreed(found)
        if self._way == "auto" and self.pose.is_sure and not _same_anatomy(self.pose, located.agreement):
            with clock.stage("pose"), torch.inference_mode():
                (turned,) = self._poses(known, seen, "any")
            self.pose, located = _most_agreed([*found, located_from(turned, 1.0, 1.0)])
        self.agreement = located.agreement
        if company is not None and _same_anatomy(self.pose, located.agreement):
            # Keypoints follow from intensities: those of another policy are other points.
            self.course = replace(located.course, kind=(*located.course.kind, intensity))
            company.join(self.course, located.blocks)
        return _places(located, known.scan.depth_mm(points), seen.scan, self.pose, self._expectation)

    def find_again(
        self,
        template: Volume,
        positions: np.ndarray,
        target: Volume,
        course: Course,
        company: Company,
        intensity: str = "percentile",
    ) -> np.ndarray:
        """Where template positions lie by what the company shows, too, LPS mm `(N, 3)`; NaN outside the target."""
        with torch.inference_mode():
            known = self._known(template, intensity)
            seen = self._pyramid(target, scaling(intensity, template.voxels))
            points = known.scan.from_world(positions)
            found = locate_again(known, points, seen, course, company, self._encode, self._settings)
        places = seen.scan.to_world(found)
        places[(seen.scan.depth_mm(found) < 0).cpu().numpy()] = np.nan
        return places

    def prepare(
        self, template: Volume, target: Volume, clock: Clock, intensity: str = "percentile"
    ) -> tuple[Pyramid, Pyramid, tuple[Pose, ...]]:
        """What does not depend on the landmarks: pyramids and poses; at no cost for the pair of the last call.

        Volumes are recognised by identity.

        Raises:
            InputError: The template is too small for the voxels.
        """
        with clock.stage("prepare"), torch.inference_mode():
            known = self._known(template, intensity)
        if self._target is None or self._target[0] is not target:
            self._target = None  # make room before the next one is read
            with clock.stage("prepare"), torch.inference_mode():
                seen = self._pyramid(target, scaling(intensity, template.voxels))
            with clock.stage("pose"), torch.inference_mode():
                unit = finest_spacing(known.scan, seen.scan, self._settings)
                _check_detail(template, target, float(known.scan.extent.min()), unit)
                poses = self._poses(known, seen, self._way)
            self._target = target, seen, poses
        _, seen, poses = self._target
        return known, seen, poses

    def _known(self, template: Volume, intensity: str) -> Pyramid:
        """The template's pyramid, kept until another template is given."""
        if self._template is None or self._template[0] is not template or self._template[1] != intensity:
            self._template = self._target = None
            self._template = template, intensity, self._pyramid(template, scaling(intensity, template.voxels))
        return self._template[2]

    def _poses(self, known: Pyramid, seen: Pyramid, way: str) -> tuple[Pose, ...]:
        unit = finest_spacing(known.scan, seen.scan, self._settings)
        return find_poses(known, seen, way, self._encode_for_pose(), unit, self._settings.pose)

    def _pyramid(self, volume: Volume, scale: Scaling) -> Pyramid:
        grid = in_canonical_order(volume)
        return Pyramid(Scan(grid, scale(grid.voxels).to(self._device)))

    def _encode_for_pose(self) -> Encode:
        if (self._features.encoder.name, self._features.layer) == (self._self_similarity.name, POSE_LAYER):
            return self._encode  # the pyramid keeps the template's features for both
        return self._encode_self_similarity

    def _encode_self_similarity(self, voxels: torch.Tensor) -> torch.Tensor:
        return encode_dense(self._self_similarity, POSE_LAYER, voxels)

    def _encode(self, voxels: torch.Tensor) -> torch.Tensor:
        features = self._features
        return encode_dense(features.encoder, features.layer, voxels, precision=features.precision).float()


def _check_detail(template: Volume, target: Volume, shortest_mm: float, unit_mm: float) -> None:
    if shortest_mm < FEWEST_VOXELS * unit_mm:
        raise InputError(
            f"{template.name} is {shortest_mm:.3g} mm across, too little to be found at {unit_mm:.3g} mm, the coarser"
            f" voxel size of it and {target.name}; check the voxel sizes, or give a larger or finer volume."
        )


def _most_agreed(found: list[tuple[Pose, Located]]) -> tuple[Pose, Located]:
    """A pose and what it led to: the first, or the last, a turned one, where clearly more points agree on it."""
    agreements = [located.agreement or 0.0 for _, located in found]
    return found[-1] if agreements[-1] >= agreements[0] + TURNED_AGREEMENT else found[0]


def _same_anatomy(pose: Pose, agreement: float | None) -> bool:
    if agreement is not None and agreement >= AMPLE_AGREEMENT:
        return True
    if pose.likeness < (LEAST_SEARCHED_LIKENESS if pose.is_searched else LEAST_LIKENESS):
        return False
    if agreement is None:  # too few points to tell: the doubt is for a start that was right, against one of many
        return not pose.is_searched
    return agreement >= LEAST_AGREEMENT


def _places(
    located: Located, depths_mm: torch.Tensor, target: Scan, pose: Pose, expectation: Expectation | None
) -> list[Place]:
    """What is reported of each landmark; `depths_mm` says how far inside the template it lies."""
    settled = located.settled
    telling = 1 - settled.distances / settled.typical.clamp(min=1e-9) > LEAST_CONTRAST
    edge_mm = (depths_mm / 2).clamp(0, EDGE * located.spacing_mm)
    fails = {
        UNLIKE: torch.full_like(telling, not _same_anatomy(pose, located.agreement)),
        OUTSIDE: target.depth_mm(located.positions) < edge_mm,
        NOTHING_ALIKE: ~telling,
    }
    if expectation is not None:
        fails[DOUBTFUL] = expectation.chances(located.evidence, 1.0) < LEAST_CHANCE
    positions = target.to_world(located.positions)
    places = []
    for index in range(len(positions)):
        reason = next((name for name, failed in fails.items() if failed[index]), "")
        expected = {}
        if expectation is not None:
            row = located.evidence[index : index + 1], located.spacing_mm
            expected = {
                "expected_error_mm": float(expectation.errors_mm(*row)),
                "probability_within_3mm": float(expectation.chances(*row)),
            }
        places.append(
            Place(
                None if reason else tuple(positions[index].tolist()),
                feature_distance=float(settled.distances[index].clamp(min=0).sqrt()),
                inverse_consistency_error_mm=float(located.inverse_consistency_error_mm[index]),
                evidence=dict(zip(NAMES, located.evidence[index].tolist(), strict=True)),
                reason=reason,
                **expected,
            )
        )
    return places
