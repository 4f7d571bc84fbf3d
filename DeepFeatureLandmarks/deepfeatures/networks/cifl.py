"""CIFL: contrast-invariant features, trained on synthetic shapes alone.

A lean 3D U-Net that gives every voxel a unit vector which stays the same when the contrast changes and differs from
that of other places. After "Contrast Invariant Feature Representations for Segmentation and Registration of Medical
Images", with a contrast between positions instead of channels (`deepfeatures.training.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from deepfeatures.errors import InputError
from deepfeatures.networks.base import Encoder, Layer

WIDTHS = (16, 32, 64, 96)  # channels at strides 1, 2, 4, 8
FINE_CHANNELS = 16
COARSE_CHANNELS = 48
COARSE_STRIDE = 4
SIZE_MULTIPLE = 8  # the deepest stride
HALO = 16  # voxels around a tile after which the rest of the volume hardly matters (the full reach is about 75)


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Intensities as CIFL wants them: the 1st percentile of each volume becomes 0, the 99th becomes 1.

    Training and inference share this function. Values are clipped half a range beyond both ends. Percentiles come from
    at most about 200,000 evenly strided voxels, which is exact enough and fast on any volume.

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
    """One voxel of replicated edge on every side.

    The backward pass of `F.pad` adds up atomically, which is slow and not repeatable on GPUs; this one folds the sides
    back in slices.
    """

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
    return nn.Sequential(*(_Unit(a, b) for a, b in pairwise(channels)))


class Cifl(Encoder):
    """The network: unit vectors a voxel (`fine`) or a 4³ block of voxels (`coarse`).

    Batch norm has fixed statistics at inference, so that, unlike with instance norm, a feature depends on its own
    surroundings alone and not on what else is in the crop. Encode whole volumes with `maps` where memory allows: it
    repeats no work. The pooling grid starts at the first voxel, so features of a crop that starts elsewhere than at a
    multiple of 8 voxels are close to those of the whole volume, not equal.
    """

    norm = "frobenius"
    full_resolution_channels = 5 * WIDTHS[0]
    layers = {  # noqa: RUF012 - read-only by contract
        "fine": Layer("fine", FINE_CHANNELS, 1, 2 * HALO + 1),
        "coarse": Layer("coarse", COARSE_CHANNELS, COARSE_STRIDE, 2 * HALO + COARSE_STRIDE),
    }

    def __init__(self, name: str = "cifl"):
        super().__init__()
        self.name = name
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
        """Feature maps of the whole input at once, l2-normalised over channels; borders are replicated.

        Args:
            x: `normalise`d volume, shape `(batch, 1, depth, height, width)`, in the type of the weights.

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
            found["coarse"] = _unit_vectors(_crop(self.coarse_head(middle), [-(-n // COARSE_STRIDE) for n in size]))
        if fine:
            shallow = self.up1(skip1 + _double(self.from2(middle)))
            full = self.up0(skip0 + _double(self.from1(shallow)))
            found["fine"] = _unit_vectors(_crop(self.fine_head(full), list(size)))
        return found

    def forward(self, x: torch.Tensor, layer: str, *, padding: str = "same") -> torch.Tensor:
        """The map of `layer`; `"valid"` drops what lies within `HALO` voxels of the border, `"same"` replicates it."""
        found = self.maps(x, **{other: other == layer for other in self.layers})[layer]
        if padding == "same":
            return found
        stride = self.layers[layer].stride
        sizes = [(n - self.layers[layer].receptive_field) // stride + 1 for n in x.shape[2:]]
        return _crop(found, sizes, start=HALO // stride)

    def dense(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        """Features of every voxel, without those within `HALO` voxels of the border; coarse ones are interpolated."""
        field = self.layers[layer].receptive_field
        found = self.forward(x, layer)
        if layer == "coarse":
            found = F.interpolate(found, scale_factor=COARSE_STRIDE, mode="trilinear", align_corners=False)
        return _crop(found, [n - field + 1 for n in x.shape[2:]], start=(field - 1) // 2)

    def dense_into(self, views: list[torch.Tensor], x: torch.Tensor, layer: str) -> None:
        """Write `dense(x, layer)` to views, one `(channels, d, h, w)` for each batch entry."""
        for view, features in zip(views, self.dense(x, layer), strict=True):
            view.copy_(features)

    def fuse(self) -> Cifl:
        """Fold batch norm into the convolutions, for inference only; returns the network itself."""
        for unit in [module for module in self.modules() if isinstance(module, _Unit)]:
            convolution, norm = unit[0], unit[1]
            if isinstance(norm, nn.BatchNorm3d):
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                unit[1] = nn.Identity()
        return self


def build_cifl(name: str, tensors: Mapping[str, torch.Tensor]) -> Cifl:
    """The network with trained weights as `deepfeatures train cifl` leaves them, ready for inference.

    Raises:
        InputError: where names or shapes are not those of CIFL.
    """
    network = Cifl(name)
    wanted = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    for key, value in wanted.items():
        if key not in tensors or tensors[key].shape != value.shape:
            found = tuple(tensors[key].shape) if key in tensors else "nothing"
            raise InputError(
                f"These are no weights of CIFL: {key} should have shape {tuple(value.shape)}, found {found};"
                " give a file that `deepfeatures train cifl` wrote."
            )
    network.load_state_dict({key: tensors[key].float() for key in wanted}, strict=False)
    return network.eval().requires_grad_(False).fuse().to(memory_format=torch.channels_last_3d)


def _crop(x: torch.Tensor, sizes: list[int], *, start: int = 0) -> torch.Tensor:
    for axis, size in enumerate(sizes, 2):
        x = x.narrow(axis, start, max(size, 0))
    return x


def _unit_vectors(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=1)
