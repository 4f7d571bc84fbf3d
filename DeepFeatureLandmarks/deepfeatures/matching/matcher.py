"""The matcher: landmarks of a template found in a target."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfeatures.data.geometry import mean_edge_mm
from deepfeatures.data.intensity import choose_policy, notes_on_policy
from deepfeatures.data.landmark_checks import check_inside
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import UNPLACED
from deepfeatures.data.notes import joined
from deepfeatures.data.size_check import notes_on_size
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.errors import InputError, is_out_of_memory
from deepfeatures.features.extractor import Features
from deepfeatures.io.provenance import content_hash
from deepfeatures.matching import devices
from deepfeatures.matching.greedy.search import GreedySearch
from deepfeatures.matching.groupwise import GroupwiseModel
from deepfeatures.matching.guided.alternatives import Fit
from deepfeatures.matching.guided.search import GuidedSearch
from deepfeatures.matching.guided.settings import GuidedSettings, with_patch
from deepfeatures.matching.learning.protocol import Protocol
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.matching.result import Alternative, LandmarkMatch, MatchResult, missing
from deepfeatures.matching.search_interface import Positions, Progress, Search, SearchRequest, SearchResult, ignore
from deepfeatures.matching.settings import MatchSettings, with_features
from deepfeatures.matching.timing import Timer
from deepfeatures.matching.uncertainty.calibration_file import read_calibration
from deepfeatures.matching.uncertainty.error_model import TOLERANCE, ErrorModel, features_key, load_error_model
from deepfeatures.networks import catalog
from deepfeatures.networks.base import Encoder

RENAMED = {"pose": "initialization"}  # arguments that have another name since 0.1; the old work for one version


class Matcher:
    """Finds the landmarks of a template in other volumes.

    Both volumes are brought to the same axis order and, by linear interpolation where they differ, to cubic voxels (a
    greedy search: as small as the template's smallest voxel edge). The result is in the target's own millimetres.
    Nothing of a match is left on the matcher but caches, so that threads may share it.

    Args:
        settings: How landmarks are searched; `None` for the best measured.
        guided: The levels of a guided search, for studies; `None` for the best measured, with blocks of `patch_size`.
        taught: A protocol that is not in a file; else that of the settings counts.
        choices: Fields of `MatchSettings` that differ from `settings`.

    Raises:
        InputError: A setting cannot be used.

    Example:
        >>> matcher = Matcher(network="vgg19-3d-random", layer="conv2_2", patch_size=20)
        >>> result = matcher.match(template, landmarks, target)
        >>> result.landmarks
    """

    def __init__(
        self,
        settings: MatchSettings | None = None,
        *,
        guided: GuidedSettings | None = None,
        taught: Protocol | None = None,
        **choices: Any,
    ):
        given = replace(settings or MatchSettings(), **_renamed(choices))
        self.protocol = taught or (read_protocol(given.protocol) if given.protocol else None)
        """What was learnt, or `None`."""
        self._protocol_sha256 = content_hash(Path(given.protocol)) if given.protocol else None
        chosen = (with_features(given, self.protocol.features) if self.protocol else given).chosen()
        self._device = devices.choose_device(chosen.device)
        layer = catalog.resolve_layer(chosen.network, chosen.layer)
        encoder = catalog.build(chosen.network, seed=chosen.seed, layer=layer, device=self._device)
        precision = devices.choose_precision(chosen.precision, self._device, encoder)
        self._features = Features(encoder, layer, chosen.patch_size, precision)
        self.settings = replace(chosen, layer=layer, device=str(self._device), precision=precision)
        self._calibration = read_calibration(chosen.calibration, self.features_key) if chosen.calibration else None
        self._levels = guided or with_patch(GuidedSettings(), chosen.patch_size)

    @cached_property
    def _guided(self) -> GuidedSearch:
        initialization = self.settings.initialization
        return GuidedSearch(self._features, self._device, self._levels, initialization, self.error_model)

    @cached_property
    def _greedy(self) -> GreedySearch:
        return GreedySearch(self._features, self._device, self.settings)

    @property
    def _search(self) -> Search:
        return self._guided if self.settings.is_guided else self._greedy

    @property
    def features_key(self) -> str:
        """Of the features whose errors a calibration predicts."""
        return features_key(self.settings.network, self.settings.layer, self.settings.patch_size)

    @property
    def error_model(self) -> ErrorModel | None:
        """Predicts errors; `None` where the search is greedy, or nobody has calibrated the features."""
        if not self.settings.is_guided:
            return None
        if self.protocol and self.protocol.learnt:
            return self.protocol.learnt.model
        return self._calibration.model if self._calibration else load_error_model(self.features_key)

    @property
    def encoder(self) -> Encoder:
        """The network, at least up to the layer of the settings."""
        return self._features.encoder

    def match(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        *,
        mask: Volume | None = None,
        progress: Progress = ignore,
        interim: Callable[[LandmarkSet], None] | None = None,
        group: GroupwiseModel | None = None,
    ) -> MatchResult:
        """Find the landmarks of the template in the target.

        What is known of the template is kept: with the same volume and landmarks, the next target takes less time.

        Args:
            template: Where the landmarks lie.
            landmarks: Those without a position stay without one.
            target: Where to find them.
            mask: Not zero where the target may be searched; any grid in the target's space. Greedy search only.
            progress: Called with the fraction done, from 0 to 1.
            interim: Called with the landmarks so far, to be looked at, not to be kept. A guided search calls it after
                each level with all that have a position, a greedy one now and then with those that have a candidate.
            group: Targets of the same template and landmarks; a guided search adds a target that shows the template's
                anatomy, see `refine_with_group`.

        Raises:
            InputError: Voxels are not finite, the template is flat or, guided, too small for the voxels, a landmark
                lies outside it, the mask is empty, or memory is too short.
        """
        if mask is not None:
            mask.require_finite()
        self._check_template(template)
        defined = self._defined_inside(template, landmarks)
        wanted = [landmarks[index] for index in defined]

        def tell(positions: Positions) -> None:
            if interim is not None:
                interim(_moved(wanted, positions))

        request = self._request(template, landmarks, target, mask=mask, progress=progress, interim=tell, group=group)
        with self._enough_memory(target):
            found = self._search.find(request)
        progress(1.0)
        return self._result(request, landmarks, defined, found)

    def ways(self, template: Volume, landmarks: LandmarkSet, target: Volume) -> tuple[Fit, ...]:
        """The ways in which the template fits, the most likely first, with nothing refused: for studies of doubt.

        Args:
            template, target: See `match`.
            landmarks: All with a position.

        Raises:
            InputError: As of `match`.
        """
        self._check_template(template)
        self._defined_inside(template, landmarks)
        request = self._request(template, landmarks, target)
        with self._enough_memory(target):
            return self._guided.ways(request)

    def refine_with_group(
        self, template: Volume, landmarks: LandmarkSet, target: Volume, result: MatchResult, group: GroupwiseModel
    ) -> MatchResult:
        """Move what was found in a target to where all targets of the group together show it.

        Found landmarks stay found, and missing ones missing; their scores are those of the target alone.

        Args:
            template, landmarks, target: As `match` had them.
            result: What `match` returned.
            group: To which the target was added. Where it is not sufficient for it, the result stays as it is.

        Raises:
            InputError: Memory is too short.
        """
        state = result.state
        if state is None or not group.is_sufficient(state):
            return result
        request = self._request(template, landmarks, target, group=group)
        with self._enough_memory(target), request.timer.stage("group"):
            found = self._guided.refine(request, state)
        places: list = [None] * len(landmarks)
        for index, place in zip(self._defined_inside(template, landmarks), found.places, strict=True):
            places[index] = place
        seconds = {**result.seconds, **request.timer.seconds}
        return result.with_places(places, mapping=found.mapping, seconds=seconds, group_size=group.count_others(state))

    def match_together(
        self, template: Volume, landmarks: LandmarkSet, targets: Sequence[Volume]
    ) -> tuple[MatchResult, ...]:
        """Find the landmarks in several targets, each by what the others show, too, see `GroupwiseModel`.

        Args:
            template, landmarks: See `match`, as for what is raised.
            targets: With fewer than three, or in a greedy search, each is matched alone.
        """
        group = GroupwiseModel()
        alone = [self.match(template, landmarks, target, group=group) for target in targets]
        return tuple(
            self.refine_with_group(template, landmarks, target, result, group)
            for target, result in zip(targets, alone, strict=True)
        )

    def warm_up(self, template: Volume, target: Volume) -> None:
        """Do ahead what the next `match` of this pair needs, whatever its landmarks: a guided search's pose."""
        self._search.warm_up(self._request(template, LandmarkSet(()), target))

    def distance_volume(
        self, template: Volume, landmark: Landmark, target: Volume, *, mask: Volume | None = None
    ) -> Volume:
        """Feature distance of a template's landmark to every candidate in the target.

        Args:
            template: Where the landmark lies.
            landmark: One with a position.
            target: Where it is searched.
            mask: As for `match`.

        Returns:
            Distances on the grid of candidates: the centre of a voxel is where the landmark would be placed if that
            voxel were the best. NaN where nothing was searched.
        """
        if not landmark.is_defined:
            raise InputError(f"The landmark {landmark.name} has no position in {template.name}; place it first.")
        one = LandmarkSet((landmark,))
        self._defined_inside(template, one)
        distances = self._greedy.distances(self._request(template, one, target, mask=mask))
        return replace(distances, name=landmark.name)

    def _request(self, template: Volume, landmarks: LandmarkSet, target: Volume, **others: Any) -> SearchRequest:
        positions = landmarks.positions
        positions = positions[~np.isnan(positions).any(1)]
        return SearchRequest(
            template,
            positions,
            target,
            self._intensity(template, target),
            Timer(self._device),
            tolerance_mm=self._tolerance_mm(template),
            head=self.protocol and self.protocol.head_for(template, landmarks),
            **others,
        )

    def teach(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        positions: np.ndarray,
    ) -> dict[str, torch.Tensor]:
        """What a target teaches whose landmarks a person has put at `positions`, see `teaching.teach`.

        Args:
            template, landmarks, target: See `match`; all landmarks have a position.
            positions: LPS mm, `(N, 3)`; NaN rows for landmarks that nobody has looked at.

        Raises:
            InputError: As of `match`; or the search is greedy, or the target does not show the template's anatomy.
        """
        if not self.settings.is_guided:
            raise InputError("Only a guided search learns; leave out search, network, layer and radius.")
        self._check_template(template)
        self._defined_inside(template, landmarks)
        request = replace(self._request(template, landmarks, target), head=None)
        with self._enough_memory(target):
            return self._guided.taught(request, positions)

    def _tolerance_mm(self, template: Volume) -> float:
        """As set, or a share of the template's size."""
        return self.settings.tolerance_mm or TOLERANCE * mean_edge_mm(template.size, template.spacing)

    def _result(
        self, request: SearchRequest, landmarks: LandmarkSet, defined: tuple[int, ...], found: SearchResult
    ) -> MatchResult:
        """The result of a request for the `defined` of the landmarks."""
        evidence: list[dict[str, float]] = [{} for _ in landmarks]
        for index, match in zip(defined, found.matches, strict=True):
            evidence[index] = match.evidence
        volumes = request.template, request.target
        on_values = notes_on_policy(self.settings.intensity, *volumes) if request.intensity else ()
        on_size = (note.of(request.target.name) for note in notes_on_size(*volumes))
        notes = tuple(dict.fromkeys((*notes_of(*volumes), *on_values, *on_size)))

        def placed(matches: Sequence[LandmarkMatch]) -> LandmarkSet:
            every = [missing(landmark, UNPLACED) for landmark in landmarks]
            for index, match in zip(defined, matches, strict=True):
                every[index] = match.of(landmarks[index])
            noted = tuple(replace(landmark, note=joined(notes) or "") for landmark in every)
            return replace(landmarks, landmarks=noted)

        alternatives = tuple(Alternative(placed(one.matches), one.probability, one.text) for one in found.alternatives)
        return MatchResult(
            placed(found.matches),
            request.template.name,
            request.target.name,
            self.settings,
            request.intensity,
            found.pose,
            found.consistent_share,
            found.mapping,
            tuple(evidence),
            found.spacing_mm,
            dict(request.timer.seconds),
            devices.peak_bytes(self._device),
            found.state,
            alternatives=alternatives,
            tolerance_mm=request.tolerance_mm,
            calibration=self._calibration and self._calibration.report(),
            protocol=self._protocol_report() if request.head else None,
            notes=notes,
        )

    def _protocol_report(self) -> dict[str, Any]:
        """What tells the protocol from others."""
        assert self.protocol is not None
        return {"file": self.settings.protocol, "sha256": self._protocol_sha256, "taught_by": len(self.protocol.scans)}

    @contextmanager
    def _enough_memory(self, target: Volume) -> Iterator[None]:
        """Says so where there is not."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            elsewhere = "" if self._device.type == "cpu" else "choose the cpu, "
            raise InputError(
                f"There is not enough memory on {self._device} to place landmarks in {target.name}; {elsewhere}"
                "close other programs, or crop the volume."
            ) from error

    def _intensity(self, template: Volume, target: Volume) -> str | None:
        """How voxels are scaled, `None` where each patch is scaled by itself."""
        return None if self.settings.search == "patch" else choose_policy(self.settings.intensity, template, target)

    @staticmethod
    def _check_template(template: Volume) -> None:
        if bool(template.voxels.min() == template.voxels.max()):
            raise InputError(
                f"{template.name} has the same value everywhere; give the volume in which the landmarks were placed."
            )

    @staticmethod
    def _defined_inside(template: Volume, landmarks: LandmarkSet) -> tuple[int, ...]:
        """Indices of landmarks that have a position; it must lie in the template."""
        check_inside(landmarks, template, landmarks.name, template.name)
        return tuple(index for index, landmark in enumerate(landmarks) if landmark.is_defined)


def _renamed(choices: dict[str, Any]) -> dict[str, Any]:
    """Choices under their names of today, with a warning for each old one."""
    for old in RENAMED.keys() & choices.keys():
        warnings.warn(f"{old}= is now {RENAMED[old]}=", DeprecationWarning, stacklevel=3)
        choices = {RENAMED[old] if name == old else name: value for name, value in choices.items()}
    unknown = choices.keys() - asdict(MatchSettings()).keys()
    if unknown:
        raise TypeError(f"Matcher has no setting {min(unknown)!r}")
    return choices


def _moved(landmarks: Sequence[Landmark], positions: Positions) -> LandmarkSet:
    """The landmarks at other positions, LPS mm; without those for which that is `None`."""
    pairs = zip(landmarks, positions, strict=True)
    return LandmarkSet(
        tuple(replace(known, position=tuple(map(float, place))) for known, place in pairs if place is not None)
    )
