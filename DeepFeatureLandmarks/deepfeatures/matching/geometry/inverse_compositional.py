"""Inverse compositional alignment: where a block lies between the voxels of another volume, and how it is turned there.

Lucas and Kanade's registration in the form of Baker and Matthews (IJCV 2004), once for each point, by an affine warp.
In each round the block of the template is moved a little until it fits, and the warp is followed by the inverse of that
movement: `warp ∘ movement⁻¹`. So gradients, Jacobian and Hessian are those of the template, computed once for all
targets. Code published with inverse compositional spatial transformers multiplies the movement from the other side; a
network can learn to make up for that, this solver could not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from deepfeatures.transforms.inverse_compositional import after_inverse
from deepfeatures.transforms.samplers import sample

ROUNDS = 6
SLOPE_STEP = 0.5  # voxels to either side, for gradients
LEAST = 1e-6  # of the mean squared gradient, towards no movement: flat blocks stay where they are

# Features of the target on a block warped to middles (N, 3) by affine maps (N, 3, 3), shape (N, K, C); NaN where the
# target shows nothing.
Look = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class AlignmentModel:
    """What does not depend on the target. Lengths are in voxels.

    Args:
        patch: Offsets of a block, `(K, 3)`.
        blocks: Features of the template around the points, `(N, K, C)`.
        gradients: Of these features, weighted, `(N, K, C, 3)`.
        hessian: Of half the weighted squared difference by the twelve numbers of a warp, see `basis`, `(N, 12, 12)`.
        total: Sum of all weights over offsets and channels, by which squared differences become a mean.
    """

    patch: torch.Tensor
    blocks: torch.Tensor
    gradients: torch.Tensor
    hessian: torch.Tensor
    total: float

    @classmethod
    def fit(
        cls, features: torch.Tensor, points: torch.Tensor, patch: torch.Tensor, weights: torch.Tensor
    ) -> AlignmentModel:
        """Of features `(C, D, H, W)` around points `(N, 3)`, on offsets `(K, 3)` with weights `(K,)`."""
        places, steps = points[:, None] + patch, SLOPE_STEP * torch.eye(3, device=points.device)
        slopes = [sample(features, places + step) - sample(features, places - step) for step in steps]
        gradients = torch.stack(slopes, -1) / (2 * SLOPE_STEP)
        squares = torch.einsum("k,nkca,nkcb->nkab", weights, gradients, gradients)
        axes = basis(patch)
        hessian = torch.einsum("nkab,ki,kj->naibj", squares, axes, axes).flatten(3).flatten(1, 2)
        total = float(weights.sum()) * features.shape[0]
        return cls(patch, sample(features, places), gradients * weights[:, None, None], hessian, total)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.blocks, self.gradients, self.hessian))


@dataclass(frozen=True, eq=False)
class AlignmentPrior:
    """What is believed of the warps before the target is looked at.

    Args:
        shift: Expected shift of each point from where it starts, voxels, `(N, 3)`.
        shift_weight: Mean squared feature difference that one voxel away from it costs, `(N,)`.
        strain_weight: The same for a turn or stretch that moves the block's rim by one voxel, `(N,)`.
    """

    shift: torch.Tensor
    shift_weight: torch.Tensor
    strain_weight: torch.Tensor


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the blocks lie in the target.

    Args:
        shifts: From where they started, voxels, `(N, 3)`.
        affine: Takes offsets in the template's block to offsets in the target, `(N, 3, 3)`.
    """

    shifts: torch.Tensor
    affine: torch.Tensor


def align(
    model: AlignmentModel, look: Look, starts: torch.Tensor, prior: AlignmentPrior, rounds: int = ROUNDS
) -> Alignment:
    """Damped Gauss-Newton steps from blocks that start at `starts` `(N, 3)`, neither turned nor stretched."""
    count, axes = len(starts), basis(model.patch)
    damping, expected = _damping(model, prior)
    solve = torch.linalg.inv(model.hessian + torch.diag_embed(damping))
    identity = torch.eye(4, device=starts.device).expand(count, 4, 4)
    warp = identity.clone()
    for _ in range(rounds):
        seen = look(starts + warp[:, :3, 3], warp[:, :3, :3])
        difference = (seen - model.blocks).nan_to_num(0.0)
        slope = torch.einsum("nkca,nkc,ki->nai", model.gradients, difference, axes).flatten(1)
        so_far = _to_rim(model, (warp - identity)[:, :3]).flatten(1)
        step = (solve @ (slope + damping * (so_far - expected))[..., None]).reshape(count, 3, 4)
        movement = identity.clone()
        movement[:, :3] += _from_rim(model, step)
        warp = after_inverse(warp, movement)
    return Alignment(warp[:, :3, 3], warp[:, :3, :3])


def basis(patch: torch.Tensor) -> torch.Tensor:
    """What each of a warp's four columns moves at offsets `(K, 3)`, one at the rim of the block: `(K, 4)`."""
    offsets = patch.to(torch.float32)
    return torch.cat([offsets / offsets.abs().max(), torch.ones_like(offsets[:, :1])], 1)


def rotations(matrices: torch.Tensor) -> torch.Tensor:
    """The rotations nearest to matrices `(N, 3, 3)`: what is left without their stretches, never a reflection."""
    u, _, vt = torch.linalg.svd(matrices.cpu())  # Metal lacks it
    sign = torch.ones_like(u[:, 0])
    sign[:, 2] = torch.linalg.det(u @ vt).sign()
    return ((u * sign[:, None]) @ vt).to(matrices.device)


def _damping(model: AlignmentModel, prior: AlignmentPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each of the twelve numbers, and what they are expected to be, `(N, 12)`."""
    least = LEAST * model.hessian.diagonal(dim1=1, dim2=2).mean(1) + torch.finfo(torch.float32).tiny
    weights = torch.stack([*(prior.strain_weight,) * 3, prior.shift_weight], 1) * model.total + least[:, None]
    expected = torch.zeros(len(weights), 3, 4, device=weights.device)
    expected[:, :, 3] = prior.shift
    return weights[:, None].expand(-1, 3, -1).flatten(1), expected.flatten(1)


def _to_rim(model: AlignmentModel, movement: torch.Tensor) -> torch.Tensor:
    """Warps less the identity, `(N, 3, 4)`, by what they move at the rim."""
    return movement * _rim(model)


def _from_rim(model: AlignmentModel, movement: torch.Tensor) -> torch.Tensor:
    return movement / _rim(model)


def _rim(model: AlignmentModel) -> torch.Tensor:
    reach = model.patch.abs().max().to(torch.float32)
    return torch.stack([reach, reach, reach, torch.ones_like(reach)])
