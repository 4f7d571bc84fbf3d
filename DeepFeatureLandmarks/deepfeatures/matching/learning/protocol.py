"""A landmark protocol: a template, its landmarks, what they are, and what accepted scans have taught about them.

A protocol is never changed: learning and forgetting give another one. What is learnt follows from the taught scans
alone, whatever their order, so that forgetting a scan is exact, and two protocols can be merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from deepfeatures.data.geometry import mean_edge_mm
from deepfeatures.data.landmark_checks import check_unique_names, names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.provenance import now, versions
from deepfeatures.matching.learning.landmark_head import FEWEST_PEOPLE, LandmarkHead, fit_head, lessons
from deepfeatures.matching.learning.leave_one_out import LeftOut, leave_one_out, recalibrated_model
from deepfeatures.matching.learning.taught_scan import TaughtScan
from deepfeatures.matching.uncertainty.error_model import ErrorModel, load_error_model

SAME_MM = 0.01  # positions of landmarks, and of voxels, that differ by less are the same
DOUBTFUL = 1.5  # times the usual 90 % radius, from which on a landmark is said to be in doubt still


@dataclass(frozen=True)
class Definition:
    """What a landmark is, for those who place and review it.

    Args:
        text: A sentence or more.
        picture: PNG or JPEG.
        link: To the protocol that defines it.
    """

    text: str = ""
    picture: bytes | None = None
    link: str = ""


@dataclass(frozen=True, eq=False)
class Learnt:
    """What follows from the taught scans.

    Args:
        head: Moves landmarks.
        model: Predicts the errors of those that were moved; `None` where nobody has calibrated the features.
        left_out: How well the head does for people whom it does not know; rows as the scans.
    """

    head: LandmarkHead
    model: ErrorModel | None
    left_out: LeftOut


@dataclass(frozen=True, eq=False)
class Protocol:
    """See the module.

    Args:
        template: In which the landmarks lie.
        landmarks: All with a position and a name of their own.
        features: By which scans are compared, see `error_model.features_key`.
        definitions: By the name of the landmark.
        scans: That taught, by rising key.
        learnt: From them; `None` from fewer than three people.
        made: When, and by which versions.
    """

    template: Volume
    landmarks: LandmarkSet
    features: str
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    scans: tuple[TaughtScan, ...] = ()
    learnt: Learnt | None = None
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def people(self) -> tuple[str, ...]:
        """Who taught, once each, in order."""
        return tuple(sorted({scan.person for scan in self.scans}))

    def with_scans(self, scans: Iterable[TaughtScan]) -> Protocol:
        """The protocol that has learnt these, too; a scan that it knows is learnt anew."""
        known = {scan.key: scan for scan in self.scans} | {scan.key: scan for scan in scans}
        return self._of(known.values())

    def with_scan(self, scan: TaughtScan) -> Protocol:
        """The protocol that has learnt one scan more."""
        return self.with_scans([scan])

    def without(self, *names: str) -> Protocol:
        """The protocol that has never learnt these scans, by name or key, or the scans of these people.

        Raises:
            InputError: Nobody of one of these names has taught.
        """
        known = {name for scan in self.scans for name in (scan.name, scan.person, scan.key)}
        if unknown := [name for name in names if name not in known]:
            taught = names_text(sorted(scan.name for scan in self.scans)) or "nobody"
            raise InputError(f"{unknown[0]} has not taught this protocol; it was taught by {taught}.")
        return self._of(scan for scan in self.scans if not {scan.name, scan.person, scan.key} & set(names))

    def with_definitions(self, definitions: Mapping[str, Definition]) -> Protocol:
        """The protocol with these definitions beside those that it has.

        Raises:
            InputError: One is of a landmark that is not there.
        """
        names = {landmark.name for landmark in self.landmarks}
        unknown = sorted(definitions.keys() - names)
        if unknown:
            raise InputError(f"The protocol has no landmark {unknown[0]}; it has {', '.join(sorted(names))}.")
        return replace(self, definitions={**self.definitions, **definitions})

    def merged(self, other: Protocol) -> Protocol:
        """What both have learnt; of a scan that both know, what was learnt last.

        Raises:
            InputError: They have other templates, landmarks or features.
        """
        if other.features != self.features:
            raise InputError(f"One protocol is for the features {self.features}, the other for {other.features}.")
        numbers = self.numbers_of(other.template, other.landmarks)
        if numbers != list(range(len(self.landmarks))):
            raise InputError("The two protocols have different landmarks; only those of the same ones can be merged.")
        first, last = sorted((self, other), key=lambda one: str(one.made.get("time", "")))
        scans = sorted((*self.scans, *other.scans), key=lambda scan: scan.learnt)
        merged = replace(first, definitions={**last.definitions, **first.definitions})
        return merged._of({scan.key: scan for scan in scans}.values())

    def head_for(self, template: Volume, landmarks: LandmarkSet) -> LandmarkHead | None:
        """What was learnt about those of the landmarks that have a position; `None` from too few people.

        Raises:
            InputError: See `numbers_of`.
        """
        numbers = self.numbers_of(template, landmarks)
        if self.learnt is None:
            return None
        defined = [number for number, landmark in zip(numbers, landmarks, strict=True) if landmark.is_defined]
        return self.learnt.head.take(defined)

    def numbers_of(self, template: Volume, landmarks: LandmarkSet) -> list[int]:
        """Which of its landmarks these are; -1 for one of another name, which nobody has taught.

        Raises:
            InputError: The template is another one, or a landmark lies elsewhere.
        """
        if not _same_volume(self.template, template):
            raise InputError(
                f"{template.name} is not the template of the protocol, {self.template.name}; give that one, or begin"
                " another protocol."
            )
        known = {landmark.name: index for index, landmark in enumerate(self.landmarks)}
        numbers = [known.get(landmark.name, -1) for landmark in landmarks]
        for landmark, number in zip(landmarks, numbers, strict=True):
            if number < 0 or not landmark.is_defined:
                continue
            apart = np.subtract(landmark.position, self.landmarks[number].position)
            if np.linalg.norm(apart) > SAME_MM:
                raise InputError(
                    f"{landmark.name} lies {np.linalg.norm(apart):.2f} mm from where the protocol has it; put it back,"
                    " or begin another protocol."
                )
        return numbers

    def summary(self) -> dict[str, Any]:
        """What people want to know of it, as JSON takes it."""
        before, after = _means(self.learnt and self.learnt.left_out)
        return {
            "template": self.template.name,
            "features": self.features,
            "made": dict(self.made),
            "taught_by": len(self.scans),
            "people": len(self.people),
            "in_use": self.learnt is not None,
            "error_before_mm": before,
            "error_after_mm": after,
            "scans": [_scan_summary(scan, odd) for scan, odd in zip(self.scans, self._odd, strict=True)],
            "landmarks": self._landmark_summaries(),
        }

    @property
    def _odd(self) -> list[bool]:
        """Which scans differ from the others."""
        return [False] * len(self.scans) if self.learnt is None else self.learnt.left_out.odd.tolist()

    def _landmark_summaries(self) -> list[dict[str, Any]]:
        rows = [
            {"name": landmark.name, "taught": sum(bool(scan.taught[index]) for scan in self.scans)}
            for index, landmark in enumerate(self.landmarks)
        ]
        radii = self._radii_90_mm()
        known = [radius for radius in radii if radius is not None]
        for index, (row, radius) in enumerate(zip(rows, radii, strict=True)):
            before, after = _means(self.learnt and self.learnt.left_out, index)
            doubtful = radius is not None and radius > DOUBTFUL * float(np.median(known))
            row |= {"error_before_mm": before, "error_after_mm": after, "radius_90_mm": radius, "doubtful": doubtful}
        return rows

    def _radii_90_mm(self) -> list[float | None]:
        """Of each landmark in the taught scans, the median."""
        if self.learnt is None or self.learnt.model is None:
            return [None] * len(self.landmarks)
        model = self.learnt.model
        rows = [model.radii_mm(scan.evidence.double(), float(scan.spacing_mm), 0.9) for scan in self.scans]
        counted = torch.stack([scan.taught for scan in self.scans]) & ~self.learnt.left_out.odd[:, None]
        radii = torch.stack(rows).masked_fill(~counted, torch.nan)
        return [None if radius.isnan() else round(float(radius), 2) for radius in radii.nanmedian(0).values]

    def _of(self, scans: Iterable[TaughtScan]) -> Protocol:
        """The same taught by these scans."""
        ordered = tuple(sorted(scans, key=lambda scan: scan.key))
        return replace(self, scans=ordered, learnt=self._learnt_from(ordered))

    def _learnt_from(self, scans: Sequence[TaughtScan]) -> Learnt | None:
        if len({scan.person for scan in scans}) < FEWEST_PEOPLE:
            return None
        known = lessons(scans)
        left_out, model = leave_one_out(known), load_error_model(self.features)
        if model is not None:
            size = mean_edge_mm(self.template.size, self.template.spacing)
            model = recalibrated_model(model, known, left_out, size, self.template.name)
        return Learnt(fit_head(known), model, left_out)


def begin_protocol(
    template: Volume, landmarks: LandmarkSet, features: str, definitions: Mapping[str, Definition] | None = None
) -> Protocol:
    """A protocol that nobody has taught; landmarks without a position are left out.

    Args:
        template: In which the landmarks lie.
        landmarks: With names of their own.
        features: Of the matcher, see `Matcher.features_key`.
        definitions: By name; of landmarks without one, their description is the text.

    Raises:
        InputError: Names are not unique, no landmark has a position, or a definition is of none of them.
    """
    check_unique_names(landmarks, template.name)
    kept = tuple(landmark for landmark in landmarks if landmark.is_defined)
    if not kept:
        raise InputError(f"No landmark of {template.name} has a position; place at least one.")
    described = {one.name: Definition(one.description) for one in kept if one.description}
    protocol = Protocol(template, replace(landmarks, landmarks=kept), features, made={"time": now(), **versions()})
    return protocol.with_definitions({**described, **(definitions or {})})


def _same_volume(first: Volume, second: Volume) -> bool:
    if first is second:
        return True
    if first.voxels.shape != second.voxels.shape:
        return False
    corners = np.array([[0, 0, 0], *(np.diag(first.size).tolist()), first.size], float)
    if np.abs(first.to_world(corners) - second.to_world(corners)).max() > SAME_MM:
        return False
    return bool(torch.allclose(first.voxels, second.voxels, rtol=1e-5, atol=1e-5))


def _means(left_out: LeftOut | None, landmark: int | None = None) -> tuple[float | None, float | None]:
    """Mean errors in mm before and after, of all landmarks or of one."""
    if left_out is None:
        return None, None
    chosen = slice(None) if landmark is None else landmark
    unknown = ~left_out.judged | left_out.odd[:, None]
    means = [
        errors.masked_fill(unknown, torch.nan)[:, chosen].nanmean()
        for errors in (left_out.before_mm, left_out.after_mm)
    ]
    before, after = (None if mean.isnan() else round(float(mean), 3) for mean in means)
    return before, after


def _scan_summary(scan: TaughtScan, odd: bool) -> dict[str, Any]:
    corrected = int((scan.taught & scan.corrected).sum())
    return {
        "name": scan.name,
        "person": scan.person,
        "learnt": scan.learnt,
        "corrected": corrected,
        "accepted": int(scan.taught.sum()) - corrected,
        "odd": odd,
    }
