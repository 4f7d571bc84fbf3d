"""Block matching: where around each keypoint does the other volume look most alike?"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.cross_correlation import cross_correlate
from deepfeatures.matching.geometry.sampling import extract_windows
from deepfeatures.transforms.samplers import sample

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


def blocks_at(features: torch.Tensor, points: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
    """What features `(C, D, H, W)` are on a patch `(K, 3)` around points `(N, 3)` in voxels: shape `(N, K, C)`."""
    return sample(features, points[:, None] + patch.float())


def block_distances(
    template: torch.Tensor,
    target: torch.Tensor,
    points: torch.Tensor,
    starts: torch.Tensor,
    search_radius: int,
    patch: torch.Tensor,
    weights: torch.Tensor | None = None,
    covered: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared feature difference of each point's patch to the patches around its start.

    Args:
        template: Features, `(C, D, H, W)`, on a grid of the target's spacing.
        points: Template positions in voxels, `(N, 3)`, sub-voxel.
        target, starts, search_radius, patch, weights, covered: See `distances_of_blocks`, as for what is returned.
    """
    return distances_of_blocks(
        blocks_at(template, points, patch), target, starts, search_radius, patch, weights, covered
    )


def distances_of_blocks(
    blocks: torch.Tensor,
    target: torch.Tensor,
    starts: torch.Tensor,
    search_radius: int,
    patch: torch.Tensor,
    weights: torch.Tensor | None = None,
    covered: torch.Tensor | None = None,
    chunk_bytes: int = 8 << 20,
) -> torch.Tensor:
    """Mean squared feature difference of each block to the patches around its start.

    Where the target ends, a patch is compared as far as the target goes: else what is replicated beyond would hold
    every landmark inside. The less of a patch is covered, the nearer its distance is to the point's mean.

    Args:
        blocks: Features that are looked for, `(N, K, C)`.
        target: Features, `(C, D, H, W)`.
        starts: Target positions in voxels, `(N, 3)`; their sub-voxel part is kept by sampling.
        search_radius: Half the edge of the cube of displacements, in voxels.
        patch: Offsets on which patches are compared, `(K, 3)`, as `ball` gives them.
        weights: How much each offset counts, `(K,)`, one on average; all alike where `None`.
        covered: 1 where the target's features are of its voxels, 0 beyond, `(D, H, W)`; 1 everywhere where `None`.
        chunk_bytes: Target features held at a time; what fits a processor's cache is fastest.

    Returns:
        `(N, n, n, n)` with `n = 2 search_radius + 1`, displacement axes z, y, x.
    """
    channels, reach = target.shape[0], int(patch.max())
    radius = search_radius + reach
    weights = torch.ones(len(patch), device=starts.device) if weights is None else weights
    covered = torch.ones_like(target[0]) if covered is None else covered.to(target.dtype)
    target = target.movedim(0, -1).contiguous()
    kernel = _PatchKernel(patch, weights, reach)
    distances = blocks.new_empty(len(starts), *(2 * search_radius + 1,) * 3)
    is_whole = _all_covered(covered, starts, radius)
    chunk = max(1, chunk_bytes // (4 * channels * (2 * radius + 1) ** 3))
    for index in is_whole.nonzero()[:, 0].split(chunk) if is_whole.any() else ():
        distances[index] = kernel.distances(blocks[index], extract_windows(target, starts[index], radius))
    for index in (~is_whole).nonzero()[:, 0].split(chunk) if not is_whole.all() else ():
        windows = extract_windows(target, starts[index], radius)
        within = extract_windows(covered[..., None], starts[index], radius).round_()
        distances[index] = kernel.distances_where_covered(blocks[index], windows, within)
    return distances


class _PatchKernel:
    """Compares blocks with all patches of windows, as sums of products over the patch's offsets.

    |t - s|² = -2 (t·s - |s|² / 2 - |t|² / 2), summed over the patch without ever holding the patches.

    Args:
        patch: Offsets, `(K, 3)`.
        weights: Of the offsets, `(K,)`.
        reach: The largest offset.
    """

    def __init__(self, patch: torch.Tensor, weights: torch.Tensor, reach: int):
        self._step = int(patch[patch > 0].min()) if reach else 1
        self._edge = 2 * (reach // self._step) + 1
        self._index = ((patch + reach) // self._step).unbind(1)
        self._weights = weights

    def distances(self, blocks: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Of blocks `(N, K, C)` to the patches of windows `(N, n, n, n, C)` that the target covers whole."""
        kernels = self._cubes(_with_ones(blocks))
        products = cross_correlate(torch.cat([windows, _half(windows)], -1), kernels, self._step)
        products += (_half(blocks)[..., 0] @ self._weights)[:, None, None, None]
        return products.mul_(-2 / (blocks.shape[2] * self._weights.sum())).clamp_(min=0)

    def distances_where_covered(
        self, blocks: torch.Tensor, windows: torch.Tensor, within: torch.Tensor
    ) -> torch.Tensor:
        """The same where only the voxels count that are 1 in `within`, `(N, n, n, n, 1)`."""
        of_blocks = _half(blocks)
        windows = _with_ones(torch.cat([windows, _half(windows)], -1)).mul_(within)
        products = cross_correlate(windows, self._cubes(torch.cat([_with_ones(blocks), of_blocks], -1)), self._step)
        total = products.mul_(-2 / blocks.shape[2]).clamp_(min=0)
        share = cross_correlate(within, self._cubes(torch.ones_like(of_blocks)), self._step)
        typical = total.sum((1, 2, 3), keepdim=True) / share.sum((1, 2, 3), keepdim=True).clamp(min=1)
        beyond = BEYOND * (self._weights.sum() - share)
        return (total + beyond * typical) / (share + beyond).clamp(min=1e-6)

    def _cubes(self, values: torch.Tensor) -> torch.Tensor:
        """Weighted values of the patch's offsets, `(N, K, C)`, in cubes."""
        cubes = values.new_zeros(len(values), self._edge, self._edge, self._edge, values.shape[2])
        x, y, z = self._index
        cubes[:, z, y, x] = self._weights[:, None] * values
        return cubes


def _half(vectors: torch.Tensor) -> torch.Tensor:
    """Half of minus the squared lengths of vectors along the last axis, which stays."""
    return vectors.square().sum(-1, keepdim=True) / -2


def _with_ones(vectors: torch.Tensor) -> torch.Tensor:
    """A one after each vector along the last axis."""
    return F.pad(vectors, (0, 1), value=1.0)


def _all_covered(covered: torch.Tensor, middles: torch.Tensor, radius: int) -> torch.Tensor:
    """Whether all that `extract_windows` reads around points `(N, 3)` is 1 in `covered` `(D, H, W)`: shape `(N,)`."""
    if covered.all():
        return torch.ones(len(middles), dtype=torch.bool, device=middles.device)
    gaps = F.pad((covered == 0).int(), (1, 0) * 3)
    for axis in range(3):
        gaps = gaps.cumsum(axis)
    last = torch.tensor(covered.shape[::-1], device=middles.device) - 1
    lowest = middles.floor().long()
    ends = [(lowest - radius).clamp(min=0).minimum(last), (lowest + radius + 1).clamp(min=0).minimum(last) + 1]
    total = torch.zeros(len(middles), dtype=gaps.dtype, device=middles.device)
    for corner in product((0, 1), repeat=3):
        x, y, z = (ends[end][:, axis] for axis, end in enumerate(corner))
        total += (-1) ** (3 - sum(corner)) * gaps[z, y, x]
    return total == 0


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
        curvature = (before + after - 2 * value).clamp(min=1e-12)
        inside = (centre > 0) & (centre < n - 1)
        shift = torch.where(inside, (0.5 * (before - after) / curvature).clamp(-0.5, 0.5), torch.zeros_like(value))
        parts.append(centre - n // 2 + shift)
    return torch.stack(parts, -1), value
