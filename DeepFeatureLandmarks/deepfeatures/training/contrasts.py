"""Images of label maps: random contrasts, textures and the artefacts of scanners, batched on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from deepfeatures.networks.cifl import normalise
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.shapes import BACKGROUND, MAX_LABELS


@dataclass(frozen=True)
class ContrastSettings:
    """How images of the same labels differ. Intensities are about 0 to 1, lengths voxels.

    Args:
        similar_fraction: Pairs whose two contrasts are nearly alike (the same modality in two persons).
        merged_fraction: Labels that take over the intensity of another one, so that a border vanishes.
        texture: Largest amplitude of the texture inside of a label.
        noise: Largest standard deviation of Gaussian or Rician noise.
        blur: Largest standard deviation of the point spread.
        bias: Largest log amplitude of the bias field.
        gamma: Largest log exponent of the gamma curve.
        thick_slices: Largest ratio of slice thickness to voxel size; a third of the views have thick slices.
        ghost: Largest amplitude of a ghost; one view in six has one.
        distractors: Chance that a view carries a shape that the other view does not have.
    """

    similar_fraction: float = 0.3
    merged_fraction: float = 0.15
    texture: float = 0.15
    noise: float = 0.12
    blur: float = 1.2
    bias: float = 0.5
    gamma: float = 0.5
    thick_slices: float = 4.0
    ghost: float = 0.15
    distractors: float = 0.3


@dataclass(frozen=True)
class Contrast:
    """What one contrast gives to each label: shape `(batch, MAX_LABELS)` each."""

    means: torch.Tensor
    textures: torch.Tensor


def contrast_pair(rng: Random, batch: int, settings: ContrastSettings) -> tuple[Contrast, Contrast]:
    """Two contrasts a label map: independent, or alike up to small changes."""
    first = _contrast(rng, batch, settings)
    second = _contrast(rng, batch, settings)
    similar = rng.chance(settings.similar_fraction, batch, 1)
    near = (first.means + 0.05 * rng.normal(*first.means.shape)).clamp(0, 1)
    means = torch.where(similar, near, second.means)
    means[:, BACKGROUND] = second.means[:, BACKGROUND]
    return first, Contrast(means, torch.where(similar, first.textures, second.textures))


def _contrast(rng: Random, batch: int, settings: ContrastSettings) -> Contrast:
    shape = (batch, MAX_LABELS)
    means = rng.uniform(0, 1, *shape)
    donors = rng.integers(MAX_LABELS, *shape)
    means = torch.where(rng.chance(settings.merged_fraction, *shape), means.gather(1, donors), means)
    textures = rng.uniform(-settings.texture, settings.texture, *shape) * rng.chance(0.6, *shape)
    # The world around the body is mostly dark.
    means[:, BACKGROUND] *= rng.chance(0.2, batch)
    textures[:, BACKGROUND] = 0
    return Contrast(means, textures)


def render(labels: torch.Tensor, texture: torch.Tensor, contrast: Contrast) -> torch.Tensor:
    """The clean canonical image, shape `(batch, 1, size, size, size)`.

    Args:
        labels: uint8, shape `(batch, size, size, size)`.
        texture: noise of unit variance, shape `(batch, size, size, size)`, which every contrast weights anew.
    """
    index = labels.flatten(1).long()
    means = contrast.means.gather(1, index).view_as(texture)
    return (means + contrast.textures.gather(1, index).view_as(texture) * texture)[:, None]


def _each(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1, 1)


def blur(x: torch.Tensor, sigma: torch.Tensor, radius: int = 4) -> torch.Tensor:
    """Gaussian blur with a standard deviation in voxels a volume and axis.

    Args:
        x: shape `(batch, 1, depth, height, width)`.
        sigma: shape `(batch, 3)`.
    """
    steps = torch.arange(-radius, radius + 1, device=x.device)
    for axis in range(3):
        weights = torch.exp(-0.5 * (steps / sigma[:, axis, None].clamp_min(0.05)) ** 2)
        weights = weights / weights.sum(1, keepdim=True)
        pad = [0] * 6
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
        padded = F.pad(x, pad, mode="replicate")
        total = torch.zeros_like(x)
        for k in range(2 * radius + 1):
            total.addcmul_(padded.narrow(2 + axis, k, x.shape[2 + axis]), _each(weights[:, k]))
        x = total
    return x


def simulate_thick_slices(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Keep every n-th slice only and fill in between linearly.

    Args:
        x: shape `(batch, 1, size, size, size)`.
        factors: n, any number from 1 up, a volume and axis, shape `(batch, 3)`.
    """
    rows = torch.arange(len(x), device=x.device)[:, None]
    for axis in range(3):
        x = x.movedim(2 + axis, 2)
        n = x.shape[2]
        factor = factors[:, axis, None]
        kept = torch.arange(n, device=x.device) / factor
        low = ((kept + 1e-4).floor() * factor).round().long().clamp(max=n - 1)
        high = (((kept + 1e-4).floor() + 1) * factor).round().long().clamp(max=n - 1)
        weight = _each(kept - (kept + 1e-4).floor()).view(len(x), n, 1, 1, 1)
        moved = x[:, 0]
        x = torch.lerp(moved[rows, low][..., None], moved[rows, high][..., None], weight)[..., 0][:, None]
        x = x.movedim(2, 2 + axis)
    return x


def simulate_artefacts(rng: Random, x: torch.Tensor, body: torch.Tensor, settings: ContrastSettings) -> torch.Tensor:
    """A scanner's view of a clean image, made comparable by `normalise` with some slack, as the network sees it.

    Args:
        x: clean image, about 0 to 1, shape `(batch, 1, size, size, size)`.
        body: share of each voxel that is not background, same shape; some views are cut to zero outside, like
            skull-stripped ones.
    """
    batch, size = len(x), x.shape[-1]

    def sometimes(probability: float, most: float) -> torch.Tensor:
        return rng.uniform(0, most, batch) * rng.chance(probability, batch)

    # A shape that the other view lacks: a lesion, an implant, a fold of another person.
    extra = smooth_noise(rng, batch, 1, size, rng.number(size / 12, size / 4))
    where = torch.sigmoid((extra - 2.0) * 6) * _each(rng.chance(settings.distractors, batch))
    x = torch.lerp(x, _each(rng.uniform(0, 1, batch)).expand_as(x), where)

    x = x * torch.exp(_each(sometimes(0.7, settings.bias)) * smooth_noise(rng, batch, 1, size, size / 2))
    ratio = 1 + sometimes(0.35, settings.thick_slices - 1)
    thick = torch.where(torch.eye(3, device=x.device)[rng.integers(3, batch)] > 0,
                        ratio[:, None], torch.ones((), device=x.device))  # fmt: skip
    x = blur(x, sometimes(0.8, settings.blur)[:, None] + 0.4 * (thick - 1))
    x = simulate_thick_slices(x, thick)
    for axis in (2, 3, 4):
        echo = torch.roll(x, size // rng.whole_number(2, 5), axis)
        x = x + _each(sometimes(0.06, settings.ghost)) * echo

    noise = _each(sometimes(0.85, settings.noise)) * rng.normal(2, *x.shape)
    rician = _each(rng.chance(0.5, batch))
    x = torch.where(rician, ((x + noise[0]) ** 2 + noise[1] ** 2).sqrt(), x + noise[0])
    x = x.clamp_min(0) ** torch.exp(_each(rng.uniform(-settings.gamma, settings.gamma, batch)))
    low, high = _each(sometimes(0.2, 0.25)), 1 - _each(sometimes(0.2, 0.3))
    x = torch.minimum(torch.maximum(x, low), torch.where(high < 1, high, torch.inf))
    stripped = _each(rng.chance(0.4, batch))
    x = torch.where(stripped, x * (body > 0.5), x)

    # Percentiles of a whole volume differ from those of a crop; the network has to bear that.
    x = normalise(x)
    return (x * _each(rng.log_uniform(0.7, 1.3, batch)) + _each(rng.uniform(-0.15, 0.15, batch))).clamp(-0.5, 1.5)
