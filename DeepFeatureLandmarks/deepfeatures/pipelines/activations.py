"""Activation maps of the patch around a landmark, as volumes or as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.activations import activation_maps
from deepfeatures.features.patch import cut_patches
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.networks import catalog
from deepfeatures.pipelines.activation_figure import write_mosaic


def write_activations(
    volume: Path,
    landmarks: Path,
    landmark: str | None,
    output: Path,
    *,
    network: str,
    layer: str | None,
    patch_size: int,
    seed: int,
    series: str | None = None,
) -> list[Path]:
    """Encode the patch around one landmark and write what the layer makes of it.

    Args:
        volume: Volume to encode.
        landmarks: Its landmarks.
        landmark: Name of the one to cut at; `None` for the first that has a position.
        output: `NAME.png` for a picture of the most active channel; `NAME.nrrd` for `NAME_000.nrrd` and so on, one
            volume a channel; any other name for a folder of them.
        network: Name in the catalog.
        layer: One of its layers; `None` for its default.
        patch_size: Edge in voxels.
        seed: Of random networks.
        series: Of a folder of DICOM files, see `open_volume`.

    Returns:
        The files written.

    Raises:
        InputError: Where anything given cannot be used.
    """
    if output.suffix.lower() not in ("", ".png", ".nrrd"):
        raise InputError(f"--output {output} is no kind of output that is known; give NAME.png, NAME.nrrd or a folder")
    layer = catalog.resolve_layer(network, layer)
    encoder = catalog.build(network, layer=layer, seed=seed)
    with suppress_native_output():
        scan = read_volume(volume, series)
    point = _choose(read_landmarks(landmarks), landmark, landmarks)
    if not scan.contains(np.array([point.position]))[0]:
        raise InputError(f"{point.name} of {landmarks} lies outside {volume}; give the volume in which it was placed")
    maps = activation_maps(encoder, layer, scan, point=np.array(point.position), patch_size=patch_size).channels
    ensure_folder(output.parent if output.suffix else output)
    if output.suffix.lower() == ".png":
        index = int(np.argmax([float(channel.voxels.std()) for channel in maps]))
        title = f"{network} {layer}, channel {index} of {len(maps)}, {point.name}"
        write_mosaic(_patch(scan, point, patch_size), maps[index].voxels, output, title=title)
        return [output]
    return _write_channels(maps, output, layer)


def _write_channels(maps: Sequence[Volume], output: Path, layer: str) -> list[Path]:
    folder, stem = (output.parent, output.stem) if output.suffix else (output, layer)
    digits = max(3, len(str(len(maps) - 1)))
    files = [folder / f"{stem}_{index:0{digits}d}.nrrd" for index in range(len(maps))]
    for channel, file in zip(maps, files, strict=True):
        write_volume(channel, file)
    return files


def _choose(landmarks: LandmarkSet, name: str | None, path: Path) -> Landmark:
    for landmark in landmarks:
        if landmark.is_defined and name in (None, landmark.name):
            return landmark
    if name is None:
        raise InputError(f"{path} has no landmark with a position; place at least one")
    known = ", ".join(landmark.name for landmark in landmarks if landmark.is_defined)
    raise InputError(f"{path} has no placed landmark {name!r}; choose one of {known}")


def _patch(scan: Volume, point: Landmark, size: int):
    index = np.rint(scan.to_index(np.array([point.position]))).astype(int)
    return cut_patches(scan.voxels, index, size)[0, 0]
