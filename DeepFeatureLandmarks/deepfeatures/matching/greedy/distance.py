"""Distance of template feature maps to every place in a volume, without cutting a single patch.

The squared distance of a template map T to the features F seen from voxel q is ||T||² - 2 <T, F(q)> + ||F(q)||²: a
constant, a correlation and a box sum. Both sides are first shifted by the features' mean, which changes no distance but
keeps the three terms small, so that float32 does not lose what is left of them.
"""

from __future__ import annotations

from itertools import product
from math import prod

import torch
import torch.nn.functional as F

Margins = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_MARGINS: Margins = ((0, 0), (0, 0), (0, 0))

PRODUCTS_UP_TO = 4  # entries along an edge of a map: matrix products win up to here, Fourier transforms beyond
BLOCK_BYTES = 64 << 20  # temporaries of products held at a time
FOURIER_BYTES = 8 << 20  # of features transformed at a time: what stays in the cache


def distance_map(template_map: torch.Tensor, features: torch.Tensor, stride: int) -> torch.Tensor:
    """Squared Frobenius distance of one template map `(channels, n, n, n)`; see `distance_maps`."""
    return distance_maps(template_map[None], features, stride)[0]


def distance_maps(
    template_maps: torch.Tensor, features: torch.Tensor, stride: int, *, margins: Margins = NO_MARGINS
) -> torch.Tensor:
    """Squared Frobenius distance of template maps to the target's map at every voxel.

    Args:
        template_maps: Shape `(landmarks, channels, n, n, n)`.
        features: Dense features of the target, shape `(channels, d, h, w)`, of any float type.
        stride: Voxels between the entries of a map.
        margins: Voxels by which the border of the features is repeated before and after depth, height and width.

    Returns:
        float32, shape `(landmarks, d - s, h - s, w - s)` with `s = (n - 1) * stride` and the edges of the features
        with their margins; entry q compares with the map at q, q + stride, … along each axis.
    """
    templates, features = _centred(template_maps, features)
    count = templates.shape[-1]
    by_products = count <= PRODUCTS_UP_TO or features.device.type == "mps"  # Metal has few complex operations
    correlate = _correlate_by_products if by_products else _correlate_by_fourier
    squares = torch.linalg.vector_norm(features, dim=0).square_()
    distances = correlate(templates, features, stride, margins).mul_(-2)
    distances += _box_sum(_extended(squares[None], margins), count, stride)
    distances += templates.flatten(1).square().sum(1)[:, None, None, None]
    return distances.clamp_min_(0)


def mean_distance_maps(
    template_means: torch.Tensor, features: torch.Tensor, count: int, stride: int, *, margins: Margins = NO_MARGINS
) -> torch.Tensor:
    """Squared Euclidean distance of mean feature vectors to the mean over the target's map at every voxel.

    Args:
        template_means: The mean over each template map, shape `(landmarks, channels)`.
        features: Dense features of the target, shape `(channels, d, h, w)`.
        count: Entries of a map along each edge (n).
        stride: Voxels between the entries of a map.
        margins: As for `distance_maps`.

    Returns:
        float32, of the same shape as from `distance_maps`.
    """
    templates, features = _centred(template_means, features)
    channels = max(1, BLOCK_BYTES // (4 * features[0].numel()))
    correlation, squares = 0.0, 0.0
    for vectors, part in zip(templates.split(channels, 1), features.split(channels), strict=True):
        means = _box_sum(_extended(part, margins), count, stride) / count**3
        correlation = correlation + torch.tensordot(vectors, means, 1)
        squares = squares + means.square_().sum(0)
    return (templates.square().sum(1)[:, None, None, None] - 2 * correlation + squares).clamp_min_(0)


def _centred(templates: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both less the mean feature vector, in float32; channels are the second axis of one and the first of the other.

    Dense features have their channels last in memory: as a matrix they are transposed several times faster than in 4D.
    """
    channels, *size = features.shape
    vectors = features.movedim(0, -1).reshape(-1, channels).float()
    mean = vectors.mean(0)
    features = (vectors - mean).t().contiguous().reshape(channels, *size)
    return templates.float() - mean.reshape(-1, *(1,) * (templates.ndim - 2)), features


def _extended(x: torch.Tensor, margins: Margins) -> torch.Tensor:
    """`(maps, d, h, w)` with its border repeated."""
    if not any(map(any, margins)):
        return x
    return F.pad(x[None], [voxels for margin in reversed(margins) for voxels in margin], mode="replicate")[0]


def _box_sum(x: torch.Tensor, count: int, stride: int) -> torch.Tensor:
    """Sum over `count` entries along each of the last three axes, `stride` apart."""
    for axis in (-3, -2, -1):
        length = x.shape[axis] - (count - 1) * stride
        total = x.narrow(axis, 0, length).clone()
        for k in range(1, count):
            total += x.narrow(axis, k * stride, length)
        x = total
    return x


def _correlate_by_products(
    templates: torch.Tensor, features: torch.Tensor, stride: int, margins: Margins
) -> torch.Tensor:
    """One product for each entry of the maps with all features, added up at shifted places.

    Margins repeat the products, not the features, of which there are many more. Places are shifted in the flattened
    volume: a whole run at once, of which the part that crosses an edge is cut off.
    """
    landmarks, channels, count = templates.shape[:3]
    depth, height, width = extended = [n + sum(margin) for n, margin in zip(features.shape[1:], margins, strict=True)]
    voxels = prod(extended)
    run = voxels - (count - 1) * stride * (height * width + width + 1)
    shifts = [stride * ((i * height + j) * width + k) for i, j, k in product(range(count), repeat=3)]
    entries = templates.flatten(2).permute(2, 0, 1)
    flat = features.reshape(channels, -1)
    block = max(1, BLOCK_BYTES // (4 * landmarks * voxels))
    total = features.new_zeros((landmarks, voxels))
    for start in range(0, len(shifts), block):
        part = entries[start : start + block]
        products = (part.reshape(-1, channels) @ flat).reshape(-1, *features.shape[1:])
        products = _extended(products, margins).reshape(len(part), landmarks, voxels)
        for values, shift in zip(products, shifts[start : start + block], strict=True):
            total[:, :run] += values[:, shift : shift + run]
    size = [n - (count - 1) * stride for n in extended]
    return total.reshape(landmarks, depth, height, width)[:, : size[0], : size[1], : size[2]].contiguous()


def _correlate_by_fourier(
    templates: torch.Tensor, features: torch.Tensor, stride: int, margins: Margins
) -> torch.Tensor:
    """Correlation at stride 1 within each of the `stride³` phases, which the entries of a map never mix."""
    extended = [n + sum(margin) for n, margin in zip(features.shape[1:], margins, strict=True)]
    landmarks = len(templates)
    phases = stride**3
    lengths = [-(-n // stride) for n in extended]
    sizes = [_fast_length(n) for n in lengths]
    axes = (-3, -2, -1)
    frequencies = (sizes[0], sizes[1], sizes[2] // 2 + 1)
    spectrum = torch.zeros((prod(frequencies), landmarks, phases), dtype=torch.complex64, device=features.device)
    block = max(1, FOURIER_BYTES // (4 * phases * prod(sizes)))
    for maps, part in zip(templates.split(block, 1), features.split(block), strict=True):
        seen = torch.fft.rfftn(_phases(_extended(part, margins), stride, sizes), dim=axes).flatten(2)
        sought = torch.fft.rfftn(maps, s=sizes, dim=axes).conj_physical().flatten(2)
        spectrum += torch.bmm(sought.permute(2, 0, 1).contiguous(), seen.permute(2, 0, 1).contiguous())
    spectrum = spectrum.permute(1, 2, 0).reshape(landmarks, phases, *frequencies)
    result = torch.fft.irfftn(spectrum, s=sizes, dim=axes)[..., : lengths[0], : lengths[1], : lengths[2]]
    result = result.reshape(landmarks, stride, stride, stride, *lengths).permute(0, 4, 1, 5, 2, 6, 3)
    result = result.reshape(landmarks, *(n * stride for n in lengths))
    size = [n - (templates.shape[-1] - 1) * stride for n in extended]
    return result[:, : size[0], : size[1], : size[2]].contiguous()


def _phases(x: torch.Tensor, stride: int, sizes: list[int]) -> torch.Tensor:
    """`(channels, d, h, w)` dealt out to `(channels, stride³, *sizes)`, zeros beyond."""
    phases = x.new_zeros((len(x), stride**3, *sizes))
    for k, (a, b, c) in enumerate(product(range(stride), repeat=3)):
        phase = x[:, a::stride, b::stride, c::stride]
        depth, height, width = phase.shape[1:]
        phases[:, k, :depth, :height, :width] = phase
    return phases


def _fast_length(n: int) -> int:
    """The next length without prime factors above 5."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
