"""Pairs of images with the momentum between them: fitted to what the search found, or drawn and so known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deepfeatures.data.volume import Volume
from deepfeatures.matching.geometry.mapping import PointMapping
from deepfeatures.networks.momentum import PATCH, MomentumNetwork, predict_momentum
from deepfeatures.training.noise import Random
from deepfeatures.transforms.lddmm import Kernel, reversed_in_time, shoot, warped
from deepfeatures.transforms.lddmm_fit import FitSettings, Pull, fit_momentum, push
from deepfeatures.transforms.quicksilver import PosedPair

SHIFT = (0.5, 4.0)  # voxels by which the fastest place of a drawn deformation moves
STEPS = 4  # of a drawn geodesic: it is smooth


@dataclass(frozen=True, eq=False)
class MomentumPair:
    """Two images on one grid, and what leads from one to the other.

    Args:
        template, target: Intensities from -1 to 1, `(D, H, W)`.
        push: The momentum of one step by intensities, in voxels, `(3, D, H, W)`.
        momentum: In voxels, `(3, D, H, W)`.
    """

    template: torch.Tensor
    target: torch.Tensor
    push: torch.Tensor
    momentum: torch.Tensor

    @classmethod
    def of(cls, template: torch.Tensor, target: torch.Tensor, momentum: torch.Tensor, kernel: Kernel) -> MomentumPair:
        """With the push of these images."""
        return cls(template, target, push(template, target, kernel), momentum)

    def patch(self, rng: Random) -> torch.Tensor:
        """A patch from anywhere, its axes swapped and turned round at random: template, target, push,
        momentum, `(8, 15, 15, 15)`.

        A mirrored pair has the mirrored momentum, since the kernel is the same along all axes.
        """
        both = torch.cat([self.template[None], self.target[None], self.push, self.momentum])
        for axis in (1, 2, 3):
            both = both.narrow(axis, int(rng.integers(both.shape[axis] - PATCH + 1, 1)), PATCH)
        order = rng.permutation(3)
        signs = 1.0 - 2.0 * rng.integers(2, 3)
        # axes run z, y, x, components x, y, z: component c belongs to axis 3 - c
        both = both.permute(0, *(order + 1).tolist())
        both = both.flip([1 + axis for axis in range(3) if signs[axis] < 0])
        turned = [signs[axis] * both[first - int(order[axis])] for first in (4, 7) for axis in (2, 1, 0)]
        return torch.cat([both[:2], torch.stack(turned)])


def posed_pair_of(template: Volume, target: Volume, mapping: PointMapping, spacing_mm: float) -> PosedPair:
    """Template and target as the search saw them in its pose.

    Args:
        template, target: Volumes.
        mapping: What the search found.
        spacing_mm: Edge of the voxels.
    """
    return PosedPair.of(template, target, mapping.world_pose, spacing_mm)


def settled_points(pair: PosedPair, mapping: PointMapping) -> Pull:
    """Landmarks and keypoints as the search settled them, before the pose, in voxels of the pair's grid."""
    points, moved, weights = mapping.settled()
    start, end = (torch.from_numpy(pair.template.to_index(places)).float() for places in (points, moved))
    return Pull(start, end - start, torch.from_numpy(weights).float())


def fitted_pair(pair: PosedPair, mapping: PointMapping, settings: FitSettings) -> MomentumPair:
    """The pair with the momentum that fits the settled points and the images."""
    template = pair.template.voxels
    momentum = fit_momentum(settled_points(pair, mapping), pair.kernel(), template, pair.target, settings)
    return MomentumPair.of(template, pair.target, momentum, pair.kernel())


def drawn_pair(rng: Random, template: torch.Tensor, kernel: Kernel) -> MomentumPair:
    """A template, and the target that a random momentum makes of it, with a little noise and another contrast.

    The momentum is of the kind that images cause: along their gradients, smoothed by the kernel.
    """
    slopes = torch.stack(torch.gradient(template)[::-1])
    momentum = kernel(slopes * rng.normal(*template.shape))
    fastest = kernel(momentum).norm(dim=0).max().clamp(min=1e-9)
    momentum = momentum * rng.number(*SHIFT) / fastest
    target = warped(template, reversed_in_time(shoot(momentum, kernel, STEPS)))
    curved = ((target + 1) / 2).clamp(0, 1) ** rng.number(0.7, 1.4)
    noise = rng.normal(*template.shape) * rng.number(0.01, 0.1)
    return MomentumPair.of(template, 2 * curved - 1 + noise, momentum, kernel)


def what_is_left(pair: MomentumPair, network: MomentumNetwork, kernel: Kernel) -> MomentumPair:
    """The pair as the correction sees it: the target through the predicted mapping, and the missing momentum."""
    found = predict_momentum(network, pair.template, pair.target, pair.push)
    return MomentumPair.of(
        pair.template, warped(pair.target, shoot(found, kernel, STEPS)), pair.momentum - found, kernel
    )


def momentum_scale(pairs: Sequence[MomentumPair]) -> float:
    """The standard deviation of all momenta."""
    return float(torch.cat([pair.momentum.flatten() for pair in pairs]).std())
