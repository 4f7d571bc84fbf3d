"""One code path through a network: strided for a patch, phase by phase for every voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F

PHASE_BYTES = (
    32 << 20
)  # phases walk together up to this size: enough to amortise the kernels' reordering, small for caches
SLAB_BYTES = 48 << 20  # planes of one segment computed at a time: smaller slabs pay in halo, larger ones in page faults


@dataclass(frozen=True)
class Walk:
    """How operations treat borders and strides.

    Args:
        padding: `"same"` adds zeros as Keras does (more at the end where the number is odd), `"valid"` adds none.
        strided: False computes every position and leaves the stride to `encode_every_voxel`.
    """

    padding: str = "same"
    strided: bool = True

    def conv(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> torch.Tensor:
        """Convolution of `(batch, channels, d, h, w)`; the kernel is cast to the type of `x`."""
        weight = weight.to(x.dtype)
        bias = None if bias is None else bias.to(x.dtype)
        stride = stride if self.strided else 1
        if self.padding == "valid":
            return F.conv3d(x, weight, bias, stride=stride, groups=groups)
        pads = [same_padding(n, k, stride) for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
        if all(before == after for before, after in pads):
            return F.conv3d(x, weight, bias, stride=stride, padding=[before for before, _ in pads], groups=groups)
        return F.conv3d(_pad(x, pads, 0.0), weight, bias, stride=stride, groups=groups)

    def max_pool(self, x: torch.Tensor, size: int, *, padded: bool) -> torch.Tensor:
        """Maximum over cubes of `size` voxels, two voxels apart.

        `padded` tells whether the network pads its pooling; where not, an axis shorter than `size` is pooled whole,
        so that small patches still have deep layers.
        """
        if not self.strided:
            return _sliding_max(x, size)
        if self.padding == "same" and padded:
            x = _pad(x, [same_padding(n, size, 2) for n in x.shape[2:]], float("-inf"))
        kernel = [min(size, n) for n in x.shape[2:]]
        return F.max_pool3d(x, kernel, stride=2)


@dataclass(frozen=True)
class Stage:
    """A stretch of a network that strides at most once, where everything after the stride is pointwise.

    Args:
        run: Computes it.
        channels: The most channels it holds.
        shrink: Voxels (of its input) that a valid walk loses along each axis at stride 1.
        stride: 1 or 2.
    """

    run: Callable[[torch.Tensor, Walk], torch.Tensor]
    channels: int
    shrink: int
    stride: int = 1


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` voxels under Keras' "same"."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def encode_every_voxel(x: torch.Tensor, stages: Sequence[Stage], views: list[torch.Tensor]) -> None:
    """Fill `views` with what a strided network gives at every voxel, without padding.

    A strided operation is computed at stride 1 and its result is dealt out into 8 phases (even and odd positions along
    each axis) that no later operation mixes; the phases go on as batch entries, so that all convolutions stay ordinary
    and undilated. The result equals that of dilated convolutions.

    Args:
        x: Shape `(batch, channels, d, h, w)`.
        stages: The network up to the layer.
        views: One tensor a batch entry, shape `(features, d', h', w')`, where each edge is that of `x` less the
            receptive field plus 1; views of one common tensor are fine.
    """
    first = next((i for i, stage in enumerate(stages) if stage.stride > 1), len(stages) - 1)
    segment, rest = stages[: first + 1], stages[first + 1 :]
    if segment[-1].stride == 1:
        for start, part in _slabs(x, segment):
            for view, features in zip(views, part, strict=True):
                target = view[:, start : start + part.shape[2]]
                target.copy_(features[:, : target.shape[1], : target.shape[2], : target.shape[3]])
        return
    phases = _deal_into_phases(x, segment)
    offsets = list(product((0, 1), repeat=3))
    views = [view[:, a::2, b::2, c::2] for view in views for a, b, c in offsets]
    if not rest:
        for view, features in zip(views, phases, strict=True):
            view.copy_(features[:, : view.shape[1], : view.shape[2], : view.shape[3]])
        return
    together = max(1, PHASE_BYTES // (phases[0].numel() * phases.element_size()))
    for start in range(0, len(views), together):
        encode_every_voxel(phases[start : start + together], rest, views[start : start + together])


def _deal_into_phases(x: torch.Tensor, segment: Sequence[Stage]) -> torch.Tensor:
    """The segment's result at stride 1 as 8 phases a batch entry; phases short by one voxel end in zeros."""
    size = [n - sum(stage.shrink for stage in segment) for n in x.shape[2:]]
    phases = None
    for start, part in _slabs(x, segment):
        if phases is None:
            phases = part.new_zeros((x.shape[0], 8, part.shape[1], *(-(-n // 2) for n in size)))
            phases = phases.flatten(0, 1).contiguous(memory_format=torch.channels_last_3d).unflatten(0, (x.shape[0], 8))
        for k, (a, b, c) in enumerate(product((0, 1), repeat=3)):
            phase = part[:, :, a::2, b::2, c::2]
            depth, height, width = phase.shape[2:]
            phases[:, k, :, start // 2 : start // 2 + depth, :height, :width] = phase
    return phases.flatten(0, 1)


def _slabs(x: torch.Tensor, segment: Sequence[Stage]) -> Iterator[tuple[int, torch.Tensor]]:
    """The segment's result in slabs of an even number of planes: pairs of first plane and result."""
    walk = Walk("valid", strided=False)
    shrink = sum(stage.shrink for stage in segment)
    plane_bytes = x[:, 0, 0].numel() * x.element_size() * max(stage.channels for stage in segment)
    thickness = max(2, SLAB_BYTES // plane_bytes, 3 * shrink) // 2 * 2
    for start in range(0, x.shape[2] - shrink, thickness):
        part = x[:, :, start : start + thickness + shrink]
        for stage in segment:
            part = stage.run(part, walk)
        yield start, part


def _sliding_max(x: torch.Tensor, size: int) -> torch.Tensor:
    """Maximum over cubes at every position, one axis after the other."""
    for axis in (2, 3, 4):
        reach, length = 1, x.shape[axis]
        while reach < size:
            step = min(reach, size - reach)
            length -= step
            x = torch.maximum(x.narrow(axis, 0, length), x.narrow(axis, step, length))
            reach += step
    return x


def _pad(x: torch.Tensor, pads: list[tuple[int, int]], value: float) -> torch.Tensor:
    return F.pad(x, [amount for before, after in reversed(pads) for amount in (before, after)], value=value)
