"""One code path through a network: strided for a patch, phase by phase for every voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import nn

PHASE_BYTES = 16 << 20  # phases are computed together up to this size: enough to amortise the kernels' reordering
SLAB_BYTES = 24 << 20  # planes computed at a time: smaller slabs pay in halo, larger ones in page faults


@dataclass(frozen=True)
class ConvolutionMode:
    """How operations treat borders and strides.

    Args:
        padding: `"same"` adds zeros as Keras does (more at the end where the number is odd), `"valid"` adds none.
        strided: False computes every position and leaves the stride to `encode_every_voxel`.
    """

    padding: str = "same"
    strided: bool = True

    def conv(self, x: torch.Tensor, part: nn.Conv3d, *, stride: int = 1) -> torch.Tensor:
        """Convolution of `(batch, channels, d, h, w)`, in the type of `x`."""
        weight, bias = part.weight.to(x.dtype), part.bias.to(x.dtype)
        stride = stride if self.strided else 1
        if self.padding == "valid":
            return F.conv3d(x, weight, bias, stride=stride, groups=part.groups)
        pads = [same_padding(n, k, stride) for n, k in zip(x.shape[2:], weight.shape[2:], strict=True)]
        if all(before == after for before, after in pads):
            return F.conv3d(x, weight, bias, stride, [before for before, _ in pads], groups=part.groups)
        return F.conv3d(_pad(x, pads, 0.0), weight, bias, stride=stride, groups=part.groups)

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
class Operation:
    """A stretch of a network that strides at most once, where everything after the stride is pointwise.

    Args:
        run: Computes it.
        channels: The most channels it holds.
        shrink: Voxels (of its input) that it loses without padding along each axis at stride 1.
        stride: 1 or 2.
    """

    run: Callable[[torch.Tensor, ConvolutionMode], torch.Tensor]
    channels: int
    shrink: int
    stride: int = 1


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` voxels under Keras' "same"."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def encode_every_voxel(
    volume: torch.Tensor, operations: Sequence[Operation], views: list[torch.Tensor], start: Sequence[int]
) -> None:
    """Fill `views` with what a strided network gives at every voxel, each operation repeating its input's border.

    A strided operation is computed at stride 1 and its result is split into 8 phases (even and odd positions along each
    axis) that no later operation mixes. The phases go on as batch entries, so that all convolutions stay ordinary and
    undilated. The result equals that of dilated convolutions. Every operation stops where its output would be centred
    beyond the volume, so that deep layers, which see far, cost little more than the volume itself. Where it stops
    depends on the volume alone, so that any two views agree.

    Args:
        volume: Shape `(batch, 1, d, h, w)`.
        operations: The network up to the layer.
        views: One tensor a batch entry, shape `(features, d', h', w')`, any strides. The feature at index q sees the
            voxels from `start + q` on.
        start: Voxel along depth, height and width, such that the views' features are centred within the volume.
    """
    segments = _segments(operations, volume.shape[2:])
    needs = dense_ranges(operations, start, views[0].shape[1:], volume.shape[2:])
    origin = _origin(operations)
    entries = [_Entry(view, tuple(first + origin for first in start)) for view in views]
    _encode(volume, [(origin, origin + n) for n in volume.shape[2:]], segments, needs, entries)


def dense_ranges(
    operations: Sequence[Operation], start: Sequence[int], size: Sequence[int], volume: Sequence[int]
) -> list[list[Range]]:
    """For each stretch of operations between strides and each axis, the positions at which its output is computed."""
    origin = _origin(operations)
    needs, need = [], [(first + origin, first + origin + count) for first, count in zip(start, size, strict=True)]
    for segment in reversed(_segments(operations, volume)):
        needs.insert(0, segment[-1].gives(need))
        need = segment[0].sees(_outputs(segment, needs[0])[0])
    return needs


Range = tuple[int, int]
"""First position and the one after the last, in voxels, counted from where the volume's first feature begins to see."""


@dataclass(frozen=True)
class _Placed:
    """An operation in its place.

    Args:
        operation: What it does.
        jump: Voxels between neighbouring entries of its input.
        jump_after: The same once its output is dealt out.
        limits: Positions between which it is computed, along each axis; `None` at the end of the network.
    """

    operation: Operation
    jump: int
    jump_after: int
    limits: list[Range] | None

    def gives(self, need: list[Range]) -> list[Range]:
        """What is computed where `need` is asked for: within the limits, in whole jumps."""
        if self.limits is not None:
            need = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(need, self.limits, strict=True)]
        return [(-_up(-low, self.jump_after), _up(high, self.jump_after)) for low, high in need]

    def sees(self, output: list[Range]) -> list[Range]:
        """What it must be given to put out a range."""
        return [(low, high + self.operation.shrink * self.jump) for low, high in output]


@dataclass(frozen=True)
class _Entry:
    """Where the features of one batch entry go: to a view that starts at a voxel, from one phase of all positions."""

    view: torch.Tensor
    start: tuple[int, ...]
    phase: tuple[int, ...] = (0, 0, 0)

    def deal(self, jump: int) -> list[_Entry]:
        """The 8 entries that follow a stride."""
        return [
            replace(self, phase=tuple(p + jump * bit for p, bit in zip(self.phase, bits, strict=True)))
            for bits in product((0, 1), repeat=3)
        ]

    def write(self, features: torch.Tensor, covered: list[Range], jump: int) -> None:
        """Copy those of `features` that lie in the view; they cover a range, `jump` voxels apart."""
        source, target = [slice(None)], [slice(None)]
        axes = zip(covered, self.phase, self.start, self.view.shape[1:], features.shape[1:], strict=True)
        for (low, _), phase, start, count, have in axes:
            place = low + phase - start  # of the first feature, in the view
            first = max(0, -(place // jump))
            stop = max(first, min(have, -((place - count) // jump)))
            source.append(slice(first, stop))
            target.append(slice(place + first * jump, place + stop * jump, jump))
        if all(part.stop > part.start for part in source[1:]):
            self.view[tuple(target)].copy_(features[tuple(source)])


def _up(position: int, multiple: int) -> int:
    return -(-position // multiple) * multiple


def _origin(operations: Sequence[Operation]) -> int:
    """Where the volume's first voxel lies: as far behind its first feature's start as half of what the feature sees."""
    seen, jump = 0, 1
    for operation in operations:
        seen += operation.shrink * jump
        jump *= operation.stride
    return seen // 2


def _segments(operations: Sequence[Operation], volume: Sequence[int]) -> list[list[_Placed]]:
    """The operations in stretches that end with a stride, or with the network."""
    segments, seen, jump, origin = [[]], 0, 1, _origin(operations)
    for operation in operations[:-1]:
        seen += operation.shrink * jump
        after = jump * operation.stride
        first = origin - seen // 2
        limits = [(-_up(-first, after), _up(first + n, after)) for n in volume]
        segments[-1].append(_Placed(operation, jump, after, limits))
        if operation.stride > 1:
            segments.append([])
        jump = after
    segments[-1].append(_Placed(operations[-1], jump, jump, None))
    return segments


def _outputs(segment: Sequence[_Placed], wanted: list[Range]) -> list[list[Range]]:
    """What each operation of a segment has to put out for the last one to give what is wanted."""
    outputs = [wanted]
    for placed, after in zip(segment[-2::-1], segment[:0:-1], strict=True):
        outputs.insert(0, placed.gives(after.sees(outputs[0])))
    return outputs


def _encode(
    x: torch.Tensor,
    covered: list[Range],
    segments: Sequence[Sequence[_Placed]],
    needs: Sequence[list[Range]],
    entries: list[_Entry],
) -> None:
    """Take batch entries that cover a range through the segments that are left."""
    segment, wanted, jump = segments[0], needs[0], segments[0][-1].jump
    if len(segments) == 1:
        for slab, part in _slabs(x, covered, segment, wanted):
            for entry, features in zip(entries, part, strict=True):
                entry.write(features, slab, jump)
        return
    phases = _deal_into_phases(x, covered, segment, wanted)
    entries = [dealt for entry in entries for dealt in entry.deal(jump)]
    together = max(1, PHASE_BYTES // (phases[0].numel() * phases.element_size()))
    for first in range(0, len(entries), together):
        chunk = slice(first, first + together)
        _encode(phases[chunk], wanted, segments[1:], needs[1:], entries[chunk])


def _deal_into_phases(
    x: torch.Tensor, covered: list[Range], segment: Sequence[_Placed], wanted: list[Range]
) -> torch.Tensor:
    """The segment's result at stride 1, an even number of entries along each axis, as 8 phases a batch entry."""
    depth, height, width = ((high - low) // segment[-1].jump_after for low, high in wanted)
    phases, done = None, 0
    for _, part in _slabs(x, covered, segment, wanted):
        if phases is None:
            phases = part.new_empty((x.shape[0], 8, depth, height, width, part.shape[1])).movedim(-1, 2)
        planes = part.shape[2] // 2
        for k, (a, b, c) in enumerate(product((0, 1), repeat=3)):
            phases[:, k, :, done : done + planes] = part[:, :, a::2, b::2, c::2]
        done += planes
    return phases.flatten(0, 1)


def _slabs(
    x: torch.Tensor, covered: list[Range], segment: Sequence[_Placed], wanted: list[Range]
) -> Iterator[tuple[list[Range], torch.Tensor]]:
    """The segment's result in slabs of an even number of planes, each with what it covers."""
    mode = ConvolutionMode("valid", strided=False)
    jump = segment[-1].jump
    height, width = ((high - low) // jump for low, high in wanted[1:])
    channels = max(placed.operation.channels for placed in segment)
    plane_bytes = x.shape[0] * channels * height * width * x.element_size()
    shrink = sum(placed.operation.shrink for placed in segment)
    thickness = max(2, SLAB_BYTES // plane_bytes, 3 * shrink) // 2 * 2 * jump
    low, high = wanted[0]
    for first in range(low, high, thickness):
        slab = [(first, min(first + thickness, high)), *wanted[1:]]
        part, has = x, covered
        for placed, output in zip(segment, _outputs(segment, slab), strict=True):
            part = placed.operation.run(_reach(part, has, placed.sees(output), jump), mode)
            has = output
        yield slab, part


def _reach(x: torch.Tensor, covered: list[Range], wanted: list[Range], jump: int) -> torch.Tensor:
    """Entries that cover what is wanted, the outermost ones repeated where there are none."""
    pads, inside = [], x
    for axis, ((low, high), (first, stop)) in enumerate(zip(covered, wanted, strict=True), 2):
        before, after = max(0, low - first) // jump, max(0, stop - high) // jump
        pads.append((before, after))
        count = (stop - first) // jump - before - after
        inside = inside.narrow(axis, max(0, first - low) // jump, count)
    if not any(map(any, pads)):
        return inside
    shape = [n + sum(pad) for n, pad in zip(inside.shape[2:], pads, strict=True)]
    wider = x.new_empty((x.shape[0], *shape, x.shape[1])).movedim(-1, 1)
    middle = tuple(slice(before, n - after) for n, (before, after) in zip(shape, pads, strict=True))
    wider[(..., *middle)] = inside
    for axis, (n, (before, after)) in enumerate(zip(shape, pads, strict=True), 2):
        wider.narrow(axis, 0, before).copy_(wider.narrow(axis, before, 1))
        wider.narrow(axis, n - after, after).copy_(wider.narrow(axis, n - after - 1, 1))
    return wider


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
