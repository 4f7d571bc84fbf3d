"""Block matching: where around each keypoint does the other volume look most alike?"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from deepfeatures.matching.grids import sample, windows

# What lies beyond the target weighs so much in a block, as if it were as unlike as the point's blocks are on average:
# lest the little that is covered decide.
BEYOND = 0.1


def cube(radius: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """All `(x, y, z)` integer offsets of a cube: shape `((2 radius + 1)³, 3)`, z slowest."""
    axis = torch.arange(-radius, radius + 1, device=device)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack((x, y, z), -1).reshape(-1, 3)


def ball(radius: int, step: int = 1, device: torch.device | str = "cpu") -> torch.Tensor:
    """Integer offsets within `radius` voxels, every `step`-th along each axis: where blocks are compared."""
    offsets = cube(radius // step, device) * step
    return offsets[(offsets**2).sum(-1) <= radius * radius + 1]


def emphasis(patch: torch.Tensor) -> torch.Tensor:
    """Weights of a block's offsets `(K, 3)`, one on average: near the middle counts more (a Gaussian of 0.7 radii)."""
    weights = torch.exp(-patch.square().sum(1) / (2 * (0.7 * patch.abs().max()) ** 2))
    return weights / weights.mean()


def block_distances(
    template: torch.Tensor,
    target: torch.Tensor,
    points: torch.Tensor,
    starts: torch.Tensor,
    search_radius: int,
    patch: torch.Tensor,
    weights: torch.Tensor | None = None,
    covered: torch.Tensor | None = None,
    chunk_bytes: int = 4 << 20,
) -> torch.Tensor:
    """Mean squared feature difference of each point's patch to the patches around its start.

    Where the target ends, a patch is compared as far as the target goes: else what is replicated beyond would hold
    every landmark inside. The less of a patch is covered, the nearer its distance is to the point's mean.

    Args:
        template, target: Features, `(C, D, H, W)`, both on grids of the same spacing.
        points: Template positions in voxels, `(N, 3)`, sub-voxel.
        starts: Target positions in voxels, `(N, 3)`; their sub-voxel part is kept by sampling.
        search_radius: Half the edge of the cube of displacements, in voxels.
        patch: Offsets on which patches are compared, `(K, 3)` integers.
        weights: How much each offset counts, `(K,)`, one on average; all alike where `None`.
        covered: 1 where the target's features are of its voxels, 0 beyond, `(D, H, W)`; 1 everywhere where `None`.
        chunk_bytes: Target features held at a time; what fits a processor's cache is fastest.

    Returns:
        `(N, n, n, n)` with `n = 2 search_radius + 1`, displacement axes z, y, x.
    """
    channels, reach = template.shape[0], int(patch.abs().max())
    width, n = 2 * (search_radius + reach) + 1, 2 * search_radius + 1
    corners = (patch + reach).tolist()
    chunk = max(1, chunk_bytes // (4 * channels * width**3))
    weights = torch.ones(len(patch), device=points.device) if weights is None else weights
    covered = torch.ones_like(target[0]) if covered is None else covered.to(target.dtype)
    target = torch.cat([target, covered[None]]).movedim(0, -1).contiguous()
    results = []
    for first in range(0, len(points), chunk):
        here, there = points[first : first + chunk], starts[first : first + chunk]
        wanted = sample(template, here[:, None] + patch[None].float())  # (N, K, C)
        seen = windows(target, there, search_radius + reach)  # (z, y, x, N, C + 1)
        seen[..., -1].round_()
        seen *= seen[..., -1:].clone()
        # |t - s|² = |s|² - 2 (t·s - |t|² / 2), summed over the patch without ever holding the patches.
        wanted = torch.cat([wanted, wanted.square().sum(2, keepdim=True) / -2], 2)
        factors = (weights[:, None] * wanted).movedim(1, 0).contiguous()
        squares, within = seen[..., :-1].square().sum(-1), seen[..., -1]
        products = torch.zeros_like(seen[:n, :n, :n])
        total, share = torch.zeros_like(squares[:n, :n, :n]), torch.zeros_like(squares[:n, :n, :n])
        for k, (x, y, z) in enumerate(corners):
            piece = slice(z, z + n), slice(y, y + n), slice(x, x + n)
            products.addcmul_(seen[piece], factors[k])
            total.add_(squares[piece], alpha=float(weights[k]))
            share.add_(within[piece], alpha=float(weights[k]))
        total = total.sub_(products.sum(-1), alpha=2).clamp_(min=0) / channels
        typical = total.sum((0, 1, 2)) / share.sum((0, 1, 2)).clamp(min=1)
        beyond = BEYOND * (weights.sum() - share)
        results.append(((total + beyond * typical) / (share + beyond).clamp(min=1e-6)).movedim(-1, 0))
    return torch.cat(results)


def sub_voxel_minimum(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the distance is least, refined by a parabola along each axis.

    Args:
        distances: `(N, n, n, n)`, axes z, y, x.

    Returns:
        Displacements `(N, 3)` from the middle in voxels, and the least distances `(N,)`.
    """
    count, n = distances.shape[0], distances.shape[1]
    flat = distances.reshape(count, -1)
    value, index = flat.min(1)
    z, y, x = index // (n * n), (index // n) % n, index % n
    padded = F.pad(distances[:, None], (1,) * 6, mode="replicate")[:, 0]
    rows = torch.arange(count, device=distances.device)
    parts = []
    for axis, centre in enumerate((x, y, z)):
        step = [int(axis == a) for a in range(3)]
        before = padded[rows, z + 1 - step[2], y + 1 - step[1], x + 1 - step[0]]
        after = padded[rows, z + 1 + step[2], y + 1 + step[1], x + 1 + step[0]]
        bend = (before + after - 2 * value).clamp(min=1e-12)
        inside = (centre > 0) & (centre < n - 1)
        shift = torch.where(inside, (0.5 * (before - after) / bend).clamp(-0.5, 0.5), torch.zeros_like(value))
        parts.append(centre - n // 2 + shift)
    return torch.stack(parts, -1), value
