"""CIFL: contrast-invariant features, trained on synthetic shapes alone.

A lean 3D U-Net that gives every voxel a vector which stays the same when the contrast changes and differs from that of
other places. After "Contrast Invariant Feature Representations for Segmentation and Registration of Medical Images",
with a contrast between positions instead of channels (`deepfeatures.training.losses`). It is then trained for what a
guided search does with it: matching blocks beside self-similarity (`deepfeatures.training.block_loss`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from deepfeatures.errors import InputError
from deepfeatures.networks.base import Encoder, Layer, Step
from deepfeatures.networks.mind import Mind, mind_layers

WIDTHS = (32, 64, 96)  # channels at strides 2, 4, 8
FINE_CHANNELS = 8
CELL = 2  # voxels along each edge of the finest cells that are computed
COARSE_CHANNELS = 48
COARSE_STRIDE = 4
SIZE_MULTIPLE = 8  # the deepest stride
HALO = 16  # voxels around a tile after which the rest of the volume hardly matters (the full reach is about 75)
COMPANION = mind_layers()["ssc_r1_d2"]  # what the fine features are trained to stand beside
FULL_RANGE = 255.0  # of the intensities that encoders are given, -127.5 to 127.5
FIRST_SHARPNESS, FIRST_GAIN = 5.0, 3.0  # fitted to the features that the contrast between positions leaves


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


def self_similarity(x: torch.Tensor) -> torch.Tensor:
    """MIND-SSC of `normalise`d volumes, borders replicated: shape `(batch, 12, depth, height, width)`, float32."""
    margin = (COMPANION.receptive_field - 1) // 2
    padded = F.pad(x.float().clamp(0, 1) * FULL_RANGE, (margin,) * 6, mode="replicate")
    return Mind()(padded, COMPANION.name, padding="valid")


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


def _gathered(x: torch.Tensor) -> torch.Tensor:
    """The voxels of each cell as channels: `(batch, 1, 2d, 2h, 2w)` becomes `(batch, 8, d, h, w)`."""
    blocks = x[:, 0].unflatten(3, (-1, CELL)).unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL))
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).flatten(1, 3).contiguous(memory_format=torch.channels_last_3d)


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
        return _convolve(self, _ReplicatePad.apply(x))


class _Pointwise(nn.Conv3d):
    """A 1³ convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _convolve(self, x)


def _convolve(part: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """In the type of `x`."""
    return F.conv3d(x, part.weight.to(x.dtype), None if part.bias is None else part.bias.to(x.dtype))


class _Unit(nn.Sequential):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            _Convolution(inputs, outputs), nn.BatchNorm3d(outputs, momentum=0.05), nn.LeakyReLU(0.1, inplace=True)
        )


def _units(*channels: int) -> nn.Sequential:
    return nn.Sequential(*(_Unit(a, b) for a, b in pairwise(channels)))


def cifl_layers(*, available: bool = True) -> dict[str, Layer]:
    """The maps of the network, see `Cifl`; receptive fields end at `HALO`, beyond which little matters."""

    def layer(name: str, channels: int, stride: int) -> Layer:
        return Layer.after([Step(2 * HALO + stride, stride)], name, channels, available=available)

    known = (
        layer("fine", FINE_CHANNELS, 1),
        layer("fine_ssc", COMPANION.channels + FINE_CHANNELS, 1),
        layer("coarse", COARSE_CHANNELS, COARSE_STRIDE),
    )
    return {one.name: one for one in known}


class Cifl(Encoder):
    """The network: a vector a voxel (`fine`) or a 4³ block of voxels (`coarse`).

    It computes on cells of two voxels and larger ones: layers at every voxel would cost the most, and tell little that
    self-similarity beside the fine vectors does not.

    Coarse vectors have unit length; fine ones are shorter the less there is to go by. `fine_ssc` has the channels of
    MIND-SSC and the fine ones after them, weighted such that squared differences add up as they were trained to.

    Batch norm has fixed statistics at inference, so that, unlike with instance norm, a feature depends on its own
    surroundings alone and not on what else is in the crop. Encode whole volumes with `maps` where memory allows: it
    repeats no work. The pooling grid starts at the first voxel, so features of a crop that starts elsewhere than at a
    multiple of 8 voxels are close to those of the whole volume, not equal.
    """

    norm = "frobenius"
    full_resolution_channels = Mind.full_resolution_channels + FINE_CHANNELS  # more than the cells of two voxels take
    reads_float32 = True

    def __init__(self, name: str = "cifl"):
        super().__init__()
        self.name, self.layers = name, cifl_layers()
        a, b, c = WIDTHS
        self.down1 = _units(CELL**3, a, a)
        self.down2 = _units(a, b, b)
        self.bottom = _units(b, c, c, c, c)
        self.from3, self.from2 = _Pointwise(c, b), _Pointwise(b, a)
        self.up2 = _units(b, b, b)
        self.up1 = _units(a, a, a)
        self.fine_head = _Pointwise(a, FINE_CHANNELS)
        self.coarse_head = _Pointwise(b, COARSE_CHANNELS)
        # Logarithms: what a squared distance between blocks means as a likelihood, and how much more that between fine
        # vectors means than that between self-similarities.
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS)))
        self.log_gain = nn.Parameter(torch.tensor(math.log(FIRST_GAIN)))

    def maps(self, x: torch.Tensor, *, fine: bool = True, coarse: bool = True) -> dict[str, torch.Tensor]:
        """Feature maps of the whole input at once; borders are replicated.

        Args:
            x: `normalise`d volume, shape `(batch, 1, depth, height, width)`, in the type to compute in.

        Returns:
            `fine`: `(batch, 8, depth, height, width)`; `coarse`: `(batch, 48, ceil(depth / 4), …)`, whose entry k is
            centred on voxel `4 k + 1.5`.
        """
        size = x.shape[2:]
        missing = [-n % SIZE_MULTIPLE for n in size]
        if any(missing):
            x = F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        skip1 = self.down1(_gathered(x))
        skip2 = self.down2(_halve(skip1))
        deep = self.bottom(_halve(skip2))
        middle = self.up2(skip2 + _double(self.from3(deep)))
        found = {}
        if coarse:
            coarse_map = _crop(self.coarse_head(middle), [-(-n // COARSE_STRIDE) for n in size])
            found["coarse"] = F.normalize(coarse_map, dim=1)
        if fine:
            shallow = self.up1(skip1 + _double(self.from2(middle)))
            found["fine"] = _at_most_unit_length(_crop(_double(self.fine_head(shallow)), list(size)))
        return found

    def forward(self, x: torch.Tensor, layer: str, *, padding: str = "same") -> torch.Tensor:
        """The map of `layer`; `"valid"` drops what lies within `HALO` voxels of the border, `"same"` replicates it.

        Intensities are those that every encoder is given: -127.5 is the dark end, 127.5 the bright one.
        """
        found = torch.cat(self._whole(x, layer, x.dtype), 1)
        if padding == "same":
            return found
        stride, field = self.layers[layer].stride, self.layers[layer].receptive_field
        return _crop(found, [(n - field) // stride + 1 for n in x.shape[2:]], [HALO // stride] * 3)

    def _whole(self, x: torch.Tensor, layer: str, dtype: torch.dtype) -> list[torch.Tensor]:
        """The map of all of `x`, computed in a type; in parts whose channels follow each other."""
        known = self.layers[layer]
        x = (x / FULL_RANGE + 0.5).clamp(-0.5, 1.5)
        for_network = x.to(dtype, memory_format=torch.channels_last_3d)
        if layer == "coarse":
            return [self.maps(for_network, fine=False)["coarse"]]
        found = self.maps(for_network, coarse=False)["fine"]
        if layer == "fine":
            return [found]
        # a mean over all channels keeps the scale that a mean over those of self-similarity has
        share, gain = math.sqrt(known.channels / COMPANION.channels), float((self.log_gain / 2).exp())
        return [share * self_similarity(x).to(dtype), share * gain * found]

    def dense_into(self, views: list[torch.Tensor], x: torch.Tensor, layer: str, start: Sequence[int]) -> None:
        """See `Encoder`: here what lies further than `HALO` voxels from a view is left out, and coarse features are
        interpolated."""
        size = views[0].shape[1:]
        bounds = self._seen(layer, start, size, x.shape[2:])
        seen = x[(..., *(slice(low, high) for low, high in bounds))]
        reach = (self.layers[layer].receptive_field - 1) // 2
        first, channel = [s + reach - low for s, (low, _) in zip(start, bounds, strict=True)], 0
        for part in self._whole(seen, layer, views[0].dtype):
            if layer == "coarse":
                part = F.interpolate(part, scale_factor=COARSE_STRIDE, mode="trilinear", align_corners=False)
            for view, features in zip(views, _crop(part, size, first), strict=True):
                view[channel : channel + len(features)] = features
            channel += part.shape[1]

    def dense_voxels(self, layer: str, start: Sequence[int], size: Sequence[int], volume: Sequence[int]) -> int:
        return math.prod(high - low for low, high in self._seen(layer, start, size, volume))

    def _seen(
        self, layer: str, start: Sequence[int], size: Sequence[int], volume: Sequence[int]
    ) -> list[tuple[int, int]]:
        """What is encoded for a view, along each axis: the pooling grid is that of the whole volume."""
        reach = (self.layers[layer].receptive_field - 1) // 2
        return [
            (max(0, (first + reach - HALO) // SIZE_MULTIPLE * SIZE_MULTIPLE), min(n, first + reach + count + HALO))
            for first, count, n in zip(start, size, volume, strict=True)
        ]

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
    network.load_state_dict(check_weights(tensors), strict=False)
    return network.eval().requires_grad_(False).fuse().to(memory_format=torch.channels_last_3d)


def parameter_count() -> int:
    """Trained numbers of the whole network."""
    with torch.device("meta"):
        return sum(value.numel() for value in Cifl().parameters())


def check_weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that CIFL wants, in float32.

    Raises:
        InputError: where names or shapes are not those of CIFL.
    """
    wanted = {key: value for key, value in Cifl().state_dict().items() if value.is_floating_point()}
    for key, value in wanted.items():
        if key not in tensors or tensors[key].shape != value.shape:
            found = tuple(tensors[key].shape) if key in tensors else "nothing"
            raise InputError(
                f"These are no weights of CIFL: {key} should have shape {tuple(value.shape)}, found {found};"
                " give a file that `deepfeatures train cifl` wrote."
            )
    return {key: tensors[key].float() for key in wanted}


def _crop(x: torch.Tensor, sizes: Sequence[int], starts: Sequence[int] = (0, 0, 0)) -> torch.Tensor:
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True), 2):
        x = x.narrow(axis, start, max(size, 0))
    return x


def _at_most_unit_length(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + x.square().sum(1, keepdim=True)).sqrt()
