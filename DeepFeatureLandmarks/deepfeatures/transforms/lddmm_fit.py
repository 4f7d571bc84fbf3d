"""Momenta that are fitted: to points that should move, and to a pair of images.

Both are least squares, solved again from where the geodesic has led so far (Gauss and Newton). Of all momenta that fit
about as well the smallest is taken, which is a smooth one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from deepfeatures.transforms.lddmm import Kernel, flow, shoot, warped
from deepfeatures.transforms.samplers import sample

ITERATIONS = 8  # of conjugate gradients
STEPS = 4  # of the geodesic on the way


STEP = 5.0  # length of one step by intensities, fitted to momenta of hippocampi
FLAT = 0.02  # squared slope a voxel, in intensities from -1 to 1, below which a place pushes little


@dataclass(frozen=True)
class FitSettings:
    """How a momentum is fitted.

    Args:
        rounds: How often it is fitted anew from where the geodesic leads.
        ridge: Weight of the momentum's own squared length beside the squared errors of the points, in voxels.
        images: Weight of the images' squared difference beside those errors; 0 for points alone.
    """

    rounds: int = 3
    ridge: float = 1e-4
    images: float = 300.0


@dataclass(frozen=True, eq=False)
class Pull:
    """Points that should move.

    Args:
        points: `(N, 3)`, `(x, y, z)` in voxels of the grid.
        displacements: Where to, `(N, 3)`.
        weights: `(N,)`.
    """

    points: torch.Tensor
    displacements: torch.Tensor
    weights: torch.Tensor


def fit_momentum(
    pull: Pull,
    kernel: Kernel,
    template: torch.Tensor,
    target: torch.Tensor | None = None,
    settings: FitSettings | None = None,
) -> torch.Tensor:
    """The momentum `(3, D, H, W)` whose flow moves points as they should.

    Args:
        pull: The points.
        kernel: Of the grid.
        template, target: Intensities on the grid, `(D, H, W)`, where images count as well.
        settings: Of the fit.
    """
    settings = settings or FitSettings()
    momentum = template.new_zeros(3, *template.shape)
    root = (pull.weights / pull.weights.sum()).sqrt()[:, None]
    share = (settings.images / template.numel()) ** 0.5
    for _ in range(settings.rounds):
        velocities = shoot(momentum, kernel, STEPS)
        left = root * (pull.points + pull.displacements - flow(pull.points, velocities))
        if settings.images:
            seen = warped(target, velocities)
            slopes = torch.stack(torch.gradient(seen)[::-1])
            missing = torch.cat([left.flatten(), share * (template - seen).flatten()])

            def moved(change: torch.Tensor, slopes: torch.Tensor = slopes) -> torch.Tensor:
                step = kernel(change)
                return torch.cat(
                    [(root * sample(step, pull.points)).flatten(), share * (slopes * step).sum(0).flatten()]
                )
        else:
            missing = left.flatten()

            def moved(change: torch.Tensor) -> torch.Tensor:
                return (root * sample(kernel(change), pull.points)).flatten()

        momentum = _least_squares(moved, missing, momentum, settings.ridge)
    return momentum


def push(template: torch.Tensor, target: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """The momentum `(3, D, H, W)` of one step of registration: along the images' slopes, as far as they differ.

    Args:
        template, target: Intensities from -1 to 1, `(D, H, W)`.
        kernel: Of the grid.
    """
    slopes = torch.stack(torch.gradient((template + target) / 2)[::-1])
    return STEP * kernel((template - target) * slopes / (slopes.square().sum(0) + FLAT))


def _least_squares(
    moved: Callable[[torch.Tensor], torch.Tensor], missing: torch.Tensor, momentum: torch.Tensor, ridge: float
) -> torch.Tensor:
    """The momentum m + u with the least |A u − r|² + ridge |m + u|², by conjugate gradients.

    Args:
        moved: A, linear.
        missing: r.
        momentum: m.
        ridge: Its weight.
    """
    _, adjoint = torch.func.vjp(moved, torch.zeros_like(momentum))
    change = torch.zeros_like(momentum)
    residual = adjoint(missing)[0] - ridge * momentum
    direction, size = residual, residual.square().sum()
    for _ in range(ITERATIONS):
        image = adjoint(moved(direction))[0] + ridge * direction
        length = size / (direction * image).sum().clamp(min=1e-30)
        change = change + length * direction
        residual = residual - length * image
        new_size = residual.square().sum()
        direction, size = residual + new_size / size.clamp(min=1e-30) * direction, new_size
    return momentum + change
