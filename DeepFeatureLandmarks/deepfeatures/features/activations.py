"""Activation maps as volumes that overlay their source."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from deepfeatures.data.intensity import scale_volume
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.dense import DTYPES
from deepfeatures.features.patch import anchor, cut_patches, scale_patches
from deepfeatures.networks.base import Encoder, first_centre, patch_reaches_layer


@dataclass(frozen=True)
class ActivationMaps:
    """What a layer makes of a patch or a volume.

    Args:
        source: The encoded patch or volume, scaled as the network saw it.
        channels: One volume a channel, each entry placed at the centre of what it sees.
        complete: False where the patch is too small for the layer as the paper has it, and pooling kept the last voxel.
    """

    source: Volume
    channels: tuple[Volume, ...]
    complete: bool


@torch.no_grad()
def activation_maps(
    encoder: Encoder,
    layer: str,
    volume: Volume,
    *,
    point: np.ndarray | None = None,
    patch_size: int | None = None,
    precision: str = "float32",
) -> ActivationMaps:
    """The strided maps of a layer, zero padded, as the paper's figure 3 shows them.

    Args:
        encoder: Any network.
        layer: One of its layers.
        volume: Any volume; its intensities are scaled here.
        point: LPS mm, shape `(3,)`: the patch is cut at the voxel nearest to it. `None` encodes the whole volume.
        patch_size: Voxels along each edge of the patch; needed with `point`, and only with it.
        precision: `"float32"` or `"bfloat16"`.

    Raises:
        InputError: `point` and `patch_size` do not come together, or the point lies outside the volume.
    """
    if (point is None) != (patch_size is None):
        raise InputError("An activation map of a patch needs both a point and a patch size: give both or neither.")
    source = volume.with_voxels(scale_volume(volume.voxels)) if point is None else _patch(volume, point, patch_size)
    voxels = source.voxels.to(encoder.device, DTYPES[precision])
    maps = encoder(voxels[None, None], layer)[0].float().cpu()
    known = encoder.layers[layer]
    first = [first_centre(known, n) for n in source.size]
    placed = replace(
        source,
        voxels=maps[0],
        origin=source.to_world(np.array([first]))[0],
        spacing=np.asarray(source.spacing, float) * known.stride,
    )
    channels = tuple(
        replace(placed, voxels=channel, name=f"{volume.name} {layer} {i}") for i, channel in enumerate(maps)
    )
    return ActivationMaps(source, channels, complete=all(patch_reaches_layer(known, n) for n in source.size))


def _patch(volume: Volume, point: np.ndarray, size: int) -> Volume:
    """The scaled patch around a point, as a volume of its own."""
    points = np.reshape(point, (1, 3))
    if not volume.contains(points)[0]:
        raise InputError(
            f"The point {np.round(point, 1).tolist()} lies outside {volume.name}: give one inside it, in LPS mm."
        )
    index = np.clip(np.rint(volume.to_index(points)[0]), 0, np.array(volume.size) - 1).astype(int)
    patch = scale_patches(cut_patches(volume.voxels, index[None], size))[0, 0]
    corner = volume.to_world((index - anchor(size))[None])[0]
    return replace(volume, voxels=patch, origin=corner, name=f"{volume.name} patch")
