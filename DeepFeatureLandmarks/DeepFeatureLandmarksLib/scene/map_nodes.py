"""Activation maps and distance maps as volume nodes beneath the volume that they were computed from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.run import ActivationMaps
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import VolumeArray

MAP_NODE = "DeepFeatureLandmarks.activationMap"


def activationNode(maps: ActivationMaps, channel: int):
    """One channel as a scalar volume node; one node a volume is kept and refilled.

    Raises:
        InputError: The volume has left the scene.
    """
    volume = maps.volume
    scene = volume.GetScene()
    if scene is None:
        raise InputError(f"The volume of these maps, {volume.GetName()}, was removed; load it.")
    name = f"{volume.GetName()} {maps.landmark} {maps.layer} channel {channel}"
    node = nodes.mapToNode(maps.channels[channel], scene, name, volume, volume.GetNodeReference(MAP_NODE))
    volume.SetNodeReferenceID(MAP_NODE, node.GetID())
    return node


def distanceNode(distances: VolumeArray, landmark: str, target):
    """Feature distances as a new scalar volume node; where nothing was searched, it has its greatest value."""
    voxels = np.where(np.isfinite(distances.voxels), distances.voxels, np.nanmax(distances.voxels))
    name = f"{target.GetName()} {landmark} distance"
    return nodes.mapToNode(replace(distances, voxels=voxels), target.GetScene(), name, target)
