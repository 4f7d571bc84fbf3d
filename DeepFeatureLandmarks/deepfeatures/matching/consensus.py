"""Transforms that most matches agree on."""

from __future__ import annotations

import torch


def robust_affine(
    points: torch.Tensor,
    matches: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    kind: str = "affine",
    iterations: int = 15,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The transform from `points` to `matches`, both `(N, 3)`, by iteratively reweighted least squares (Geman-McClure).

    Args:
        kind: `"affine"` (12 parameters), `"similarity"` (7) or `"rigid"` (6).

    Returns:
        Homogeneous `(4, 4)` matrix and the residual length of each match `(N,)`.
    """
    points, matches = points.double(), matches.double()
    prior = torch.ones(len(points), dtype=torch.float64, device=points.device) if weights is None else weights.double()
    current = prior
    for _ in range(iterations):
        matrix = _weighted_fit(points, matches, current, kind)
        residuals = (points @ matrix[:3, :3].T + matrix[:3, 3] - matches).norm(dim=1)
        scale = 1.5 * residuals.median() + 1e-3
        current = prior / (1 + (residuals / scale) ** 2) ** 2
    return matrix.float(), residuals.float()


def _weighted_fit(points: torch.Tensor, matches: torch.Tensor, weights: torch.Tensor, kind: str) -> torch.Tensor:
    share = weights / weights.sum()
    here, there = share @ points, share @ matches
    a, b = points - here, matches - there
    cross, spread = (b * share[:, None]).T @ a, (a * share[:, None]).T @ a
    if kind == "affine":
        # A small ridge towards a pure scaling keeps thin or few matches solvable.
        ridge = 1e-6 * spread.trace() * torch.eye(3, dtype=a.dtype, device=a.device)
        linear = (cross + ridge) @ torch.linalg.inv(spread + ridge)
    else:
        u, s, vh = torch.linalg.svd(cross)
        sign = torch.ones(3, dtype=a.dtype, device=a.device)
        sign[2] = torch.sign(torch.linalg.det(u @ vh))
        linear = u @ torch.diag(sign) @ vh
        if kind == "similarity":
            linear = linear * (s * sign).sum() / spread.trace()
    matrix = torch.eye(4, dtype=a.dtype, device=a.device)
    matrix[:3, :3], matrix[:3, 3] = linear, there - linear @ here
    return matrix
