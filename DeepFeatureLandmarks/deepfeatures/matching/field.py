"""A smooth displacement field between two feature maps by Gauss-Newton steps.

Each step solves, voxel by voxel, the 3×3 normal equations of the feature differences gathered under a Gaussian window
(Lucas and Kanade), with the template's gradients in place of the warped target's (inverse compositional: the matrices
are built once), and smooths the field.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from deepfeatures.matching.grids import lattice, smooth, warp

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def gradients(features: torch.Tensor) -> torch.Tensor:
    """Central differences of `(C, D, H, W)` along x, y, z: shape `(C, 3, D, H, W)`."""
    z, y, x = torch.gradient(features, dim=(1, 2, 3))
    return torch.stack((x, y, z), 1)


def solve_symmetric(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solve symmetric 3×3 systems: `matrix` `(6, ...)` in the order of `PAIRS`, `right` `(3, ...)`."""
    a, b, c, d, e, f = matrix
    ia, ib, ic = d * f - e * e, c * e - b * f, b * e - c * d
    ie, if_, ii = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * ia + b * ib + c * ic
    x, y, z = right
    return torch.stack((ia * x + ib * y + ic * z, ib * x + ie * y + if_ * z, ic * x + if_ * y + ii * z)) / determinant


def displacement_field(
    template: torch.Tensor,
    target: torch.Tensor,
    start: torch.Tensor,
    *,
    iterations: int,
    window: float,
    stiffness: float,
    damping: float = 0.05,
    max_step: float = 0.7,
) -> torch.Tensor:
    """Displacements u so that `target(x + u(x))` looks like `template(x)`.

    Args:
        template, target: Features on the same grid, `(C, D, H, W)`.
        start: First guess in voxels, `(3, D, H, W)`, components x, y, z.
        iterations: Gauss-Newton steps.
        window: Standard deviation in voxels of the window under which evidence is gathered.
        stiffness: Standard deviation in voxels of the smoothing of the field after each step.
        damping: Levenberg-Marquardt damping relative to the mean curvature.
        max_step: Longest change of one voxel's displacement in a step, in voxels.

    Returns:
        Displacements in voxels, `(3, D, H, W)`.
    """
    slopes = gradients(template)
    matrix = smooth(torch.stack([(slopes[:, i] * slopes[:, j]).sum(0) for i, j in PAIRS]), window)
    trace = (matrix[0] + matrix[3] + matrix[5]) / 3
    for diagonal in (0, 3, 5):
        matrix[diagonal] += damping * (trace.mean() + trace)
    here, field = lattice(template.shape[1:], template.device), start
    for _ in range(iterations):
        difference = warp(target, here + field.permute(1, 2, 3, 0)) - template
        right = smooth(torch.stack([(slopes[:, i] * difference).sum(0) for i in range(3)]), window)
        step = -solve_symmetric(matrix, right)
        step = step * (max_step / step.norm(dim=0, keepdim=True).clamp(min=max_step))
        field = smooth(field + step, stiffness)
    return field


def refine_grid(field: torch.Tensor, shape: tuple[int, int, int], factor: float) -> torch.Tensor:
    """A field `(3, d, h, w)` on a grid `factor` times finer, of `shape`, covering the same extent; in the new voxels."""
    return F.interpolate(field[None], size=shape, mode="trilinear", align_corners=False)[0] * factor
