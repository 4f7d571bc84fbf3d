"""The matcher: landmarks of a template found in a target."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

import deepfeatures
from deepfeatures.encoding.patch import SMALLEST_PATCH
from deepfeatures.errors import InputError
from deepfeatures.feature_cache import cached, content_hash, tensors_hash
from deepfeatures.intensity import check_policy, choose_policy, scaling
from deepfeatures.landmarks import Landmark, LandmarkSet
from deepfeatures.matching import devices
from deepfeatures.matching.candidates import Candidates, both, everywhere, in_ball, in_mask
from deepfeatures.matching.clock import Clock
from deepfeatures.matching.company import Company, Course
from deepfeatures.matching.expectation import calibrated
from deepfeatures.matching.greedy import Nearest, Progress, Scores, dense_scores, nearest, patch_scores
from deepfeatures.matching.guided_search import GuidedSearch, Place
from deepfeatures.matching.guided_settings import GuidedSettings, with_patch
from deepfeatures.matching.pose import WAYS
from deepfeatures.matching.prepared import on_common_grid
from deepfeatures.matching.template import Features, dense_templates, patch_templates
from deepfeatures.networks import catalog
from deepfeatures.networks.base import Encoder
from deepfeatures.reasons import UNPLACED, UNSEARCHED
from deepfeatures.volume import Volume

GUIDED = ("mind", "ssc_r1_d2", 13)  # network, layer, patch size that did best on the development data
GREEDY = ("mind", "ssc_r2_d2", 16)  # the best greedy setting of Testing/Benchmarks/sweep.py, on a fifth of the people
SEARCHES = ("guided", "dense", "patch")
TELL_EVERY_S = 0.25  # of what a greedy search knows so far
ATTEMPTS = 4  # each with a quarter of the memory of the one before


@dataclass(frozen=True)
class MatchSettings:
    """How landmarks are searched, everything chosen.

    Args:
        network: A name of the catalog.
        layer: One of its layers.
        patch_size: Edge length in voxels of the cube around a landmark that is compared; guided, the diameter of
            the ball at the finest level.
        search: `"guided"` goes from coarse to fine with keypoints beside the landmarks; the others are the paper's
            greedy search: `"dense"` encodes the target once, `"patch"` encodes a patch at every candidate.
        search_radius_mm: Distance in mm from the start within which candidates lie, `None` for the whole target. The
            start is where the landmark would be if the two volumes had their centres in one place.
        pose: Where a guided search starts. `"centres"`: equal directions in the world, centres in one place; `"world"`:
            equal places in the world; `"any"`: whatever rotation fits best; `"auto"`: centres, or the world where that
            is more alike; where that is not right equal directions wherever they fit best; and where that is not right
            any.
        device: Where to compute.
        precision: `"float32"` or `"bfloat16"`, in which the network computes; distances are always added up in float32.
        seed: Draws the kernels of random networks.
        intensity: A policy of `deepfeatures.intensity.POLICIES` for template and target; a patch search has none, since
            it scales each patch by its own extremes as the paper does.
    """

    network: str
    layer: str
    patch_size: int
    search: str
    search_radius_mm: float | None
    pose: str
    device: str
    precision: str
    seed: int
    intensity: str


@dataclass(frozen=True, eq=False)
class _Template:
    """What is kept of a template between targets.

    Args:
        volume: As given, to recognise it.
        landmarks: As given, to recognise them.
        policy: How intensities were scaled, `None` where each patch is scaled by itself.
        spacing_mm: Of the grid on which template and targets are compared.
        centre: LPS mm.
        defined: Places in `landmarks` of those that have a position.
        positions: Their LPS mm, shape `(D, 3)`.
        offsets: Voxels `(x, y, z)` from the landmark's voxel to the landmark itself, shape `(D, 3)`.
        maps: Feature maps, one a defined landmark.
    """

    volume: Volume
    landmarks: LandmarkSet
    policy: str | None
    spacing_mm: float
    centre: np.ndarray
    defined: tuple[int, ...]
    positions: np.ndarray
    offsets: np.ndarray
    maps: torch.Tensor


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
        if search is None:
            greedy = any(given is not None for given in (network, layer, patch_size, search_radius_mm))
            search = "dense" if greedy else "guided"
        best_network, best_layer, best_size = GUIDED if search == "guided" else GREEDY
        if network is None:
            network, layer = best_network, layer or best_layer
        patch_size = best_size if patch_size is None else patch_size
        if isinstance(patch_size, bool) or not isinstance(patch_size, int) or patch_size < SMALLEST_PATCH:
            raise InputError(
                f"A patch size of {patch_size} cannot be used; give {SMALLEST_PATCH} or more whole voxels."
            )
        if search not in SEARCHES:
            raise InputError(f"There is no search {search!r}; choose one of {', '.join(SEARCHES)}.")
        if search_radius_mm is not None and not 0 < search_radius_mm < math.inf:
            raise InputError(f"A search radius of {search_radius_mm} mm cannot be used; give more than 0, or none.")
        if pose not in WAYS:
            raise InputError(f"There is no pose {pose!r}; choose one of {', '.join(WAYS)}.")
        if search != "guided" and pose != "auto":
            raise InputError("Only a guided search finds a pose; leave out the pose, or search guided.")
        if search == "guided" and search_radius_mm is not None:
            raise InputError("A guided search finds its own way; leave out the search radius, or search dense.")
        check_policy(intensity)
        if search == "patch" and intensity != "auto":
            raise InputError("A patch search scales each patch by itself; leave out the intensity, or search dense.")
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
        self.last_report: dict = {}
        self._template: _Template | None = None
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

            if self.settings.search == "guided":
                positions = landmarks.positions[list(defined)]
                places = self._guided_places(template, positions, target, policy, mask, progress, tell, company)
            else:
                places = self._greedy_places(template, landmarks, target, policy, mask, progress, tell)
            placed = [_missing(landmark, UNPLACED) for landmark in landmarks]
            for index, place in zip(defined, places, strict=True):
                placed[index] = _missing(landmarks[index], place.reason)
                if place.position is not None:
                    placed[index] = replace(
                        placed[index],
                        position=place.position,
                        status="defined",
                        distance=place.distance,
                        round_trip=place.round_trip_mm,
                        expected_error=place.expected_error_mm,
                        within_3mm=place.within_3mm,
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

    def _greedy_places(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        policy: str | None,
        mask: Volume | None,
        progress: Progress,
        settling: Callable[[list[tuple[float, ...] | None]], None],
    ) -> list[Place]:
        known = self._known(template, landmarks, policy)
        grid, voxels = self._prepared(target, known.spacing_mm, policy, template)
        candidates, starts = self._candidates(known, grid, mask)
        told = time.monotonic()

        def positions(found: list[Nearest]) -> list[tuple[float, ...] | None]:
            return [
                None
                if one.voxel is None
                else tuple(grid.to_world(np.array(one.voxel[::-1])[None] + offset)[0].tolist())
                for one, offset in zip(found, known.offsets, strict=True)
            ]

        def tell(found: list[Nearest]) -> None:
            nonlocal told
            if time.monotonic() - told > TELL_EVERY_S:
                settling(positions(found))
                told = time.monotonic()

        best = self._with_less_memory(
            target,
            lambda memory_bytes: nearest(
                self._scores(known, voxels, candidates, memory_bytes, progress), known.maps, starts, tell
            ),
        )
        return [
            Place(place, math.sqrt(one.squared), reason="" if place else UNSEARCHED)
            for place, one in zip(positions(best), best, strict=True)
        ]

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
        policy = self._policy(template, target)
        known = self._known(template, LandmarkSet((landmark,)), policy)
        grid, voxels = self._prepared(target, known.spacing_mm, policy, template)
        candidates, _ = self._candidates(known, grid, mask)

        def paint(memory_bytes: int) -> torch.Tensor:
            distances = torch.full(tuple(grid.voxels.shape), math.nan)
            for scores in self._scores(known, voxels, candidates, memory_bytes, lambda _: None):
                distances[scores.voxels.unbind(1)] = scores.squared.sqrt()
            return distances

        distances = self._with_less_memory(target, paint)
        return replace(grid.with_voxels(distances), origin=grid.to_world(known.offsets)[0], name=landmark.name)

    def _policy(self, template: Volume, target: Volume) -> str | None:
        """How intensities are scaled, `None` where each patch is scaled by itself."""
        return None if self.settings.search == "patch" else choose_policy(self.settings.intensity, template, target)

    def _known(self, template: Volume, landmarks: LandmarkSet, policy: str | None) -> _Template:
        """The template's features: those of the last call where template, landmarks and policy were the same."""
        last = self._template
        if last and last.volume is template and last.landmarks == landmarks and last.policy == policy:
            return last
        defined = self._defined_inside(template, landmarks)
        positions = landmarks.positions[list(defined)]
        spacing_mm = float(np.min(template.spacing))
        grid, voxels = self._prepared(template, spacing_mm, policy, template)
        indices = grid.to_index(positions)
        nearest_voxels = np.clip(np.rint(indices), 0, np.array(grid.size) - 1)
        with self._clock.stage("encode"):
            encode = patch_templates if self.settings.search == "patch" else dense_templates
            wanted = torch.from_numpy(nearest_voxels[:, ::-1].astype(np.int64))
            maps = torch.empty(0)
            if defined:
                facts = self._facts(template, policy, nearest_voxels)
                maps = cached(facts, lambda: encode(self._features, voxels, wanted), self._device)
        self._template = _Template(
            volume=template,
            landmarks=landmarks,
            policy=policy,
            spacing_mm=spacing_mm,
            centre=template.centre,
            defined=defined,
            positions=positions,
            offsets=indices - nearest_voxels,
            maps=maps,
        )
        return self._template

    def _facts(self, template: Volume, policy: str | None, voxels: np.ndarray) -> dict:
        """All that the template's features follow from."""
        settings, encoder = self.settings, self._features.encoder
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

    def _prepared(
        self, volume: Volume, spacing_mm: float, policy: str | None, template: Volume
    ) -> tuple[Volume, torch.Tensor]:
        """The volume on the grid of comparison, and its voxels as the search wants them, on the device."""
        with self._clock.stage("prepare"):
            grid = on_common_grid(volume, spacing_mm)
            voxels = grid.voxels if policy is None else scaling(policy, template.voxels)(grid.voxels)
            return grid, voxels.to(self._device)

    def _candidates(
        self, known: _Template, grid: Volume, mask: Volume | None
    ) -> tuple[list[Candidates | None], np.ndarray]:
        """Candidates of each defined landmark, and its start as an index (depth, height, width) of the grid."""
        shape = tuple(grid.voxels.shape)
        starts = grid.to_index(known.positions - known.centre + grid.centre) - known.offsets
        starts = np.ascontiguousarray(starts[:, ::-1])
        common = everywhere(shape) if mask is None else in_mask(mask, grid)
        if self.settings.search_radius_mm is None:
            return [common] * len(starts), starts
        radius = self.settings.search_radius_mm / known.spacing_mm
        return [both(in_ball(shape, start, radius), common) for start in starts], starts

    def _scores(
        self,
        known: _Template,
        voxels: torch.Tensor,
        candidates: list[Candidates | None],
        memory_bytes: int,
        progress: Progress,
    ) -> Iterator[Scores]:
        common = {"clock": self._clock, "progress": progress}
        if self.settings.search == "patch":
            return patch_scores(self._features, voxels, known.maps, candidates, **common)
        return dense_scores(self._features, voxels, known.maps, candidates, memory_bytes=memory_bytes, **common)

    def _with_less_memory(self, target: Volume, search):
        """`search(memory_bytes)`, tried again with less where the device runs out of memory."""
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
        }


def reported(landmark: Landmark) -> dict:
    """What the report says of a placed landmark."""
    scores = ("distance", "round_trip", "expected_error", "within_3mm")
    return {
        "name": landmark.name,
        "status": landmark.status,
        **{score: value for score in scores if (value := getattr(landmark, score)) is not None},
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
