"""Transforms that most matches agree on."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.sampling import apply_affine


def robust_affine(
    points: torch.Tensor, matches: torch.Tensor, weights: torch.Tensor, *, iterations: int = 15
) -> tuple[torch.Tensor, torch.Tensor]:
    """The affine transform from `points` to `matches`, both `(N, 3)`, by reweighted least squares (Geman-McClure).

    Computed on the CPU: in float64, which Metal lacks, and of too few points to be worth a GPU.

    Args:
        weights: How much each match counts before its residual is known, `(N,)`.

    Returns:
        Homogeneous `(4, 4)` matrix and the residual length of each match `(N,)`.
    """
    device = points.device
    points, matches, prior = (given.cpu().double() for given in (points, matches, weights))
    current = prior
    for _ in range(iterations):
        matrix = _weighted_fit(points, matches, current)
        residuals = (points @ matrix[:3, :3].T + matrix[:3, 3] - matches).norm(dim=1)
        scale = 1.5 * residuals.median() + 1e-3
        current = prior / (1 + (residuals / scale) ** 2) ** 2
    return matrix.float().to(device), residuals.float().to(device)


def limit_anisotropy(matrix: torch.Tensor, most: float, middle: torch.Tensor) -> torch.Tensor:
    """An affine transform `(4, 4)` with its stretches brought to within a factor of their average.

    Args:
        most: The factor; 1 leaves a similarity.
        middle: A point `(3,)` that goes where it went.
    """
    u, stretches, v = torch.linalg.svd(matrix[:3, :3])
    average = stretches.log().mean().exp()
    found = matrix.clone()
    found[:3, :3] = u @ torch.diag(stretches.clamp(average / most, average * most)) @ v
    found[:3, 3] += apply_affine(matrix, middle) - apply_affine(found, middle)
    return found


def _weighted_fit(points: torch.Tensor, matches: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    share = weights / weights.sum()
    points_mean, matches_mean = share @ points, share @ matches
    a, b = points - points_mean, matches - matches_mean
    cross, spread = (b * share[:, None]).T @ a, (a * share[:, None]).T @ a
    # A small ridge towards "no change" keeps thin or few matches solvable.
    ridge = 1e-6 * spread.trace() * torch.eye(3, dtype=a.dtype, device=a.device)
    matrix = torch.eye(4, dtype=a.dtype, device=a.device)
    matrix[:3, :3] = (cross + ridge) @ torch.linalg.inv(spread + ridge)
    matrix[:3, 3] = matches_mean - matrix[:3, :3] @ points_mean
    return matrix
