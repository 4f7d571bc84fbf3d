"""What neighbouring points predict for a place: an affine map fitted to their displacements, weighted by distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Variance of the points around, in units of sigma squared, below which they tell less of a gradient than of a mean.
DAMPING = 1.0
AGREEING = 2.0  # voxels from what the others predict at which a point counts half


@dataclass(frozen=True, eq=False)
class LocalAffineModel:
    """An affine map of positions to values for each of Q places.

    Args:
        total: Weight of all points, `(Q, 1)`.
        middle: Of the points, `(Q, 3)`.
        mean: Of their values, `(Q, 3)`.
        gradient: Along x, y, z of the position, `(Q, 3, 3)`.
    """

    total: torch.Tensor
    middle: torch.Tensor
    mean: torch.Tensor
    gradient: torch.Tensor

    @classmethod
    def fit(cls, points: torch.Tensor, values: torch.Tensor, weights: torch.Tensor, sigma: float) -> LocalAffineModel:
        """See `predict`."""
        # Everything that is to be added up in one matrix: tables of weights are large, and read once.
        each = torch.cat([points, values], 1)
        products = (points[:, :, None] * each[:, None]).flatten(1)
        sums = weights @ torch.cat([torch.ones_like(points[:, :1]), each, products], 1)
        total = sums[:, :1]
        means = sums[:, 1:] / total.clamp(min=1e-12)
        middle, mean = means[:, :3], means[:, 3:6]
        covariance = means[:, 6:].unflatten(1, (3, 6)) - middle[:, :, None] * means[:, None, :6]
        damped = covariance[..., :3] + DAMPING * sigma**2 * torch.eye(3, device=points.device)
        return cls(total, middle, mean, torch.linalg.solve(damped, covariance[..., 3:]))

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """Values at one place for each map, `(Q, 3)`."""
        return self.mean + ((places - self.middle)[:, None] @ self.gradient)[:, 0]


def predict(
    points: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor,
    at: torch.Tensor,
    sigma: float,
    otherwise: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """What affine maps fitted to values are at places.

    Args:
        points: `(N, 3)`.
        values: `(N, 3)`.
        weights: Of the points for each place, `(Q, N)`.
        at: Places, `(Q, 3)`.
        sigma: How far the points lie apart where they tell as much of a gradient as of a mean.
        otherwise: What is predicted of places whose weights are all zero, `(Q, 3)`.

    Returns:
        `(Q, 3)`.
    """
    model = LocalAffineModel.fit(points, values, weights, sigma)
    return torch.where(model.total > 1e-12, model.at(at), otherwise)


def gaussian_weights(places: torch.Tensor, points: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian weights of points `(N, 3)` for places `(Q, 3)`: shape `(Q, N)`."""
    return torch.exp(-(torch.cdist(places, points) ** 2) / (2 * sigma**2))


def robust_weights(values: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """How much each displacement counts, `(N,)`, 0 to 1: less, the further it is from what the others predict."""
    return 1 / (1 + ((values - expected).norm(dim=1) / AGREEING) ** 2)
