"""The anatomy as NRRD and MetaImage files, by ITK and with headers written line by line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from anatomy import BOTH, ORDERS, Anatomy, Variant

from deepfeatures.data.notes import NoteKind

NRRD_TYPES = {
    "signed char": "i1", "uint8": "u1", "short": "i2", "unsigned short int": "u2", "int32_t": "i4", "uint": "u4",
    "long long": "i8", "float": "f4", "double": "f8",
}  # fmt: skip
META_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG_LONG": "i8",
    "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
# names of spaces, and the signs of their axes in LPS
SPACES = {
    "left-posterior-superior": (1, 1, 1), "LPS": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "LAS": (1, -1, 1),
}  # fmt: skip
ENCODINGS: dict[str, Callable[[np.ndarray], bytes]] = {
    "raw": lambda voxels: voxels.tobytes(),
    "gzip": lambda voxels: gzip.compress(voxels.tobytes()),
    "gz": lambda voxels: gzip.compress(voxels.tobytes()),
    "ascii": lambda voxels: " ".join(map(str, voxels.ravel())).encode() + b"\n",
    "text": lambda voxels: "\n".join(map(str, voxels.ravel())).encode() + b"\n",
    "hex": lambda voxels: voxels.tobytes().hex().encode() + b"\n",
}
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda header: header,
    "line ends of Windows": lambda header: header.replace(b"\n", b"\r\n"),
}


def variants() -> Iterator[Variant]:
    """Files that all programs understand alike."""
    for name, anatomy in BOTH.items():
        for suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
            for pixel in ("u1", "i2", "f4", "f8"):
                for compressed in (False, True):
                    yield Variant(
                        f"ITK {name} {suffix} {pixel} {'compressed' if compressed else 'plain'}",
                        _by_itk(anatomy, suffix, pixel, compressed),
                    )
        for space in SPACES:
            for encoding in ("raw", "gzip"):
                yield Variant(f"NRRD {name} {space} {encoding}", nrrd(anatomy, space=space, encoding=encoding))
        for names in ("TransformMatrix Offset ElementSpacing", "Rotation Position ElementSize"):
            yield Variant(f"MetaImage {name} {names}", meta(anatomy, names))
        yield Variant(f"MetaImage {name} Orientation Origin", meta(anatomy, "Orientation Origin ElementSpacing"))
    yield from _nrrd_forms(BOTH["oblique"])
    yield from _meta_forms(BOTH["oblique"])
    for order, flipped in ORDERS:
        anatomy = BOTH["oblique"].stored(order, flipped)
        write = (nrrd, meta)[(sum(flipped) + order[0]) % 2]
        yield Variant(f"{write.__name__} oblique axes {order} {flipped}", write(anatomy))


def _nrrd_forms(anatomy: Anatomy) -> Iterator[Variant]:
    for encoding in ENCODINGS:
        for detached in (False, True):
            where = "detached" if detached else "attached"
            yield Variant(f"NRRD {encoding} {where}", nrrd(anatomy, encoding=encoding, detached=detached))
    for kind in NRRD_TYPES:
        for endian in ("little", "big"):
            yield Variant(f"NRRD {kind} {endian}", nrrd(anatomy, kind=kind, endian=endian))
    for number in range(1, 6):
        yield Variant(f"NRRD000{number}", nrrd(anatomy, magic=f"NRRD000{number}"))
    for change, changed in CHANGES.items():
        yield Variant(f"NRRD {change}", nrrd(anatomy, changed=changed))
    joined = lambda header: header.replace(b"space d", b"spaced").replace(b"space o", b"spaceo")  # noqa: E731
    yield Variant("NRRD names of fields in one word", nrrd(anatomy, changed=joined))
    more = {
        "units": 'space units: "mm" "mm" "mm"',
        "a comment": "# space origin: (0,0,0)",
        "a key": "patient:=space origin: (0,0,0)",
        "kinds": "kinds: domain domain domain",
    }
    for what, line in more.items():
        yield Variant(f"NRRD with {what}", nrrd(anatomy, more=line))
    yield Variant("NRRD in inches", nrrd(anatomy, more='space units: "in" "in" "in"'), {NoteKind.UNIT})
    spare = nrrd(anatomy, spare=b"spare")
    yield Variant("NRRD longer than it need be", spare, {NoteKind.SIZE})


def _meta_forms(anatomy: Anatomy) -> Iterator[Variant]:
    for kind in META_TYPES:
        for msb in ("False", "True"):
            yield Variant(f"MetaImage {kind} MSB {msb}", meta(anatomy, kind=kind, msb=msb))
    for local in (True, False):
        for compressed in (False, True):
            where = f"{'inside' if local else 'beside'}, {'compressed' if compressed else 'plain'}"
            yield Variant(f"MetaImage {where}", meta(anatomy, local=local, compressed=compressed))
    for change, changed in CHANGES.items():
        yield Variant(f"MetaImage {change}", meta(anatomy, changed=changed))
    yield Variant("MetaImage with colons", meta(anatomy, changed=lambda header: header.replace(b" =", b":")))
    for line in ("HeaderSize = -1", "ElementNumberOfChannels = 1", "AnatomicalOrientation = RAI", "DistanceUnits = mm"):
        yield Variant(f"MetaImage {line}", meta(anatomy, more=line))
    yield Variant("MetaImage in um", meta(anatomy, more="DistanceUnits = um"), {NoteKind.UNIT})
    yield Variant("MetaImage two positions", meta(anatomy, more="Position = 1 2 3"), {NoteKind.ORIENTATION})
    yield Variant("MetaImage longer than it need be", meta(anatomy, spare=b"spare"), {NoteKind.SIZE})


def _by_itk(anatomy: Anatomy, suffix: str, pixel: str, compressed: bool) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image = sitk.GetImageFromArray(anatomy.voxels.astype(pixel))
        image.SetOrigin(anatomy.origin.tolist())
        image.SetSpacing(anatomy.spacing.tolist())
        image.SetDirection(anatomy.direction.ravel().tolist())
        sitk.WriteImage(image, str(folder / f"a{suffix}"), useCompression=compressed)
        return folder / f"a{suffix}"

    return write


def nrrd(
    anatomy: Anatomy, *, space: str = "LPS", encoding: str = "raw", kind: str = "short", endian: str = "little",
    detached: bool = False, magic: str = "NRRD0004", more: str = "content: anatomy", spare: bytes = b"",
    changed: Callable[[bytes], bytes] = CHANGES["as it is"],
) -> Callable[[Path], Path]:  # fmt: skip
    """Writes an NRRD file."""
    signs = np.array(SPACES[space])
    voxels = anatomy.voxels.astype(("<" if endian == "little" else ">") + NRRD_TYPES[kind])
    content = ENCODINGS[encoding](voxels) + spare
    sizes = " ".join(map(str, voxels.shape[::-1]))
    steps = (anatomy.direction * anatomy.spacing).T * signs
    lines = [
        magic, f"type: {kind}", "dimension: 3", f"space: {space}", f"sizes: {sizes}", f"endian: {endian}",
        f"encoding: {encoding}", f"space directions: {' '.join(map(_vector, steps))}",
        f"space origin: {_vector(anatomy.origin * signs)}", more, *["data file: a.bin"][: int(detached)],
    ]  # fmt: skip

    def write(folder: Path) -> Path:
        header = changed("\n".join(lines).encode() + b"\n")
        path = folder / f"a{'.nhdr' if detached else '.nrrd'}"
        path.write_bytes(header if detached else header + changed(b"\n") + content)
        (folder / "a.bin").write_bytes(content)
        return path

    return write


def meta(
    anatomy: Anatomy, names: str = "TransformMatrix Offset ElementSpacing", *, kind: str = "SHORT", msb: str = "False",
    local: bool = True, compressed: bool = False, more: str = "BinaryData = True", spare: bytes = b"",
    changed: Callable[[bytes], bytes] = CHANGES["as it is"],
) -> Callable[[Path], Path]:  # fmt: skip
    """Writes a MetaImage file with these names of its geometry."""
    matrix, offset, spacing = names.split()
    voxels = anatomy.voxels.astype((">" if msb == "True" else "<") + META_TYPES[kind])
    content = zlib.compress(voxels.tobytes()) if compressed else voxels.tobytes()
    lines = [
        "ObjectType = Image", "NDims = 3", f"BinaryDataByteOrderMSB = {msb}", f"CompressedData = {compressed}",
        *[f"CompressedDataSize = {len(content)}"][: int(compressed)], f"DimSize = {_text(voxels.shape[::-1])}",
        f"{matrix} = {_text(anatomy.direction.T.ravel())}", f"{offset} = {_text(anatomy.origin)}",
        f"{spacing} = {_text(anatomy.spacing)}", more, f"ElementType = MET_{kind}",
        f"ElementDataFile = {'LOCAL' if local else 'a.bin'}",
    ]  # fmt: skip

    def write(folder: Path) -> Path:
        header = changed("\n".join(lines).encode() + b"\n")
        path = folder / f"a{'.mha' if local else '.mhd'}"
        path.write_bytes(header + content + spare if local else header)
        (folder / "a.bin").write_bytes(content + spare)
        return path

    return write


def _vector(numbers: np.ndarray) -> str:
    return f"({','.join(map(repr, map(float, numbers)))})"


def _text(numbers: np.ndarray | tuple[int, ...]) -> str:
    return " ".join(f"{number:.12g}" for number in numbers)
