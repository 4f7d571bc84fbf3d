"""What is searched for: the feature map of every landmark in the template."""

from __future__ import annotations

import torch

from deepfeatures.features.extractor import Features
from deepfeatures.features.patch import cut_patches, patch_features, scale_patches
from deepfeatures.features.receptive_window import crop, within


def dense_templates(features: Features, voxels: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """Features of the volume at the places that the map of a patch around each landmark has.

    Voxels around the patch count where the paper's patches have zeros.

    Args:
        features: How features are computed.
        voxels: The scaled template.
        landmarks: Voxel indices along depth, height and width, shape `(landmarks, 3)`.

    Returns:
        float32, shape `(landmarks, channels, n, n, n)`, or `(landmarks, channels)` where means are compared.
    """
    window = features.window
    maps = []
    for landmark in landmarks.tolist():
        wanted = window.seen_from(tuple((index, index + 1) for index in landmark))
        held = within(wanted, voxels.shape)
        seen = features.encode(voxels, held)
        maps.append(crop(seen, held, wanted)[:, :: window.stride, :: window.stride, :: window.stride].float())
    return _compared(features, torch.stack(maps))


def patch_templates(features: Features, voxels: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """The map of the patch cut at each landmark, scaled and encoded for itself, as in the paper.

    Arguments and result are those of `dense_templates`, with the template's own intensities.
    """
    patches = scale_patches(cut_patches(voxels, landmarks.flip(1), features.patch_size))
    return _compared(features, patch_features(features.encoder, features.layer, patches, precision=features.precision))


def _compared(features: Features, maps: torch.Tensor) -> torch.Tensor:
    return maps.mean((2, 3, 4)) if features.averaged else maps
