"""Do two volumes show the same anatomy? Whether points that were matched to the target are matched back tells."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.block_matching import block_distances, sub_voxel_minimum
from deepfeatures.matching.geometry.keypoints import evenly

CAME_BACK = 1.5  # voxels
ASKED, FEWEST = 100, 5  # keypoints at most; points at least, fewer do not tell
STRAYED = 2  # points more are taken to have strayed: one of five is no sign yet, one of a hundred makes no difference


def matched_back(
    features: torch.Tensor,
    seen: torch.Tensor,
    here: torch.Tensor,
    there: torch.Tensor,
    inside: torch.Tensor,
    landmarks: int,
    search_radius: int,
    patch: torch.Tensor,
) -> tuple[torch.Tensor, float | None]:
    """How far from where they came from points are matched back.

    Args:
        features, seen: Of the template and of the target, `(C, D, H, W)`.
        here, there: Points in the one and their places in the other, voxels, `(N, 3)`: landmarks, then keypoints.
        inside: Which of the places lie in the target, `(N,)`.
        landmarks: How many of the points are landmarks.
        search_radius: Voxels.
        patch: Offsets on which blocks are compared, `(K, 3)`.

    Returns:
        Distances of the landmarks in voxels, `(landmarks,)`. And the agreement: the share of landmarks and keypoints
        inside, and `STRAYED` more, that came back to within `CAME_BACK`; `None` where fewer than `FEWEST` are inside.
        In the same anatomy most come back; where volumes are alike by chance, few.
    """
    keypoints = inside[landmarks:].nonzero()[:, 0] + landmarks
    asked = torch.cat([torch.arange(landmarks, device=here.device), evenly(keypoints, ASKED)])
    distances, _ = sub_voxel_minimum(block_distances(seen, features, there[asked], here[asked], search_radius, patch))
    lengths = distances.norm(dim=1)
    judged = lengths[inside[asked]]
    agreement = float((judged < CAME_BACK).sum()) / (len(judged) + STRAYED)
    return lengths[:landmarks], agreement if len(judged) >= FEWEST else None
