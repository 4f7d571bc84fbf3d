"""Thin plate splines in 3D: the smoothest transform through pairs of points, or near them as far as they are trusted.

Bookstein, Principal Warps (PAMI 1989); in 3D the kernel is the distance itself. Where an error is expected of the
pairs, the spline need not pass through them. It is then the mean of a Gaussian process (Wahba, Spline Models for
Observational Data, 1990). Its strength is the one by which each pair is best predicted from all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.transforms.transform import Transform, as_points

ENTRIES = 4 << 20  # of a table of places and control points that is held at a time
STRENGTHS = tuple(np.logspace(-6, 4, 41).tolist())  # mm² of deviation by mm of distance; the likeliest is taken
FREEDOM = 5.0  # of Student's t distribution, as which residuals are taken: few outliers do not decide
SAME_PLACE = 1e-6  # of the kernel, by which points at one place still count as two
OUTLIER = 3.0  # standard deviations from what the others predict beyond which a pair counts less
ROUNDS = 5  # of weighing outliers


@dataclass(frozen=True, eq=False)
class ThinPlateSplineTransform(Transform):
    """A spline with a coefficient for each control point, and an affine part.

    Args:
        control_points: In the template, LPS mm, `(N, 3)`.
        coefficients: Of the distance to each control point, `(N, 3)`.
        affine: Of `1, x, y, z`, `(4, 3)`.
    """

    control_points: np.ndarray
    coefficients: np.ndarray
    affine: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        known = [torch.from_numpy(one) for one in (self.control_points, self.coefficients, self.affine)]
        places = torch.from_numpy(as_points(points)).split(max(1, ENTRIES // len(self.control_points)))
        return torch.cat([evaluate(part, *known) for part in places]).numpy()

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        points = as_points(points)
        found = np.empty((len(points), 3, 3))
        step = max(1, ENTRIES // (3 * len(self.control_points)))
        for first in range(0, len(points), step):
            apart = points[first : first + step, None] - self.control_points
            length = np.linalg.norm(apart, axis=2, keepdims=True)
            directions = np.divide(apart, length, out=np.zeros_like(apart), where=length > 0)
            found[first : first + step] = np.einsum("qnj,ni->qij", directions, self.coefficients)
        return found + self.affine[1:].T

    @property
    def folds_beside_control_points(self) -> np.ndarray:
        """Beside which control points the Jacobian determinant is not positive, bool `(N,)`.

        Around a control point the Jacobian is that of all others plus its coefficient times the direction. Of all
        directions the least determinant is that of the others, times 1 less the length of their inverse times the
        coefficient.
        """
        others = self.jacobian(self.control_points)
        pulls = np.linalg.norm(np.linalg.pinv(others) @ self.coefficients[..., None], axis=(1, 2))
        return (np.linalg.det(others) <= 0) | (pulls >= 1)

    @property
    def bending_energy(self) -> float:
        """Of the three coordinates together, up to a constant factor; 0 of an affine transform."""
        table = _distances(*(torch.from_numpy(self.control_points),) * 2).numpy()
        return float(-np.einsum("ni,nm,mi->", self.coefficients, table, self.coefficients))


def solve(points: torch.Tensor, values: torch.Tensor, smoothing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients of the spline through values at points; differentiable.

    Args:
        points: `(N, 3)`, four of them not in one plane.
        values: `(N, C)`.
        smoothing: By how much the spline may miss each, in units of the distance kernel, `(N,)`; 0 to meet it.

    Returns:
        Coefficients of the distances `(N, C)` and of `1, x, y, z`, `(4, C)`.
    """
    count = len(points)
    plane = torch.cat([torch.ones_like(points[:, :1]), points], 1)
    kernel = torch.diag_embed(smoothing) - _distances(points, points)
    upper = torch.cat([kernel, plane], 1)
    lower = torch.cat([plane.T, plane.new_zeros(4, 4)], 1)
    right = torch.cat([values, values.new_zeros(4, values.shape[1])])
    solved = torch.linalg.solve(torch.cat([upper, lower]), right)
    return -solved[:count], solved[count:]


def evaluate(
    places: torch.Tensor, control_points: torch.Tensor, coefficients: torch.Tensor, affine: torch.Tensor
) -> torch.Tensor:
    """Values of a spline at places `(Q, 3)`, `(Q, C)`; arguments as `solve` returns them; differentiable."""
    return _distances(places, control_points) @ coefficients + places @ affine[1:] + affine[0]


def bending_energy_matrix(points: np.ndarray) -> np.ndarray:
    """Of the spline through values at points `(N, 3)`: `values @ matrix @ values`, `(N, N)`.

    Points at one place bend it much unless their values are the same. Four points must not lie in one plane.
    """
    known = torch.from_numpy(points - points.mean(0))
    free = _free_of_affine(known)
    kernel = free.T @ -_distances(known, known) @ free
    ridge = SAME_PLACE * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=kernel.dtype)
    return (free @ torch.linalg.solve(kernel + ridge, free.T)).numpy()


def fit_thin_plate_spline(
    points: np.ndarray, targets: np.ndarray, variances_mm2: np.ndarray
) -> tuple[ThinPlateSplineTransform, np.ndarray]:
    """The spline near pairs of points.

    Args:
        points, targets: LPS mm, `(N, 3)`; no two points at one place, four of them not in one plane.
        variances_mm2: Expected squared error of each target along one axis, `(N,)`; all 0 to meet them exactly.

    Returns:
        The transform, and how much each pair counts, `(N,)`, 1 unless it lies far from what the others predict.
    """
    weights = np.ones(len(points))
    middle = points.mean(0)
    known, wanted = (torch.from_numpy(one - middle) for one in (points, targets))
    smoothing = torch.zeros(len(points), dtype=torch.float64)
    if (variances_mm2 > 0).any():
        weights, smoothing = _trusted(known, wanted, np.maximum(variances_mm2, variances_mm2.max() * 1e-6))
    coefficients, affine = (one.numpy() for one in solve(known, wanted, smoothing))
    affine[0] += middle - middle @ affine[1:]
    return ThinPlateSplineTransform(as_points(points), coefficients, affine), weights


def _trusted(points: torch.Tensor, targets: torch.Tensor, variances: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
    """Weights of the pairs, and their smoothing: pairs that the others contradict are trusted less."""
    weights, expected = torch.ones(len(points), dtype=torch.float64), torch.from_numpy(variances)
    strength = STRENGTHS[0]
    for _ in range(ROUNDS if len(points) > 4 else 0):
        noise = expected / weights
        off, spread = _left_out(points, targets, noise)
        # The spread holds the noise of today; an outlier is judged by the noise that was expected of it.
        spread = spread - noise + expected
        deviations = off / (3 * spread).sqrt()
        chosen = int(
            (3 * spread.log() + (FREEDOM + 3) * (1 + 3 * deviations.square() / (FREEDOM - 2)).log()).sum(1).argmin()
        )
        strength = STRENGTHS[chosen]
        weights = (OUTLIER / deviations[chosen].clamp(min=1e-9)).square().clamp(max=1.0)
    return weights.numpy(), expected / weights / strength


def _left_out(points: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each target lies from what all others predict, and the variance of that along one axis.

    Returns:
        For each of `STRENGTHS`, `(S, N)` each.
    """
    free = _free_of_affine(points)
    # In coordinates in which the noise is white and the kernel diagonal.
    white = torch.linalg.inv(torch.linalg.cholesky(free.T @ (noise[:, None] * free))) @ free.T
    of_kernel, axes = torch.linalg.eigh(white @ -_distances(points, points) @ white.T)
    basis = axes.T @ white
    strengths = torch.tensor(STRENGTHS, dtype=torch.float64)
    precision = 1 / (strengths[:, None] * of_kernel.clamp(min=0) + 1)
    spread = 1 / (precision @ basis.square()).clamp(min=1e-12)
    off = torch.einsum("sm,mn,mc->snc", precision, basis, basis @ targets).norm(dim=2)
    return spread * off, spread


def _free_of_affine(points: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis `(N, N - 4)` of the weights of points that no affine transform changes."""
    plane = torch.cat([torch.ones_like(points[:, :1]), points], 1)
    return torch.linalg.qr(plane, mode="complete").Q[:, 4:]


def _distances(places: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Between places `(Q, 3)` and points `(N, 3)`, `(Q, N)`, with a gradient of 0 where they coincide."""
    return torch.cdist(places, points, compute_mode="donot_use_mm_for_euclid_dist")
