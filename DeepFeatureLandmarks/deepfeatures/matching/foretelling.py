"""What points around a place foretell of its displacement: an affine map fitted to theirs, the near ones first."""

from __future__ import annotations

import torch

# Variance of the points around, in squared reaches, below which they tell less of a gradient than of a mean.
DAMPING = 1.0
AGREEING = 2.0  # voxels from what the others foretell at which a point counts half


def foretold(
    points: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor,
    at: torch.Tensor,
    reach: float,
    otherwise: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """What affine maps fitted to values are at places.

    Args:
        points: `(N, 3)`.
        values: `(N, 3)`.
        weights: Of the points for each place, `(Q, N)`.
        at: Places, `(Q, 3)`.
        reach: How far the points lie apart where they tell as much of a gradient as of a mean.
        otherwise: What is foretold of places whose weights are all zero, `(Q, 3)`.

    Returns:
        `(Q, 3)`.
    """
    total = weights.sum(1, keepdim=True)
    shares = weights / total.clamp(min=1e-12)
    middle, mean = shares @ points, shares @ values

    def covariance(these: torch.Tensor, their_mean: torch.Tensor) -> torch.Tensor:
        products = (points[:, :, None] * these[:, None]).flatten(1)
        return (shares @ products).unflatten(1, (3, 3)) - middle[:, :, None] * their_mean[:, None]

    damped = covariance(points, middle) + DAMPING * reach**2 * torch.eye(3, device=points.device)
    gradient = torch.linalg.solve(damped, covariance(values, mean))
    found = mean + ((at - middle)[:, None] @ gradient)[:, 0]
    return torch.where(total > 1e-12, found, otherwise)


def nearness(here: torch.Tensor, points: torch.Tensor, reach: float) -> torch.Tensor:
    """Gaussian weights of points `(N, 3)` seen from places `(Q, 3)`: shape `(Q, N)`."""
    return torch.exp(-(torch.cdist(here, points) ** 2) / (2 * reach**2))


def agreement(values: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """How much each displacement counts, `(N,)`, 0 to 1: less, the further it is from what the others foretell."""
    return 1 / (1 + ((values - expected).norm(dim=1) / AGREEING) ** 2)
