"""A check of MetaImage files that ITK does not make: whether compressed voxels are intact."""

from __future__ import annotations

import zlib
from pathlib import Path

from deepfeatures.errors import damaged

CHUNK = 1 << 20  # bytes


def check_voxels(path: Path) -> None:
    """Raise `InputError` where compressed voxels inside the file are damaged: ITK would return noise."""
    with path.open("rb") as file:
        fields = {}
        for line in file:
            key, _, value = line.partition(b"=")
            fields[key.strip()] = value.strip()
            if key.strip() == b"ElementDataFile":
                break
        if fields.get(b"CompressedData", b"").lower() != b"true" or fields.get(b"ElementDataFile") != b"LOCAL":
            return  # ITK itself finds that voxels which are not compressed are too few
        stream = zlib.decompressobj()
        try:
            while not stream.eof and (chunk := file.read(CHUNK)):
                stream.decompress(chunk)
        except zlib.error as error:
            raise damaged(path) from error
    if not stream.eof:
        raise damaged(path)
