"""Neighbouring points move alike: a smooth prior over block matches, by alternating between the two.

After coupled convex optimisation (Heinrich et al. 2014), on a graph of points instead of a grid: each point takes the
displacement that is best for its own block and near what its neighbours' foretell, then these are asked anew. They
foretell by an affine map fitted around the point, so that the prior does not pull against stretching and turning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.matching.blocks import cube, sub_voxel_minimum

# Variance of the points around, in squared reaches, below which they tell less of a gradient than of a mean.
DAMPING = 1.0


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where each point went.

    Args:
        displacements: In voxels, sub-voxel, `(N, 3)`.
        distances: Feature distance of the block there, without the prior, `(N,)`.
        typical: Mean feature distance over all displacements tried, `(N,)`.
    """

    displacements: torch.Tensor
    distances: torch.Tensor
    typical: torch.Tensor


def relax(
    distances: torch.Tensor,
    points: torch.Tensor,
    starts: torch.Tensor,
    *,
    tensions: tuple[float, ...],
    reach: float,
) -> Relaxed:
    """Block matches that agree with their neighbours.

    Args:
        distances: Of each point's block to those around its start, `(N, n, n, n)`.
        points: Template positions in voxels, `(N, 3)`.
        starts: Displacements in voxels about which the blocks were searched, `(N, 3)`.
        tensions: Feature distance that one voxel away from what the neighbours foretell costs, one an iteration.
        reach: Standard deviation in voxels of the Gaussian that makes points neighbours.
    """
    count, n = distances.shape[0], distances.shape[1]
    steps = cube(n // 2, points.device).float()
    flat = distances.reshape(count, -1)
    typical = flat.mean(1)
    distinct = (typical - flat.amin(1)) / typical.clamp(min=1e-9)
    near = torch.exp(-(torch.cdist(points, points) ** 2) / (2 * reach**2)) * distinct[None] ** 2
    near.fill_diagonal_(0)
    moved, cost = starts + steps[flat.argmin(1)], flat
    expected = moved
    for tension in tensions:
        expected = _foretold(points, moved, near, starts, DAMPING * reach**2)
        agreement = 1 / (1 + ((moved - expected).norm(dim=1) / 2) ** 2)
        expected = _foretold(points, moved, near * agreement[None], starts, DAMPING * reach**2)
        candidates = starts[:, None] + steps[None]
        cost = flat + tension * ((candidates - expected[:, None]) ** 2).sum(-1)
        moved = starts + steps[cost.argmin(1)]
    best = cost.argmin(1, keepdim=True)
    shift, _ = sub_voxel_minimum(cost.reshape(count, n, n, n))
    return Relaxed(starts + shift, flat.gather(1, best)[:, 0], typical)


def _foretold(
    points: torch.Tensor, values: torch.Tensor, weights: torch.Tensor, otherwise: torch.Tensor, damping: float
) -> torch.Tensor:
    """What an affine map fitted to the values `(N, 3)`, with a row of `weights` `(N, N)` for each point, is there."""
    total = weights.sum(1, keepdim=True)
    shares = weights / total.clamp(min=1e-12)
    middle, mean = shares @ points, shares @ values

    def covariance(these: torch.Tensor, their_mean: torch.Tensor) -> torch.Tensor:
        products = (points[:, :, None] * these[:, None]).flatten(1)
        return (shares @ products).unflatten(1, (3, 3)) - middle[:, :, None] * their_mean[:, None]

    damped = covariance(points, middle) + damping * torch.eye(3, device=points.device)
    gradient = torch.linalg.solve(damped, covariance(values, mean))
    found = mean + ((points - middle)[:, None] @ gradient)[:, 0]
    return torch.where(total > 1e-12, found, otherwise)
