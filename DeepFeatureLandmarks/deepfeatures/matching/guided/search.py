"""Guided search of volumes: what is kept between requests, and from which pose the landmarks are registered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from deepfeatures.data.intensity import scaling
from deepfeatures.data.landmarks import Rotation
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.dense import encode_dense
from deepfeatures.features.extractor import Features
from deepfeatures.matching.geometry.mapping import PointMapping
from deepfeatures.matching.geometry.pyramid import Encode, Image, ImagePyramid
from deepfeatures.matching.groupwise import RegistrationState
from deepfeatures.matching.guided.acceptance import accepted, in_world
from deepfeatures.matching.guided.alternatives import Fit, difference_text, fits, other_places
from deepfeatures.matching.guided.hypotheses import hypotheses, repeats
from deepfeatures.matching.guided.registration import (
    Learnt,
    finest_spacing,
    frame_of,
    refine_with_group,
    register_points,
)
from deepfeatures.matching.guided.same_anatomy import reason_against, shows_same_anatomy
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.learning.taught_scan import kept_tensors
from deepfeatures.matching.pose.estimation import Pose, estimate_poses, refined
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.preprocessing import in_canonical_order
from deepfeatures.matching.search_interface import AlternativeMatches, SearchRequest, SearchResult
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.networks.mind import Mind

POSE_LAYER = "ssc_r1_d2"  # of self-similarity, which finds the pose whatever features the landmarks are matched by
FEWEST_VOXELS = 3  # of the coarser volume that the template spans along each axis; less holds nothing to compare
# Where similarity leaves open whether a target is rotated, so much more of the points must be consistent that it is.
ROTATED_CONSISTENT_SHARE = 0.2
POSE_DONE = 0.4  # about the part of the time that the pose takes, for progress


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A pair of volumes, ready to be searched, and the poses to search from.

    Args:
        template, target: As given, to recognise them.
        intensity: How voxels were scaled.
        pair: Their pyramids.
        poses: One, or an upright and a rotated one where similarity leaves open which.
    """

    template: Volume
    target: Volume
    intensity: str
    pair: ImagePair
    poses: tuple[Pose, ...]


@dataclass(frozen=True, eq=False)
class RefinedPlaces:
    """Where landmarks lie by what a group shows, too.

    Args:
        places: LPS mm and orientation of each, `None` outside the target.
        mapping: Template points to target points.
    """

    places: list[tuple[list[float], Rotation] | None]
    mapping: PointMapping


class GuidedSearch:
    """Finds landmarks by `register_points`; keeps the template's pyramid between targets, and all of the last pair.

    Args:
        features: Network, layer and precision by which landmarks are matched.
        device: Where to compute.
        settings: From coarse to fine.
        initialization: How the pose is found, see `estimate_poses`.
        error_model: Predicts errors, `None` where nobody has calibrated these features.
    """

    def __init__(
        self,
        features: Features,
        device: torch.device,
        settings: GuidedSettings,
        initialization: str,
        error_model: ErrorModel | None = None,
    ):
        self._features, self._device, self._settings = features, device, settings
        self._initialization, self._error_model = initialization, error_model
        self._self_similarity = Mind().to(device)
        # Replaced as a whole, never changed: threads may share this search.
        self._template: tuple[Volume, str, ImagePyramid] | None = None
        self._last: _Prepared | None = None
        self._found: tuple[_Prepared, bytes, tuple[Fit, ...]] | None = None
        self._lags: tuple[tuple, torch.Tensor] | None = None

    def find(self, request: SearchRequest) -> SearchResult:
        """See `Search.find`. A target that shows the template's anatomy is added to the group."""
        if request.mask is not None:
            raise InputError("A guided search takes no mask; leave the mask out, or search dense.")
        if len(request.positions) == 0:
            return SearchResult(())
        ways, prepared = self.ways(request), self._prepare(request)
        self._found = prepared, request.positions.tobytes(), ways
        pair, best = prepared.pair, ways[0]
        with request.timer.stage("match"), torch.inference_mode():
            reason_for_all = reason_against(best, *self._of_pose(request), self._settings)
        depths_mm = pair.template.image.depth_mm(pair.template.image.from_world(request.positions))
        matches = [
            accepted(
                way.found,
                depths_mm,
                pair.template.image,
                pair.target.image,
                self._error_model,
                request.tolerance_mm,
                other_places(ways, index),
                reason_for_all,
            )
            for index, way in enumerate(ways)
        ]
        alternatives = tuple(
            AlternativeMatches(found, way.probability, difference_text(best.places, way.places))
            for way, found in zip(ways[1:], matches[1:], strict=True)
            if not reason_for_all
        )
        return SearchResult(
            matches[0],
            best.pose,
            best.found.consistent_share,
            best.found.mapping,
            None if reason_for_all or request.head else self._state(request, best),
            best.found.spacing_mm,
            alternatives,
        )

    def ways(self, request: SearchRequest) -> tuple[Fit, ...]:
        """The ways in which the template fits the target, the most likely first, before anything is refused.

        One, but where the anatomy around the landmarks repeats. There must be a landmark.
        """
        prepared = self._prepare(request)
        request.progress(POSE_DONE)
        start = self._register(prepared, request)
        if not shows_same_anatomy(start):
            return (start,)
        pair, finest_mm = self._of_pose(request)
        landmarks = pair.template.image.from_world(request.positions)
        with request.timer.stage("repeats"), torch.inference_mode():
            lags = self._repeats(request, pair, finest_mm)
            if len(lags) == 0:
                return (start,)
            likely = hypotheses(pair, start.pose, lags, landmarks, finest_mm, self._settings)

        def register(pose: Pose) -> Fit:
            with request.timer.stage("pose"), torch.inference_mode():
                fine = refined(pair, pose, finest_mm, self._settings.pose)
            return self._registered(prepared.pair, request, fine)

        return fits(start, likely, register)

    def _of_pose(self, request: SearchRequest) -> tuple[ImagePair, float]:
        """The pair with the features of the pose, and its finest spacing."""
        pair = replace(self._prepare(request).pair, encode=self._encode_for_pose())
        return pair, finest_spacing(pair.template.image, pair.target.image, self._settings)

    def _repeats(self, request: SearchRequest, pair: ImagePair, finest_mm: float) -> torch.Tensor:
        """See `repeats`; kept until the template, its landmarks or the spacing are others."""
        key = request.template, request.intensity, request.positions.tobytes(), finest_mm
        known = self._lags
        if known is None or known[0] != key:
            landmarks = pair.template.image.from_world(request.positions)
            self._lags = known = key, repeats(pair, landmarks, finest_mm, self._settings)
        return known[1]

    def _state(self, request: SearchRequest, best: Fit) -> RegistrationState:
        """From which the finest level can be repeated; the target is added to the group."""
        # Keypoints follow from intensities: those of another policy are other points.
        state = replace(best.found.state, kind=(*best.found.state.kind, request.intensity))
        if request.group is not None:
            request.group.add(state, best.found.blocks)
        return state

    def taught(self, request: SearchRequest, positions: np.ndarray) -> dict[str, torch.Tensor]:
        """What a target teaches whose landmarks a person has put at `positions`, LPS mm `(N, 3)`, NaN where not.

        Where the template fits in several ways, the one that comes nearest to the person's places counts.

        Args:
            request: With nothing learnt.

        Returns:
            The tensors of a `TaughtScan`, but which points were corrected.

        Raises:
            InputError: The target does not show the template's anatomy.
        """
        found, prepared = self._found, self._prepare(request)
        is_last = found is not None and found[0] is prepared and found[1] == request.positions.tobytes()
        ways = found[2] if found and is_last else self.ways(request)  # a person teaches what was placed just before
        known = ~np.isnan(positions).any(1)
        apart = [np.linalg.norm((way.places - positions)[known], axis=1) for way in ways]
        nearest = ways[int(np.argmin([np.median(one) for one in apart]))] if known.any() else ways[0]
        pair = prepared.pair
        with torch.inference_mode():
            if reason_against(ways[0], *self._of_pose(request), self._settings):
                raise InputError(
                    f"{request.target.name} does not seem to show the anatomy of {request.template.name}; teach with a"
                    " scan that does."
                )
            landmarks = pair.template.image.from_world(request.positions)
            places = pair.target.image.from_world(positions)
            frame, true, steps = frame_of(pair, landmarks, nearest.found, places, self._reach, self._settings)
            tensors = kept_tensors(frame, true)
        rest = {"voxel_to_mm": steps, "evidence": nearest.found.evidence}
        spacing = torch.tensor([nearest.found.spacing_mm])
        return {name: tensor.cpu() for name, tensor in {**tensors, **rest, "spacing_mm": spacing}.items()}

    @property
    def _reach(self) -> int:
        """Voxels to either side that a feature is computed from."""
        return self._features.encoder.layers[self._features.layer].receptive_field // 2

    def warm_up(self, request: SearchRequest) -> None:
        """See `Search.warm_up`: the pose."""
        self._prepare(request)

    def refine(self, request: SearchRequest, state: RegistrationState) -> RefinedPlaces:
        """Where the landmarks lie by what the request's group shows, too.

        Args:
            request: As `find` had it.
            state: What `find` returned.
        """
        with torch.inference_mode():
            pair = self._pair(request)
            landmarks = pair.template.image.from_world(request.positions)
            found = refine_with_group(pair, landmarks, state, request.group, self._settings)
            inside = (pair.target.image.depth_mm(found.positions) >= 0).tolist()
        positions = pair.target.image.to_world(found.positions).tolist()
        turned = in_world(found.orientations, pair.template.image, pair.target.image)
        places = [
            (position, rotation) if is_in else None
            for position, rotation, is_in in zip(positions, turned, inside, strict=True)
        ]
        return RefinedPlaces(places, found.mapping)

    def _register(self, prepared: _Prepared, request: SearchRequest) -> Fit:
        """The landmarks, from the pose on which most points agree."""
        count = len(prepared.poses)
        found = [
            self._registered(prepared.pair, request, pose, n / count, (n + 1) / count)
            for n, pose in enumerate(prepared.poses)
        ]
        best = _most_consistent(found)
        if self._initialization == "auto" and best.pose.is_sure and not shows_same_anatomy(best):
            with request.timer.stage("pose"), torch.inference_mode():
                (rotated,) = self._poses(prepared.pair, "any")
            found.append(self._registered(prepared.pair, request, rotated))
            best = _most_consistent(found)
        return best

    def _registered(
        self, pair: ImagePair, request: SearchRequest, pose: Pose, begun: float = 1.0, ended: float = 1.0
    ) -> Fit:
        """The landmarks from a pose, between two fractions of the progress that matching makes.

        Only what makes progress is shown while it is found.
        """
        target = pair.target.image

        def progress(done: float) -> None:
            request.progress(POSE_DONE + (1 - POSE_DONE) * (begun + (ended - begun) * done))

        def interim(positions: torch.Tensor) -> None:
            if begun < 1:
                request.interim(target.to_world(positions))

        with request.timer.stage("match"), torch.inference_mode():
            landmarks = pair.template.image.from_world(request.positions)
            learnt = request.head and Learnt(request.head.on(self._device), self._reach)
            found = register_points(pair, landmarks, pose.matrix, self._settings, progress, interim, learnt)
            return Fit(pose, found, target.to_world(found.positions))

    def _prepare(self, request: SearchRequest) -> _Prepared:
        """What does not depend on the landmarks: pyramids and poses; at no cost for the pair of the last call.

        Volumes are recognised by identity.

        Raises:
            InputError: The template is too small for the voxels.
        """
        last, given = self._last, (request.template, request.target)
        if last and (last.template, last.target) == given and last.intensity == request.intensity:
            return last
        self._last = self._found = None  # make room before the next one is read
        with request.timer.stage("prepare"), torch.inference_mode():
            pair = self._pair(request)
        with request.timer.stage("pose"), torch.inference_mode():
            template = pair.template.image
            finest_mm = finest_spacing(template, pair.target.image, self._settings)
            _check_detail(request, float(template.extent.min()), finest_mm)
            poses = self._poses(pair, self._initialization)
        self._last = _Prepared(*given, request.intensity, pair, poses)
        return self._last

    def _pair(self, request: SearchRequest) -> ImagePair:
        """The pyramids of both volumes; the template's is kept until another template is given."""
        known = self._template
        if known is None or known[0] is not request.template or known[1] != request.intensity:
            self._template = None
            pyramid = self._pyramid(request.template, request)
            self._template = known = request.template, request.intensity, pyramid
        return ImagePair(known[2], self._pyramid(request.target, request), self._encode)

    def _pyramid(self, volume: Volume, request: SearchRequest) -> ImagePyramid:
        grid = in_canonical_order(volume)
        scale = scaling(request.intensity, request.template.voxels)
        return ImagePyramid(Image(grid, scale(grid.voxels).to(self._device)))

    def _poses(self, pair: ImagePair, initialization: str) -> tuple[Pose, ...]:
        finest_mm = finest_spacing(pair.template.image, pair.target.image, self._settings)
        of_pose = replace(pair, encode=self._encode_for_pose())
        return estimate_poses(of_pose, initialization, finest_mm, self._settings.pose)

    def _encode_for_pose(self) -> Encode:
        if (self._features.encoder.name, self._features.layer) == (self._self_similarity.name, POSE_LAYER):
            return self._encode  # the pyramid keeps the template's features for both
        return self._encode_self_similarity

    def _encode_self_similarity(self, voxels: torch.Tensor) -> torch.Tensor:
        return encode_dense(self._self_similarity, POSE_LAYER, voxels)

    def _encode(self, voxels: torch.Tensor) -> torch.Tensor:
        features = self._features
        return encode_dense(features.encoder, features.layer, voxels, precision=features.precision).float()


def _check_detail(request: SearchRequest, shortest_mm: float, finest_mm: float) -> None:
    if shortest_mm < FEWEST_VOXELS * finest_mm:
        raise InputError(
            f"{request.template.name} is {shortest_mm:.3g} mm across, too little to be found at {finest_mm:.3g} mm, the"
            f" coarser voxel size of it and {request.target.name}; check the voxel sizes, or give a larger or finer"
            " volume."
        )


def _most_consistent(found: list[Fit]) -> Fit:
    """The first, or the last, from a rotated pose, where clearly more points are consistent."""
    shares = [one.found.consistent_share or 0.0 for one in found]
    return found[-1] if shares[-1] >= shares[0] + ROTATED_CONSISTENT_SHARE else found[0]
