"""Finds files that are cut short or damaged where ITK would fill the gap with zeros or noise and say nothing."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

from deepfeatures.errors import damaged

CHUNK = 1 << 20  # bytes


def check_nifti(path: Path, header: Mapping[str, str]) -> None:
    """Raise `InputError` unless the single-file NIfTI `path`, gzipped or not, holds all voxels that `header` promises.

    `header` has the fields of NIfTI-1 by name, as ITK's metadata dictionary does.
    """
    voxels = 1
    for axis in range(1, int(header["dim[0]"]) + 1):
        voxels *= int(header[f"dim[{axis}]"])
    expected = int(float(header["vox_offset"])) + voxels * int(header["bitpix"]) // 8
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    try:
        actual = _unzipped_size(path) if gzipped else path.stat().st_size
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path) from error
    if actual < expected:
        raise damaged(path)


def check_metaimage(path: Path) -> None:
    """Raise `InputError` where the compressed voxels inside the MetaImage `path` cannot be uncompressed."""
    with path.open("rb") as file:
        fields = {}
        for line in file:
            key, _, value = line.partition(b"=")
            fields[key.strip()] = value.strip()
            if key.strip() == b"ElementDataFile":
                break
        if fields.get(b"CompressedData", b"").lower() != b"true" or fields.get(b"ElementDataFile") != b"LOCAL":
            return  # ITK itself notices when plain voxels are too few
        stream = zlib.decompressobj()
        try:
            while not stream.eof and (chunk := file.read(CHUNK)):
                stream.decompress(chunk)
        except zlib.error as error:
            raise damaged(path) from error
    if not stream.eof:
        raise damaged(path)


def _unzipped_size(path: Path) -> int:
    """Bytes in the gzip file `path`, every one of them read, so that its checksum is checked too."""
    size = 0
    with gzip.open(path) as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
    return size
