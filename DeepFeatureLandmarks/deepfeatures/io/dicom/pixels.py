"""The values of frames, scaled each by its own slope and intercept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.errors import InputError, is_out_of_memory, reading
from deepfeatures.io.dicom.frames import Frame

if TYPE_CHECKING:
    from pydicom import Dataset

IMAGE_IO = "GDCMImageIO"  # ITK's name of what reads DICOM
# Of the image pixel module: all that a decoder needs.
PIXEL_KEYWORDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData",
)  # fmt: skip


def read_values(frames: Sequence[Frame]) -> np.ndarray:
    """Slope × stored + intercept of each frame, float32, shape `(frames, rows, columns)`.

    Raises:
        InputError: A file is damaged, or compressed in a way that nothing here can decode.
    """
    columns, rows = frames[0].size
    values = np.empty((len(frames), rows, columns), np.float32)
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.file, []).append(place)
    for file, of_file in places.items():
        of_file = sorted(of_file, key=lambda place: frames[place].number)
        wanted = [frames[place] for place in of_file]
        with reading(file):
            for place, stored in zip(of_file, _stored(file, wanted), strict=True):
                slope, intercept = frames[place].slope, frames[place].intercept
                values[place] = stored if (slope, intercept) == (1, 0) else stored * slope + intercept
    return values


def _stored(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Of each frame the pixels as stored, shape `(rows, columns)`; the frames come by rising number."""
    import pydicom
    from pydicom.pixels import iter_pixels
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

    syntax = frames[0].syntax
    numbers = [frame.number for frame in frames]
    image = pydicom.Dataset()
    if syntax in (None, DeflatedExplicitVRLittleEndian):  # iter_pixels finds no pixels in a deflated file
        image = _whole(file)
        pixels = iter_pixels(image, indices=numbers, raw=True, correct_unused_bits=False)
    elif syntax == RLELossless or not UID(syntax).is_encapsulated:
        pixels = iter_pixels(file, ds_out=image, indices=numbers, raw=True, view_only=True, correct_unused_bits=False)
    else:
        decoded = _decoded_by_gdcm(file)
        yield from (decoded[number] for number in numbers)
        return
    yield from (_used_bits(stored, image) for stored in pixels)


def _used_bits(stored: np.ndarray, image: Dataset) -> np.ndarray:
    """Without the bits above and below the value, in which old files keep overlays; GDCM does the same.

    pydicom takes the value to lie in the lowest bits, whatever the High Bit says.
    """
    allocated, used = image.BitsAllocated, image.get("BitsStored") or image.BitsAllocated
    if used >= allocated or stored.dtype.kind == "f":
        return stored
    highest = min(max(image.get("HighBit") or 0, used - 1), allocated - 1)
    return stored << (allocated - 1 - highest) >> (allocated - used)  # of signed numbers, the sign goes along


def _whole(file: Path) -> Dataset:
    """The whole file, with the transfer syntax by which it could be read where it names none, as old files do."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = pydicom.dcmread(file, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def _decoded_by_gdcm(file: Path) -> np.ndarray:
    """All frames of a compressed file as stored, shape `(frames, rows, columns)`.

    GDCM scales by the first slope that it finds, so it is given a file that holds the pixels and nothing else.
    """
    import pydicom
    import SimpleITK as sitk
    from pydicom.uid import UID, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid

    whole = pydicom.dcmread(file, force=True)
    bare = pydicom.Dataset()
    for keyword in PIXEL_KEYWORDS:
        if keyword in whole:
            bare[keyword] = whole[keyword]
    bare.SOPClassUID, bare.SOPInstanceUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = whole.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.dcm"
        pydicom.dcmwrite(path, bare, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO(IMAGE_IO)
        reader.SetFileName(str(path))
        try:
            pixels = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"{file} is damaged, or its compression ({UID(bare.file_meta.TransferSyntaxUID).name}) cannot be read; "
                "export it again without compression"
            ) from error
    return pixels.reshape(-1, *pixels.shape[-2:])
