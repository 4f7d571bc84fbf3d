"""Neighbouring points move alike: a smooth prior over block matches, by alternating between the two.

After coupled convex optimisation (Heinrich et al. 2014), on a graph of points instead of a grid: each point takes the
displacement that is best for its own block and near what its neighbours foretell, then these are asked anew. They
foretell by an affine map fitted around the point, so that the prior does not pull against stretching and turning.

Landmarks are foretold twice: by all points near them, and, from further away, by the other landmarks alone, which a
person chose as belonging together. Each crowd is believed as far as it agrees within itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.block_matching import cube, sub_voxel_minimum
from deepfeatures.matching.geometry.local_affine import agreement, foretold, nearness

SMALLEST = 0.1  # squared voxels: crowds that agree better than this are believed alike
# Every crowd has a stranger, so many squared voxels off and of so small a weight that it counts only where all are far.
STRANGE, SHARE = 9.0, 0.01
SOFTNESS = 0.003  # feature distance: places that are worse by this are less likely by a factor of e


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where each point went.

    Args:
        displacements: In voxels, sub-voxel, `(N, 3)`.
        distances: Feature distance of the block there, without the prior, `(N,)`.
        typical: Mean feature distance over all displacements tried, `(N,)`.
        spread: Standard deviation in voxels of the places that are as likely as their cost says, `(N,)`.
        astray: Voxels between the displacement and what the neighbours foretell, `(N,)`.
    """

    displacements: torch.Tensor
    distances: torch.Tensor
    typical: torch.Tensor
    spread: torch.Tensor
    astray: torch.Tensor


def relax(
    distances: torch.Tensor,
    points: torch.Tensor,
    starts: torch.Tensor,
    *,
    tensions: tuple[float, ...],
    reach: float,
    landmarks: int = 0,
    landmarks_reach: float = 0.0,
) -> Relaxed:
    """Block matches that agree with their neighbours.

    Args:
        distances: Of each point's block to those around its start, `(N, n, n, n)`.
        points: Template positions in voxels, `(N, 3)`.
        starts: Displacements in voxels about which the blocks were searched, `(N, 3)`.
        tensions: Feature distance that one voxel away from what the neighbours foretell costs, one an iteration.
        reach: Standard deviation in voxels of the Gaussian that makes points neighbours.
        landmarks: So many of the first points are landmarks, which also foretell one another.
        landmarks_reach: The same as `reach` among these alone; 0 where they count as all others do.
    """
    count, n = distances.shape[0], distances.shape[1]
    steps = cube(n // 2, points.device).float()
    flat = distances.reshape(count, -1)
    typical = flat.mean(1)
    distinct = (typical - flat.amin(1)) / typical.clamp(min=1e-9)
    all_points = _Crowd(points, distinct, reach)
    chosen = None
    if landmarks > 1 and landmarks_reach:
        chosen = _Crowd(points[:landmarks], distinct[:landmarks], landmarks_reach)
    moved, cost, expected = starts + steps[flat.argmin(1)], flat, starts
    for tension in tensions:
        expected, doubt = all_points.foretell(moved, starts)
        if chosen:
            otherwise, its_doubt = chosen.foretell(moved[:landmarks], starts[:landmarks])
            share = doubt[:landmarks] / (doubt[:landmarks] + its_doubt)
            expected[:landmarks] += share[:, None] * (otherwise - expected[:landmarks])
        candidates = starts[:, None] + steps[None]
        cost = flat + tension * ((candidates - expected[:, None]) ** 2).sum(-1)
        moved = starts + steps[cost.argmin(1)]
    best = cost.argmin(1, keepdim=True)
    shift, _ = sub_voxel_minimum(cost.reshape(count, n, n, n))
    likely = torch.softmax(-cost / SOFTNESS, 1)
    variance = likely @ steps.square().sum(1) - (likely @ steps).square().sum(1)
    return Relaxed(
        starts + shift,
        flat.gather(1, best)[:, 0],
        typical,
        variance.clamp(min=0).sqrt(),
        (starts + shift - expected).norm(dim=1),
    )


class _Crowd:
    """Points that foretell one another's displacements.

    Args:
        points: In voxels, `(N, 3)`.
        distinct: How much better than on average each one's block fits somewhere, `(N,)`.
        reach: Standard deviation in voxels of the Gaussian that makes them neighbours.
    """

    def __init__(self, points: torch.Tensor, distinct: torch.Tensor, reach: float):
        self._points, self._reach = points, reach
        self._near = (nearness(points, points, reach) * distinct[None] ** 2).fill_diagonal_(0)

    def foretell(self, moved: torch.Tensor, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Displacements `(N, 3)` that the neighbours of each point foretell, and by how much these disagree, squared.

        Who is far from what the others foretell counts less; who has no neighbours is foretold where it started.
        """
        points, near, reach = self._points, self._near, self._reach
        expected = foretold(points, moved, near, points, reach, starts)
        expected = foretold(points, moved, near * agreement(moved, expected), points, reach, starts)
        off = (moved - expected).square().sum(1)
        return expected, (near @ off + SHARE * STRANGE) / (near.sum(1) + SHARE) + SMALLEST
