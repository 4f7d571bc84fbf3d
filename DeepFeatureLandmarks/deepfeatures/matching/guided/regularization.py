"""Regularization of block matches: neighbouring points move alike.

This is coupled convex optimisation (Heinrich et al. 2014) on a graph of points instead of a grid. Each point takes the
displacement that is best for its own block and near what its neighbours predict; then the neighbours predict again.
They predict by an affine map fitted around the point, so that the prior does not act against stretching and turning.

A landmark is predicted twice: by all points near it, and, from further away, by the other landmarks alone, which a
person chose as belonging together. Each neighbourhood is weighted by how far it agrees within itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.geometry.block_matching import cube, sub_voxel_minimum
from deepfeatures.matching.geometry.local_affine import gaussian_weights, predict, robust_weights

SMALLEST = 0.1  # squared voxels: neighbourhoods that agree better than this count alike
# Each neighbourhood has an outlier, so many squared voxels off, whose small weight counts only where all are far.
OUTLIER, SHARE = 9.0, 0.01
SOFTNESS = 0.003  # feature distance: places that are worse by this are less likely by a factor of e


@dataclass(frozen=True, eq=False)
class RegularizedMatch:
    """Where each point was matched.

    Args:
        displacements: In voxels, sub-voxel, `(N, 3)`.
        distances: Feature distance of the block there, without the prior, `(N,)`.
        typical: Mean feature distance over all displacements tried, `(N,)`.
        posterior_std: Standard deviation in voxels of the places that are as likely as their cost says, `(N,)`.
        neighbour_residual: Voxels between the displacement and what the neighbours predict, `(N,)`.
        expected: What these predict, `(N, 3)`.
    """

    displacements: torch.Tensor
    distances: torch.Tensor
    typical: torch.Tensor
    posterior_std: torch.Tensor
    neighbour_residual: torch.Tensor
    expected: torch.Tensor


def regularize(
    distances: torch.Tensor,
    points: torch.Tensor,
    starts: torch.Tensor,
    *,
    weights: tuple[float, ...],
    sigma: float,
    landmarks: int = 0,
    landmarks_sigma: float = 0.0,
) -> RegularizedMatch:
    """Block matches that agree with their neighbours.

    Args:
        distances: Of each point's block to those around its start, `(N, n, n, n)`.
        points: Template positions in voxels, `(N, 3)`.
        starts: Displacements in voxels about which the blocks were searched, `(N, 3)`.
        weights: Feature distance that one voxel away from the neighbours' prediction costs, one an iteration.
        sigma: Standard deviation in voxels of the Gaussian that makes points neighbours.
        landmarks: So many of the first points are landmarks, which also predict one another.
        landmarks_sigma: The same as `sigma` among these alone; 0 where they count as all others do.
    """
    count, n = distances.shape[0], distances.shape[1]
    steps = cube(n // 2, points.device).float()
    flat = distances.reshape(count, -1)
    typical = flat.mean(1)
    distinct = (typical - flat.amin(1)) / typical.clamp(min=1e-9)
    all_points = _Neighbourhood(points, distinct, sigma)
    chosen = None
    if landmarks > 1 and landmarks_sigma:
        chosen = _Neighbourhood(points[:landmarks], distinct[:landmarks], landmarks_sigma)
    moved, cost, expected = starts + steps[flat.argmin(1)], flat, starts
    for weight in weights:
        expected, variance = all_points.predict(moved, starts)
        if chosen:
            expected_by_chosen, variance_of_chosen = chosen.predict(moved[:landmarks], starts[:landmarks])
            share = variance[:landmarks] / (variance[:landmarks] + variance_of_chosen)
            expected[:landmarks] += share[:, None] * (expected_by_chosen - expected[:landmarks])
        candidates = starts[:, None] + steps[None]
        cost = flat + weight * ((candidates - expected[:, None]) ** 2).sum(-1)
        moved = starts + steps[cost.argmin(1)]
    best = cost.argmin(1, keepdim=True)
    shift, _ = sub_voxel_minimum(cost.reshape(count, n, n, n))
    likely = torch.softmax(-cost / SOFTNESS, 1)
    spread = likely @ steps.square().sum(1) - (likely @ steps).square().sum(1)
    return RegularizedMatch(
        starts + shift,
        flat.gather(1, best)[:, 0],
        typical,
        spread.clamp(min=0).sqrt(),
        (starts + shift - expected).norm(dim=1),
        expected,
    )


class _Neighbourhood:
    """Points that predict one another's displacements.

    Args:
        points: In voxels, `(N, 3)`.
        distinct: How much better than on average each one's block fits somewhere, `(N,)`.
        sigma: Standard deviation in voxels of the Gaussian that makes them neighbours.
    """

    def __init__(self, points: torch.Tensor, distinct: torch.Tensor, sigma: float):
        self._points, self._sigma = points, sigma
        self._near = (gaussian_weights(points, points, sigma) * distinct[None] ** 2).fill_diagonal_(0)

    def predict(self, moved: torch.Tensor, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Displacements `(N, 3)` that the neighbours of each point predict, and by how much these disagree, squared.

        A point far from what the others predict counts less; one without neighbours is predicted where it started.
        """
        points, near, sigma = self._points, self._near, self._sigma
        expected = predict(points, moved, near, points, sigma, starts)
        expected = predict(points, moved, near * robust_weights(moved, expected), points, sigma, starts)
        off = (moved - expected).square().sum(1)
        return expected, (near @ off + SHARE * OUTLIER) / (near.sum(1) + SHARE) + SMALLEST
