"""Whether a target shows the template's anatomy at all, or its mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from deepfeatures.data.missing_reason import MIRRORED, UNLIKE
from deepfeatures.data.size_check import notes_on_size
from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.guided.alternatives import Fit
from deepfeatures.matching.guided.hypotheses import settled
from deepfeatures.matching.guided.settings import GuidedSettings
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.pose.initialization import centres_aligned

# Where the start was right, scans of the same anatomy had a similarity of 0.17 or more, noise and other organs below
# 0.1; where the pose was searched, 0.3 and, in targets of 40 mm, up to 0.2.
LEAST_SIMILARITY = 0.15
LEAST_SEARCHED_SIMILARITY = 0.25
# Of other organs that were so similar at most 0.14 of the points came back; of the same anatomy, other contrasts, thick
# slices and small crops among them, hardly ever less than 0.25, but of a small crop with few keypoints 0.17.
LEAST_CONSISTENT_SHARE = 0.15
AMPLE_CONSISTENT_SHARE = 0.4  # from which on similarity, which is low between contrasts, does not matter
# Of a target whose mirror image is the right one: mirrored hippocampi had 0.5 to 0.66, as they are 0.07 to 0.15.
LEAST_MIRRORED_SIMILARITY, LEAST_MIRRORED_GAIN = 0.35, 0.2
MIRRORED_ROUNDS = 2


def same_anatomy(similarity: np.ndarray, is_searched: np.ndarray, consistent_share: np.ndarray) -> np.ndarray:
    """Whether template and target show the same anatomy, for many pairs, `(N,)` each.

    Args:
        similarity: Of the pose, see `ImagePair.similarity`.
        is_searched: Whether the pose is the best of many.
        consistent_share: Of the points, those that are matched back; negative where too few points tell.
    """
    alike = similarity >= np.where(is_searched, LEAST_SEARCHED_SIMILARITY, LEAST_SIMILARITY)
    # With too few points to tell, the doubt is for a start that was right, against one of many.
    consistent = np.where(consistent_share < 0, ~np.asarray(is_searched), consistent_share >= LEAST_CONSISTENT_SHARE)
    return (consistent_share >= AMPLE_CONSISTENT_SHARE) | (alike & consistent)


def shows_same_anatomy(fit: Fit) -> bool:
    """Whether template and target show the same anatomy, see `same_anatomy`."""
    share = -1.0 if fit.found.consistent_share is None else fit.found.consistent_share
    return bool(same_anatomy(*(np.array(one) for one in (fit.pose.similarity, fit.pose.is_searched, share))))


def reason_against(fit: Fit, pair: ImagePair, finest_mm: float, settings: GuidedSettings) -> str:
    """Why no landmark is given, one of `missing_reason.REASONS`; empty where the target shows the same anatomy.

    Args:
        fit: The best one.
        pair: With the features of the pose.
        finest_mm: The finest spacing.
    """
    if notes_on_size(pair.template.image.grid, pair.target.image.grid):
        return UNLIKE  # a mistaken unit, or another species: no scale that is searched brings them together
    is_alike = shows_same_anatomy(fit)
    if is_alike and not fit.pose.is_searched:
        return ""
    mirrored = centres_aligned(pair.template.image, pair.target.image) @ _mirror(pair.template.image)
    pose = replace(fit.pose, matrix=mirrored)
    for steps in range(1, MIRRORED_ROUNDS + 1):
        one = settled(pair, pose, steps, finest_mm, settings)
        pose = one.pose
    as_it_is = settled(pair, fit.pose, 0, finest_mm, settings).similarity
    if one.similarity > max(LEAST_MIRRORED_SIMILARITY, as_it_is + LEAST_MIRRORED_GAIN):
        return MIRRORED
    return "" if is_alike else UNLIKE


def _mirror(template: Image) -> torch.Tensor:
    """Left and right exchanged about the middle of the template, in its own millimetres, `(4, 4)`."""
    axis = int(np.abs(template.grid.direction[0]).argmax())
    matrix = torch.eye(4, device=template.voxels.device)
    matrix[axis, axis], matrix[axis, 3] = -1.0, template.extent[axis] - template.spacing[axis]
    return matrix
