"""Inverse consistency: points that were matched to the target are matched back to the template.

In the same anatomy most come back to where they came from; where two volumes are alike by chance, few do.
"""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.block_matching import block_distances, sub_voxel_minimum
from deepfeatures.matching.geometry.keypoints import subsample

TOLERANCE = 1.5  # voxels within which a point counts as matched back
SAMPLE, FEWEST = 100, 5  # keypoints at most; points at least, fewer do not tell
PSEUDOCOUNT = 2  # points more count as not matched back: one of five is no sign yet, one of a hundred hardly matters


def inverse_consistency(
    template_features: torch.Tensor,
    target_features: torch.Tensor,
    points: torch.Tensor,
    matched: torch.Tensor,
    inside: torch.Tensor,
    landmarks: int,
    search_radius: int,
    patch: torch.Tensor,
) -> tuple[torch.Tensor, float | None]:
    """How far from their start points are matched back.

    Args:
        template_features, target_features: `(C, D, H, W)`.
        points, matched: Points in the template and their matches in the target, voxels, `(N, 3)`: landmarks, then
            keypoints.
        inside: Which of the matches lie in the target, `(N,)`.
        landmarks: How many of the points are landmarks.
        search_radius: Voxels.
        patch: Offsets on which blocks are compared, `(K, 3)`.

    Returns:
        Inverse-consistency errors of the landmarks in voxels, `(landmarks,)`. And the consistent share: of landmarks
        and keypoints inside, and `PSEUDOCOUNT` more, the share that came back to within `TOLERANCE`; `None` where fewer
        than `FEWEST` are inside.
    """
    keypoints = inside[landmarks:].nonzero()[:, 0] + landmarks
    chosen = torch.cat([torch.arange(landmarks, device=points.device), subsample(keypoints, SAMPLE)])
    distances = block_distances(
        target_features, template_features, matched[chosen], points[chosen], search_radius, patch
    )
    errors = sub_voxel_minimum(distances)[0].norm(dim=1)
    judged = errors[inside[chosen]]
    share = float((judged < TOLERANCE).sum()) / (len(judged) + PSEUDOCOUNT)
    return errors[:landmarks], share if len(judged) >= FEWEST else None
