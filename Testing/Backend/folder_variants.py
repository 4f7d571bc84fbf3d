"""The anatomy as DICOM and OME-Zarr: in files of one frame and of many, and in folders of chunks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from anatomy import BOTH, ORDERS, STRAIGHT, Anatomy, Variant
from dicom_writers import image, write
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage

from deepfeatures.data.notes import NoteKind

SLICE_ORDERS: dict[str, Callable[[int], list[int]]] = {
    "in order": lambda count: list(range(count)),
    "reversed": lambda count: list(range(count))[::-1],
    "odd ones first": lambda count: [*range(1, count, 2), *range(0, count, 2)],
    "shuffled": lambda count: np.random.default_rng(0).permutation(count).tolist(),
}
DICOM_SCALES = ((None, None), (1.0, -1024.0), (0.5, 0.0), (0.25, -60.0))  # stored times the one plus the other
LPS = {"x": "right-to-left", "y": "anterior-to-posterior", "z": "inferior-to-superior"}
UNITS_PER_MM = {"millimeter": 1.0, "micrometer": 1000.0, "meter": 0.001, "centimeter": 0.1}


def dicom_variants() -> Iterator[Variant]:
    """Files of one frame, and files of many."""
    for (name, anatomy), (order, ordered), scale in itertools.product(BOTH.items(), SLICE_ORDERS.items(), DICOM_SCALES):
        for write_shape in (classic, enhanced):
            yield Variant(
                f"DICOM {write_shape.__name__} {name} {order} scaled by {scale}",
                write_shape(anatomy, ordered(len(anatomy.voxels)), scale),
            )
    for number, (order, flipped) in enumerate(ORDERS):
        anatomy = BOTH["oblique"].stored(order, flipped)
        write_shape = (classic, enhanced)[number % 2]
        yield Variant(
            f"DICOM {write_shape.__name__} oblique axes {order} {flipped}",
            write_shape(anatomy, SLICE_ORDERS["shuffled"](len(anatomy.voxels)), DICOM_SCALES[0]),
        )


def classic(anatomy: Anatomy, order: Sequence[int], scale: tuple[float | None, float | None]) -> Callable[[Path], Path]:
    """Writes a folder with a file for each slice, named in `order`."""

    def write_all(folder: Path) -> Path:
        for number, slice_number in enumerate(order):
            dataset = image(_stored(anatomy.voxels[slice_number], scale))
            _place(anatomy, slice_number, dataset, dataset, dataset)
            _scale(scale, dataset)
            dataset.InstanceNumber = number + 1
            write(dataset, folder / "series" / f"slice{number:03d}")
        return folder / "series"

    return write_all


def enhanced(
    anatomy: Anatomy, order: Sequence[int], scale: tuple[float | None, float | None]
) -> Callable[[Path], Path]:
    """Writes one file with its frames in `order`."""

    def write_one(folder: Path) -> Path:
        dataset = image(_stored(anatomy.voxels[list(order)], scale), EnhancedCTImageStorage)
        dataset.PerFrameFunctionalGroupsSequence = [_groups(anatomy, slice_number, scale) for slice_number in order]
        return write(dataset, folder / "a.dcm")

    return write_one


def _groups(anatomy: Anatomy, slice_number: int, scale: tuple[float | None, float | None]) -> Dataset:
    group, position, orientation, pixels, values = (Dataset() for _ in range(5))
    _place(anatomy, slice_number, position, orientation, pixels)
    group.PlanePositionSequence, group.PlaneOrientationSequence = [position], [orientation]
    group.PixelMeasuresSequence = [pixels]
    if scale[0] is not None:
        _scale(scale, values)
        group.PixelValueTransformationSequence = [values]
    return group


def _place(anatomy: Anatomy, slice_number: int, position: Dataset, orientation: Dataset, pixels: Dataset) -> None:
    position.ImagePositionPatient = _decimals(anatomy.affine @ (0, 0, slice_number, 1))
    orientation.ImageOrientationPatient = _decimals(anatomy.direction[:, :2].T.ravel())
    pixels.PixelSpacing = _decimals(anatomy.spacing[1::-1])


def _scale(scale: tuple[float | None, float | None], dataset: Dataset) -> None:
    if scale[0] is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = scale


def _stored(voxels: np.ndarray, scale: tuple[float | None, float | None]) -> np.ndarray:
    slope, intercept = scale
    if slope is None:
        return voxels.astype(np.int16)
    return ((voxels - intercept) / slope).astype(np.int16)


def _decimals(numbers: np.ndarray) -> list[str]:
    """As DICOM has them, in at most 16 characters."""
    return [f"{number:.8f}" for number in numbers]


def zarr_variants() -> Iterator[Variant]:
    """Folders of versions 0.4 and 0.5."""
    for version, unit in itertools.product((2, 3), UNITS_PER_MM):
        yield Variant(f"OME-Zarr {version} straight in {unit}", ome_zarr(version, unit))
    for version, path, before in itertools.product((2, 3), ("0", "s0", "image/full"), ((), ("c",), ("t", "c"))):
        written = ome_zarr(version, path=path, before=before)
        yield Variant(f"OME-Zarr {version} straight {path} {before}", written)
    for version in (2, 3):
        yield Variant(f"OME-Zarr {version} straight no unit", ome_zarr(version, None), {NoteKind.UNIT})
        unoriented = ome_zarr(version, orientations={})
        yield Variant(
            f"OME-Zarr {version} straight, axes that do not say how they lie", unoriented, {NoteKind.ORIENTATION}
        )
        yield Variant(f"OME-Zarr {version} straight, a shared translation", ome_zarr(version, shared=True))


def ome_zarr(
    version: int, unit: str | None = "millimeter", path: str = "0", before: tuple[str, ...] = (),
    orientations: dict[str, str] = LPS, shared: bool = False,
) -> Callable[[Path], Path]:  # fmt: skip
    """Writes the straight anatomy.

    Args:
        version: Of Zarr: 2 with OME-Zarr 0.4, 3 with 0.5.
        unit: Of length.
        path: Of the array in the folder.
        before: Names of axes of length 1.
        orientations: By axis.
        shared: Whether the translation is that of all levels, and not of the one that there is.
    """
    factor = UNITS_PER_MM[unit or "millimeter"]
    count = len(before)
    scale = {"type": "scale", "scale": [1.0] * count + (STRAIGHT.spacing[::-1] * factor).tolist()}
    translation = {"type": "translation", "translation": [0.0] * count + (STRAIGHT.origin[::-1] * factor).tolist()}
    axes: list[dict[str, Any]] = [{"name": name, "type": {"t": "time", "c": "channel"}[name]} for name in before]
    for name in "zyx":
        axis: dict[str, Any] = {"name": name, "type": "space"} | ({"unit": unit} if unit else {})
        if name in orientations:
            axis["orientation"] = {"type": "anatomical", "value": orientations[name]}
        axes.append(axis)
    levels = [{"path": path, "coordinateTransformations": [scale] if shared else [scale, translation]}]
    scales = {"axes": axes, "datasets": levels, "name": "anatomy", "version": "0.4"}
    if shared:
        scales["coordinateTransformations"] = [translation]

    def write_folder(folder: Path) -> Path:
        group = zarr.open_group(str(folder / "a.ome.zarr"), mode="w", zarr_format=version)
        voxels = STRAIGHT.voxels.reshape((1,) * count + STRAIGHT.voxels.shape)
        array = group.create_array(path, shape=voxels.shape, chunks=(1,) * count + (4, 5, 3), dtype="i2")
        array[:] = voxels
        group.attrs.update({"multiscales": [scales]} if version == 2 else {"ome": {"multiscales": [scales]}})
        return folder / "a.ome.zarr"

    return write_folder
