"""Which landmarks of a guided search are given, and which are missing, and why."""

from __future__ import annotations

import math
from typing import Any

import torch

from deepfeatures.data.missing_reason import DOUBTFUL, NOTHING_ALIKE, NOTHING_TO_COMPARE, OUTSIDE, UNLIKE
from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.guided.registration import PointRegistration
from deepfeatures.matching.pose.estimation import Pose
from deepfeatures.matching.result import LandmarkMatch
from deepfeatures.matching.uncertainty.covariates import NAMES
from deepfeatures.matching.uncertainty.error_model import ErrorModel

# A landmark that lies beyond the target's edge may come to lie just inside of it: nearer to the edge than this, in
# finest spacings, it counts as outside, unless it lies near the template's edge too. Fixed on crops of known scans.
EDGE = 1.0
# Where the start was right, scans of the same anatomy had a similarity of 0.17 or more, noise and other organs below
# 0.1; where the pose was searched, 0.3 and, in targets of 40 mm, up to 0.2.
LEAST_SIMILARITY = 0.15
LEAST_SEARCHED_SIMILARITY = 0.25
# Of other organs that were so similar at most 0.14 of the points came back; of the same anatomy, other contrasts, thick
# slices and small crops among them, hardly ever less than 0.25, but of a small crop with few keypoints 0.17.
LEAST_CONSISTENT_SHARE = 0.15
AMPLE_CONSISTENT_SHARE = 0.4  # from which on similarity, which is low between contrasts, does not matter
LEAST_PROBABILITY = 0.2  # to be within three finest voxels; below it a place is too doubtful to be given
LEAST_CONTRAST = 1e-3  # how much better than an average place the best must look, relatively, to be a place at all
# Where the template is as flat as this within five finest voxels, as in a blanked or saturated region, every flat
# place looks like it. Of landmarks in brains and hippocampi the flattest had 1.7 units a voxel, of a range of 255.
FLAT, FLAT_SCALE = math.log(0.05), "slope_2_most"


def shows_same_anatomy(pose: Pose, consistent_share: float | None) -> bool:
    """Whether template and target show the same anatomy, by the similarity of the pose and the points matched back."""
    if consistent_share is not None and consistent_share >= AMPLE_CONSISTENT_SHARE:
        return True
    if pose.similarity < (LEAST_SEARCHED_SIMILARITY if pose.is_searched else LEAST_SIMILARITY):
        return False
    if consistent_share is None:  # too few points to tell: the doubt is for a start that was right, against one of many
        return not pose.is_searched
    return consistent_share >= LEAST_CONSISTENT_SHARE


def accepted(
    found: PointRegistration, depths_mm: torch.Tensor, target: Image, pose: Pose, error_model: ErrorModel | None
) -> tuple[LandmarkMatch, ...]:
    """What is reported of each landmark.

    Args:
        found: The landmarks in the target.
        depths_mm: How far inside the template each of them lies, `(N,)`.
        target: In whose millimetres they were found.
        pose: From which.
        error_model: `None` where nobody has calibrated these features.
    """
    match = found.match
    telling = 1 - match.distances / match.typical.clamp(min=1e-9) > LEAST_CONTRAST
    edge_mm = (depths_mm / 2).clamp(0, EDGE * found.spacing_mm)
    fails = {
        UNLIKE: torch.full_like(telling, not shows_same_anatomy(pose, found.consistent_share)),
        OUTSIDE: target.depth_mm(found.positions) < edge_mm,
        NOTHING_TO_COMPARE: found.evidence[:, NAMES.index(FLAT_SCALE)] < FLAT,
        NOTHING_ALIKE: ~telling,
    }
    if error_model is not None:
        fails[DOUBTFUL] = error_model.probabilities(found.evidence, 1.0) < LEAST_PROBABILITY
    positions, expected = target.to_world(found.positions), _expected(found, error_model)
    matches = []
    for index in range(len(positions)):
        reason = next((name for name, failed in fails.items() if failed[index]), "")
        matches.append(
            LandmarkMatch(
                None if reason else tuple(positions[index].tolist()),
                feature_distance=float(match.distances[index].clamp(min=0).sqrt()),
                inverse_consistency_error_mm=float(found.inverse_consistency_error_mm[index]),
                evidence=dict(zip(NAMES, found.evidence[index].tolist(), strict=True)),
                reason=reason,
                **expected[index],
            )
        )
    return tuple(matches)


def _expected(found: PointRegistration, error_model: ErrorModel | None) -> list[dict[str, Any]]:
    """What the error model says of each landmark, by the names of the scores."""
    if error_model is None:
        return [{}] * len(found.evidence)
    given = found.evidence, found.spacing_mm
    columns = {
        "expected_error_mm": error_model.errors_mm(*given),
        "probability_within_3mm": error_model.probabilities(*given),
        "radius_50_mm": error_model.radii_mm(*given, 0.5),
        "radius_90_mm": error_model.radii_mm(*given, 0.9),
    }
    return [dict(zip(columns, row, strict=True)) for row in torch.stack(list(columns.values()), 1).tolist()]
