"""Which landmarks of a guided search are given, and which are missing, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from deepfeatures.data.landmarks import Rotation
from deepfeatures.data.missing_reason import DOUBTFUL, NOTHING_ALIKE, NOTHING_TO_COMPARE, OUTSIDE
from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.guided.registration import PointRegistration
from deepfeatures.matching.result import LandmarkMatch
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import CLOSE_MM, ErrorModel
from deepfeatures.matching.uncertainty.mixture import Mixture

# A landmark that lies beyond the target's edge may come to lie just inside of it: nearer to the edge than this, in
# finest spacings, it counts as outside, unless it lies near the template's edge too. Fixed on crops of known scans.
EDGE = 1.0
LEAST_PROBABILITY = 0.2  # to be within three finest voxels; below it a place is too doubtful to be given
LEAST_CONTRAST = 1e-3  # how much better than an average place the best must look, relatively, to be a place at all
# Where the template is as flat as this within five finest voxels, as in a blanked or saturated region, every flat
# place looks like it. Of landmarks in brains and hippocampi the flattest had 1.7 units a voxel, of a range of 255.
FLAT, FLAT_SCALE = math.log(0.05), "slope_2_most"
LEAST_AMBIGUOUS = 0.05  # probability of other places, from which on a landmark is ambiguous


@dataclass(frozen=True, eq=False)
class OtherPlaces:
    """Where all landmarks lie if another hypothesis is the right one.

    Args:
        probability: That it is.
        positions: Target's own millimetres, `(N, 3)`.
    """

    probability: float
    positions: torch.Tensor


def accepted(
    found: PointRegistration,
    depths_mm: torch.Tensor,
    template: Image,
    target: Image,
    error_model: ErrorModel | None,
    tolerance_mm: float,
    others: Sequence[OtherPlaces] = (),
    reason_for_all: str = "",
) -> tuple[LandmarkMatch, ...]:
    """What is reported of each landmark.

    Args:
        found: The landmarks in the target.
        depths_mm: How far inside the template each of them lies, `(N,)`.
        template, target: In the target's millimetres they were found.
        error_model: `None` where nobody has calibrated these features.
        tolerance_mm: Distance from the true place that is near enough.
        others: Where else the landmarks may lie.
        reason_for_all: Why none of them is given, one of `missing_reason.REASONS`; empty where some may be.
    """
    match = found.match
    telling = 1 - match.distances / match.typical.clamp(min=1e-9) > LEAST_CONTRAST
    edge_mm = (depths_mm / 2).clamp(0, EDGE * found.spacing_mm)
    fails = {
        reason_for_all: torch.full_like(telling, bool(reason_for_all)),
        OUTSIDE: target.depth_mm(found.positions) < edge_mm,
        NOTHING_TO_COMPARE: found.evidence[:, NAMES.index(FLAT_SCALE)] < FLAT,
        NOTHING_ALIKE: ~telling,
    }
    if error_model is not None:
        fails[DOUBTFUL] = error_model.probabilities(found.evidence, 1.0) < LEAST_PROBABILITY
    scores = {
        "feature_distance": match.distances.clamp(min=0).sqrt(),
        "inverse_consistency_error_mm": found.inverse_consistency_error_mm,
        **(_doubt(found, error_model, tolerance_mm, others) if error_model else {}),
    }
    ambiguous = _chance_elsewhere(found, tolerance_mm, others) >= LEAST_AMBIGUOUS
    positions = target.to_world(found.positions)
    orientations = in_world(found.orientations, template, target)

    def of(index: int) -> LandmarkMatch:
        reason = next((name for name, failed in fails.items() if failed[index]), "")
        return LandmarkMatch(
            None if reason else tuple(positions[index].tolist()),
            evidence=dict(zip(NAMES, found.evidence[index].tolist(), strict=True)),
            reason=reason,
            orientation=None if reason else orientations[index],
            ambiguous=bool(ambiguous[index]),
            **{name: float(values[index]) for name, values in scores.items()},
        )

    return tuple(of(index) for index in range(len(positions)))


def in_world(orientations: torch.Tensor, template: Image, target: Image) -> list[Rotation]:
    """Rotations `(N, 3, 3)` from template to target millimetres in LPS."""
    turned = target.grid.direction @ orientations.cpu().double().numpy() @ template.grid.direction.T
    return [cast(Rotation, tuple(map(tuple, rotation))) for rotation in turned.tolist()]


def _doubt(
    found: PointRegistration, error_model: ErrorModel, tolerance_mm: float, others: Sequence[OtherPlaces]
) -> dict[str, torch.Tensor]:
    """How far off each landmark may be, `(N,)` each."""
    places = Mixture(error_model, found.evidence, found.spacing_mm, *_elsewhere(found, others))
    whole = torch.ones_like(found.inverse_consistency_error_mm)
    return {
        "expected_error_mm": places.errors_mm(),
        "probability_within_3mm": places.within(CLOSE_MM * whole),
        "probability_within_tolerance": places.within(tolerance_mm * whole),
        "radius_50_mm": places.radii_mm(0.5),
        "radius_90_mm": places.radii_mm(0.9),
    }


def _elsewhere(found: PointRegistration, others: Sequence[OtherPlaces]) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of the other places, `(A,)`, and how far they are from the found ones, mm, `(N, A)`."""
    positions = torch.stack([found.positions, *(one.positions for one in others)])
    probabilities = found.evidence.new_tensor([one.probability for one in others])
    return probabilities, (positions[1:] - found.positions).norm(dim=2).T


def _chance_elsewhere(found: PointRegistration, tolerance_mm: float, others: Sequence[OtherPlaces]) -> torch.Tensor:
    """Probability of those other places that are farther away than the tolerance, `(N,)`."""
    probabilities, distances = _elsewhere(found, others)
    return (distances > tolerance_mm).to(probabilities.dtype) @ probabilities
