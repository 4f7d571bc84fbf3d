"""CIFL: contrast-invariant features, trained on synthetic shapes alone.

A lean 3D U-Net that gives every voxel a unit vector which stays the same when the contrast changes and differs from that
of other places. After "Contrast Invariant Feature Representations for Segmentation and Registration of Medical Images",
with a contrast between positions instead of channels (`deepfeatures.training`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from deepfeatures.networks.base import Encoder, Layer

WIDTHS = (16, 32, 64, 96)  # channels at strides 1, 2, 4, 8
FINE_CHANNELS = 16
COARSE_CHANNELS = 48
COARSE_STRIDE = 4
SIZE_MULTIPLE = 8  # the deepest stride
_RECEPTIVE_FIELD = {"fine": 151, "coarse": 123}


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Intensities as CIFL wants them: the 1st percentile of each volume becomes 0, the 99th becomes 1.

    Training and inference share this function. Values stay unclipped up to half a range beyond both ends. Percentiles come
    from at most about 100,000 evenly strided voxels, which is exact enough and fast on any volume.

    Args:
        x: shape `(batch, 1, depth, height, width)`, any unit.
    """
    flat = x.flatten(1).float()
    sample = flat[:, :: max(1, flat.shape[1] // 100_003)]
    low, high = torch.quantile(sample, torch.tensor([0.01, 0.99], device=x.device), dim=1)
    # A volume that is almost empty has equal percentiles: its extremes are what is left to go by.
    flat_range = high - low <= 1e-6
    low = torch.where(flat_range, flat.amin(1), low)
    high = torch.where(flat_range, flat.amax(1), high)
    scaled = (flat - low[:, None]) / (high - low).clamp_min(1e-6)[:, None]
    return scaled.clamp(-0.5, 1.5).view_as(x)


class _ReplicatePad(torch.autograd.Function):
    """One voxel of replicated edge on every side. The backward pass of `F.pad` adds up atomically, which is slow and not
    repeatable on GPUs; this one folds the sides back in slices."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        batch, channels, *size = x.shape
        shape = (batch, channels, *(n + 2 for n in size))
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
        out[:, :, 1:-1, 1:-1, 1:-1] = x
        for axis in (2, 3, 4):
            last = out.shape[axis] - 1
            out.select(axis, 0).copy_(out.select(axis, 1))
            out.select(axis, last).copy_(out.select(axis, last - 1))
        return out

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone(memory_format=torch.channels_last_3d)
        for axis in (4, 3, 2):
            last = gradient.shape[axis] - 1
            gradient.select(axis, 1).add_(gradient.select(axis, 0))
            gradient.select(axis, last - 1).add_(gradient.select(axis, last))
        return gradient[:, :, 1:-1, 1:-1, 1:-1]


class _Double(torch.autograd.Function):
    """Trilinear magnification by two, with a backward pass in slices for the same reason."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        for axis in (2, 3, 4):
            even, odd = gradient.unflatten(axis, (-1, 2)).unbind(axis + 1)
            n = even.shape[axis]
            folded = 0.75 * (even + odd)
            # Every even entry also took a quarter of the voxel before it, every odd one of the voxel after it.
            folded.narrow(axis, 0, n - 1).add_(even.narrow(axis, 1, n - 1), alpha=0.25)
            folded.narrow(axis, 1, n - 1).add_(odd.narrow(axis, 0, n - 1), alpha=0.25)
            folded.select(axis, 0).add_(even.select(axis, 0), alpha=0.25)
            folded.select(axis, n - 1).add_(odd.select(axis, n - 1), alpha=0.25)
            gradient = folded
        return gradient


def _double(x: torch.Tensor) -> torch.Tensor:
    return _Double.apply(x)


def _halve(x: torch.Tensor) -> torch.Tensor:
    """Means of 2³ blocks."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # average pooling is missing there
        return F.interpolate(x, scale_factor=0.5, mode="trilinear", align_corners=False)
    return F.avg_pool3d(x, 2)


class _Convolution(nn.Conv3d):
    """A 3³ convolution that replicates edges, because zeros would tell the network where it is."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(_ReplicatePad.apply(x))


class _Unit(nn.Sequential):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            _Convolution(inputs, outputs), nn.BatchNorm3d(outputs, momentum=0.05), nn.LeakyReLU(0.1, inplace=True)
        )


def _units(*channels: int) -> nn.Sequential:
    return nn.Sequential(*(_Unit(a, b) for a, b in zip(channels[:-1], channels[1:], strict=True)))


class Cifl(Encoder):
    """The network. `forward` and `dense` give unit vectors a voxel (`fine`) or a 4³ block of voxels (`coarse`).

    Batch norm has fixed statistics at inference, so that, unlike with instance norm, a feature depends on its own
    surroundings alone and not on what else is in the crop.
    """

    name = "cifl"
    norm = "frobenius"
    layers = {  # noqa: RUF012 - read-only by contract
        "fine": Layer("fine", FINE_CHANNELS, 1, _RECEPTIVE_FIELD["fine"]),
        "coarse": Layer("coarse", COARSE_CHANNELS, COARSE_STRIDE, _RECEPTIVE_FIELD["coarse"]),
    }

    def __init__(self):
        super().__init__()
        a, b, c, d = WIDTHS
        self.down0 = _units(1, a, a)
        self.down1 = _units(a, b, b)
        self.down2 = _units(b, c, c)
        self.bottom = _units(c, d, d, d, d)
        self.from3, self.from2, self.from1 = nn.Conv3d(d, c, 1), nn.Conv3d(c, b, 1), nn.Conv3d(b, a, 1)
        self.up2 = _units(c, c, c)
        self.up1 = _units(b, b, b)
        self.up0 = _units(a, 2 * a)
        self.fine_head = nn.Conv3d(2 * a, FINE_CHANNELS, 1)
        self.coarse_head = nn.Conv3d(c, COARSE_CHANNELS, 1)

    def maps(self, x: torch.Tensor, *, fine: bool = True, coarse: bool = True) -> dict[str, torch.Tensor]:
        """Feature maps of the whole input at once, l2-normalised over channels.

        Args:
            x: `normalise`d volume, shape `(batch, 1, depth, height, width)`.

        Returns:
            `fine`: `(batch, 16, depth, height, width)`; `coarse`: `(batch, 48, ceil(depth / 4), …)`, whose entry k is
            centred on voxel `4 k + 1.5`.
        """
        size = x.shape[2:]
        missing = [-n % SIZE_MULTIPLE for n in size]
        if any(missing):
            x = F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        skip0 = self.down0(x)
        skip1 = self.down1(_halve(skip0))
        skip2 = self.down2(_halve(skip1))
        deep = self.bottom(_halve(skip2))
        middle = self.up2(skip2 + _double(self.from3(deep)))
        found = {}
        if coarse:
            d, h, w = (-(-n // COARSE_STRIDE) for n in size)
            found["coarse"] = F.normalize(self.coarse_head(middle)[..., :d, :h, :w].float(), dim=1)
        if fine:
            shallow = self.up1(skip1 + _double(self.from2(middle)))
            full = self.up0(skip0 + _double(self.from1(shallow)))
            d, h, w = size
            found["fine"] = F.normalize(self.fine_head(full)[..., :d, :h, :w].float(), dim=1)
        return found
