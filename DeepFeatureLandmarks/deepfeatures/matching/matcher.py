"""The matcher: landmarks of a template found in a target."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import torch

import deepfeatures
from deepfeatures.data.intensity import choose_policy
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import UNPLACED
from deepfeatures.data.scores import FORMER_NAMES, with_former_keys
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.extractor import Features
from deepfeatures.matching import devices
from deepfeatures.matching.greedy.scoring import Progress
from deepfeatures.matching.greedy.search import GreedySearch
from deepfeatures.matching.guided.groupwise import Company, Course
from deepfeatures.matching.guided.search import GuidedSearch
from deepfeatures.matching.guided.settings import GuidedSettings, with_patch
from deepfeatures.matching.result import Place
from deepfeatures.matching.settings import MatchSettings, check_choices, chosen_features
from deepfeatures.matching.timing import Clock
from deepfeatures.matching.uncertainty.error_model import calibrated
from deepfeatures.networks import catalog
from deepfeatures.networks.base import Encoder


class Matcher:
    """Finds the landmarks of a template in other volumes.

    Both volumes are brought to the same axis order and, by linear interpolation where they differ, to cubic voxels (a
    greedy search: as small as the template's smallest voxel edge). The result is in the target's own millimetres.

    Args:
        network: A name of the catalog; `None` for the one that did best on the development data.
        layer: One of its layers or an alias; `None` for the network's own default.
        patch_size: Voxels along each edge of the compared cube, 4 or more.
        search: See `MatchSettings`, as for what follows; `None` for `"guided"`, or `"dense"` where anything is
            given that belongs to the paper's greedy search: network, layer, patch size or search radius.
        search_radius_mm: More than 0.
        pose: `"auto"`, `"centres"`, `"world"` or `"any"`.
        device: `"auto"`, `"cpu"`, `"cuda"` or `"mps"`.
        precision: `"auto"`, `"float32"` or `"bfloat16"`.
        seed: Of random networks.
        intensity: `"auto"`, `"percentile"`, `"zscore"`, `"hu"`, `"histogram"` or `"rank"`.
        guided: The stages of a guided search, for studies; `None` for the best measured, with blocks of `patch_size`.

    Raises:
        InputError: An argument cannot be used.

    Example:
        >>> matcher = Matcher(network="vgg19-3d-random", layer="conv2_2", patch_size=20)
        >>> placed = matcher.match(template, landmarks, target)
    """

    def __init__(
        self,
        network: str | None = None,
        layer: str | None = None,
        patch_size: int | None = None,
        search: str | None = None,
        search_radius_mm: float | None = None,
        device: str = "auto",
        precision: str = "auto",
        seed: int = 0,
        pose: str = "auto",
        intensity: str = "auto",
        guided: GuidedSettings | None = None,
    ):
        network, layer, patch_size, search = chosen_features(network, layer, patch_size, search, search_radius_mm)
        check_choices(patch_size, search, search_radius_mm, pose, intensity)
        self._device = devices.choose_device(device)
        layer = catalog.resolve_layer(network, layer)
        encoder = catalog.build(network, seed=seed, layer=layer, device=self._device)
        precision = devices.choose_precision(precision, self._device, encoder)
        self._features = Features(encoder, layer, patch_size, precision)
        self.settings = MatchSettings(
            network, layer, patch_size, search, search_radius_mm, pose, str(self._device), precision, seed, intensity
        )
        self._guided = GuidedSearch(
            self._features,
            self._device,
            guided or with_patch(GuidedSettings(), patch_size),
            pose,
            calibrated(network, layer, patch_size),
        )
        self._greedy = GreedySearch(self._features, self._device, self.settings)
        self.last_report: dict = {}
        self._clock = Clock(self._device)

    def match(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        *,
        mask: Volume | None = None,
        progress: Progress | None = None,
        settling: Callable[[LandmarkSet], None] | None = None,
        company: Company | None = None,
    ) -> LandmarkSet:
        """Place the landmarks of the template in the target.

        What is known of the template is kept: with the same volume and landmarks, the next target takes less time.

        Args:
            template: Where the landmarks lie.
            landmarks: Those without a position stay without one.
            target: Where to place them.
            mask: Not zero where the target may be searched; any grid in the target's space.
            progress: Called with the fraction done, from 0 to 1.
            settling: Called with where the landmarks lie so far, to be looked at, not to be kept: guided, all that
                have a position, after each step from coarse to fine; greedy, those that have a candidate, now and then.
            company: Targets of the same template and landmarks, which a guided search's target joins, see `course`.

        Returns:
            A landmark for each of the template's, in the same order and with the same name and description: `"defined"`
            with its feature distance, or `"missing"` with the reason.

        Raises:
            InputError: The template is flat or, guided, too small for the voxels, a landmark lies outside it, the mask
                is empty, or memory is too short.
        """
        progress = progress or (lambda _: None)
        self._check_template(template)
        defined = self._defined_inside(template, landmarks)
        policy = self._policy(template, target)
        with self._reported(template, target, policy) as found:
            wanted = [landmarks[index] for index in defined]

            def tell(positions: Iterable[Sequence[float] | None]) -> None:
                if settling is not None:
                    settling(_moved(wanted, positions))

            positions = landmarks.positions[list(defined)]
            if self.settings.search == "guided":
                places = self._guided_places(template, positions, target, policy, mask, progress, tell, company)
            else:
                places = self._greedy.find(template, positions, target, self._clock, progress, policy, mask, tell)
            placed = [_missing(landmark, UNPLACED) for landmark in landmarks]
            for index, place in zip(defined, places, strict=True):
                placed[index] = _missing(landmarks[index], place.reason)
                if place.position is not None:
                    placed[index] = replace(
                        placed[index],
                        position=place.position,
                        status="defined",
                        **place.scores,
                    )
            found.extend(reported(landmark) for landmark in placed)
            for index, place in zip(defined, places, strict=True):
                found[index]["evidence"] = place.evidence
        progress(1.0)
        return replace(landmarks, landmarks=tuple(placed))

    def company(self) -> Company | None:
        """For targets that are to be placed together; `None` where the search is greedy, which places each alone."""
        return Company() if self.settings.search == "guided" else None

    @property
    def course(self) -> Course | None:
        """Of the last target that was matched: how it was, if it has joined a company."""
        return self._guided.course

    def match_again(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        placed: LandmarkSet,
        target: Volume,
        course: Course,
        company: Company,
    ) -> LandmarkSet:
        """Move what was placed in a target to where all targets together say that it lies.

        Found landmarks stay found, and missing ones missing; what is said of them is what the target said alone.

        Args:
            template, landmarks, target: As `match` had them.
            placed: What `match` returned.
            course: Of the target.
            company: Which the target has joined, and which is large enough for it, see `Company.tells`.

        Raises:
            InputError: Memory is too short.
        """
        defined = self._defined_inside(template, landmarks)
        policy = self._policy(template, target)
        with self._enough_memory(target):
            places = self._guided.find_again(
                template, landmarks.positions[list(defined)], target, course, company, policy
            )
        moved = list(placed)
        for index, place in zip(defined, places, strict=True):
            if moved[index].is_defined and not np.isnan(place).any():
                moved[index] = replace(moved[index], position=tuple(place.tolist()))
        return replace(placed, landmarks=tuple(moved))

    def match_together(
        self, template: Volume, landmarks: LandmarkSet, targets: Sequence[Volume]
    ) -> tuple[LandmarkSet, ...]:
        """Place the landmarks of the template in several targets, each by what the others show, too, see `Company`.

        Args:
            template, landmarks: See `match`, as for what is raised.
            targets: With fewer than three, or in a greedy search, each is placed alone.
        """
        company, found = self.company(), []
        for target in targets:
            placed = self.match(template, landmarks, target, company=company)
            found.append((placed, self.course))
        return tuple(
            self.match_again(template, landmarks, placed, target, course, company)
            if course is not None and company.tells(course)
            else placed
            for target, (placed, course) in zip(targets, found, strict=True)
        )

    @property
    def encoder(self) -> Encoder:
        """The network, at least up to the layer of the settings."""
        return self._features.encoder

    def warm_up(self, template: Volume, target: Volume) -> None:
        """Do ahead what the next `match` of this pair needs, whatever its landmarks: a guided search's pose."""
        if self.settings.search == "guided":
            self._guided.prepare(template, target, self._clock, self._policy(template, target))

    def _guided_places(
        self,
        template: Volume,
        positions: np.ndarray,
        target: Volume,
        policy: str,
        mask: Volume | None,
        progress: Progress,
        settling: Callable[[np.ndarray], None],
        company: Company | None,
    ) -> list[Place]:
        if mask is not None:
            raise InputError("A guided search takes no mask; leave the mask out, or search dense.")
        with self._enough_memory(target):
            return self._guided.find(template, positions, target, self._clock, progress, policy, settling, company)

    @contextmanager
    def _enough_memory(self, target: Volume) -> Iterator[None]:
        """Says so where there is not."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not devices.is_out_of_memory(error):
                raise
            raise InputError(
                f"There is not enough memory on {self._device} to place landmarks in {target.name}; choose the cpu,"
                " crop the volume, or close other programs."
            ) from error

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
        self._defined_inside(template, LandmarkSet((landmark,)))
        policy, position = self._policy(template, target), np.array(landmark.position)
        distances = self._greedy.distances(template, position, target, self._clock, policy, mask)
        return replace(distances, name=landmark.name)

    def _policy(self, template: Volume, target: Volume) -> str | None:
        """How intensities are scaled, `None` where each patch is scaled by itself."""
        return None if self.settings.search == "patch" else choose_policy(self.settings.intensity, template, target)

    @staticmethod
    def _check_template(template: Volume) -> None:
        if bool(template.voxels.min() == template.voxels.max()):
            raise InputError(
                f"{template.name} has the same value everywhere; give the volume in which the landmarks were placed."
            )

    @staticmethod
    def _defined_inside(template: Volume, landmarks: LandmarkSet) -> tuple[int, ...]:
        """Places in the set of landmarks that have a position; it must lie in the template."""
        defined = tuple(place for place, landmark in enumerate(landmarks) if landmark.is_defined)
        inside = template.contains(landmarks.positions[list(defined)])
        outside = [landmarks[place].name for place, is_in in zip(defined, inside, strict=True) if not is_in]
        if outside:
            raise InputError(
                f"{', '.join(outside[:3])} lie outside the template {template.name}; give the volume in which the"
                " landmarks were placed."
            )
        return defined

    @contextmanager
    def _reported(self, template: Volume, target: Volume, policy: str | None) -> Iterator[list[dict]]:
        """Collects the landmarks that are placed and writes `last_report` about them."""
        self._clock = Clock(self._device)
        placed: list[dict] = []
        yield placed
        pose, agreement = self._guided.pose, self._guided.agreement
        self.last_report = {
            "settings": asdict(self.settings),
            "versions": {
                "deepfeatures": deepfeatures.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            "seed": self.settings.seed,
            "device": devices.device_name(self._device),
            "template": template.name,
            "target": target.name,
            "intensity": policy,
            "pose": {"way": pose.way, "likeness": round(pose.likeness, 4)} if pose else None,
            "agreement": None if agreement is None else round(agreement, 4),
            "seconds": {name: round(seconds, 4) for name, seconds in self._clock.seconds.items()},
            "peak_bytes": devices.peak_bytes(self._device),
            "landmarks": placed,
            "deprecated_keys": FORMER_NAMES,
        }


def reported(landmark: Landmark) -> dict:
    """What the report says of a placed landmark."""
    return {
        "name": landmark.name,
        "status": landmark.status,
        **with_former_keys(landmark.scores),
        **({"reason": landmark.reason} if landmark.reason else {}),
    }


def _moved(landmarks: Sequence[Landmark], positions: Iterable[Sequence[float] | None]) -> LandmarkSet:
    """The landmarks at other positions, LPS mm; without those for which that is `None`."""
    pairs = zip(landmarks, positions, strict=True)
    return LandmarkSet(
        tuple(replace(known, position=tuple(map(float, place))) for known, place in pairs if place is not None)
    )


def _missing(landmark: Landmark, reason: str) -> Landmark:
    """The same landmark in a target where it has not been found."""
    return Landmark(landmark.name, None, "missing", landmark.description, reason=reason)
