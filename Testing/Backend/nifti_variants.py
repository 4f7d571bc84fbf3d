"""The anatomy as NIfTI files, by nibabel, and where no program writes such files any more, by their bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from anatomy import BOTH, ORDERS, Anatomy, Variant

from deepfeatures.data.notes import NoteKind

TYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8")
UNITS_PER_MM = {"mm": 1.0, "micron": 1000.0, "meter": 0.001}
FIRST_VOXEL_AT, FIRST_VOXEL = 108, 352  # bytes: where the header says where voxels begin, and where they usually do


def image(
    anatomy: Anatomy, codes: tuple[int, int] = (1, 1), dtype: str = "<i2", unit: str = "mm", more: tuple[int, ...] = ()
) -> nibabel.Nifti1Image:
    """The anatomy with codes of its sform and qform, its lengths given in `unit`, and with more axes."""
    anatomy = anatomy.scaled(UNITS_PER_MM.get(unit, 1.0))
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    voxels = anatomy.voxels.T.astype(dtype).reshape(anatomy.voxels.shape[::-1] + more)
    made = nibabel.Nifti1Image(voxels, anatomy.affine_ras, header)
    made.set_sform(anatomy.affine_ras, codes[0])
    made.set_qform(anatomy.affine_ras, codes[1])
    made.header.set_xyzt_units(unit)
    return made


def saved(name: str = "a.nii", change: Callable[[bytearray], bytes] = bytes, **stored) -> Callable[[Path], Path]:
    """Writes the file, with its bytes changed."""

    def write(folder: Path) -> Path:
        content = change(bytearray(image(**stored).to_bytes()))
        path = folder / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def variants() -> Iterator[Variant]:
    """Files that all programs understand alike."""
    for name, anatomy in BOTH.items():
        for codes in ((s, q) for s in range(5) for q in range(5) if s or q):
            suffix = ".nii.gz" if sum(codes) % 2 else ".nii"
            written = saved(f"a{suffix}", anatomy=anatomy, codes=codes)
            yield Variant(f"nifti {name} sform {codes[0]} qform {codes[1]}", written)
        for dtype in TYPES:
            for order in "<>":
                written = saved(anatomy=anatomy, dtype=order + dtype)
                yield Variant(f"nifti {name} {order}{dtype}", written)
        for codes in ((1, 0), (0, 1), (1, 1), (2, 2)):
            for unit in UNITS_PER_MM:
                written = saved("a.nii.gz", anatomy=anatomy, codes=codes, unit=unit)
                yield Variant(f"nifti {name} in {unit} by {codes}", written)
        yield Variant(f"nifti {name} no unit", saved(anatomy=anatomy, unit="unknown"), {NoteKind.UNIT})
        yield from _shapes(name, anatomy)
    for number, (order, flipped) in enumerate(ORDERS):
        anatomy = BOTH["oblique"].stored(order, flipped)
        codes = ((1, 1), (2, 0), (0, 1))[number % 3]
        yield Variant(f"nifti oblique axes {order} {flipped}", saved(anatomy=anatomy, codes=codes))


def _shapes(name: str, anatomy: Anatomy) -> Iterator[Variant]:
    """Files of unusual form."""
    for more in ((1,), (1, 1)):
        yield Variant(f"nifti {name} {3 + len(more)} axes", saved(anatomy=anatomy, more=more))
    for offset in (0, 348):
        yield Variant(f"nifti {name} voxels said to be at {offset}", saved(anatomy=anatomy, change=_says_first(offset)))
    yield Variant(f"nifti {name} voxels at 400", saved(anatomy=anatomy, change=_moves_first(400)))
    yield Variant(f"nifti {name} with an extension", lambda folder: _with_extension(folder, anatomy))
    yield Variant(f"nifti {name} scaled", lambda folder: _scaled(folder, anatomy))
    plain = saved(anatomy=anatomy)
    yield Variant(f"nifti {name} plain, named .nii.gz", lambda folder: plain(folder).rename(folder / "b.nii.gz"))
    spare = saved(anatomy=anatomy, change=lambda content: bytes(content) + bytes(99))
    yield Variant(f"nifti {name} longer than it need be", spare, {NoteKind.SIZE})


def _says_first(offset: int) -> Callable[[bytearray], bytes]:
    def change(content: bytearray) -> bytes:
        content[FIRST_VOXEL_AT : FIRST_VOXEL_AT + 4] = np.float32(offset).tobytes()
        return bytes(content)

    return change


def _moves_first(offset: int) -> Callable[[bytearray], bytes]:
    def change(content: bytearray) -> bytes:
        content = bytearray(_says_first(offset)(content))
        return bytes(content[:FIRST_VOXEL] + bytes(offset - FIRST_VOXEL) + content[FIRST_VOXEL:])

    return change


def _with_extension(folder: Path, anatomy: Anatomy) -> Path:
    made = image(anatomy)
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a comment of some length"))
    nibabel.save(made, folder / "a.nii.gz")
    return folder / "a.nii.gz"


def _scaled(folder: Path, anatomy: Anatomy) -> Path:
    """Values stored as `(value + 1000) / 0.5`."""
    made = image(anatomy)
    stored = nibabel.Nifti1Image(((made.get_fdata() + 1000) / 0.5).astype(np.int16), None, made.header)
    stored.header.set_slope_inter(0.5, -1000)
    nibabel.save(stored, folder / "a.nii")
    return folder / "a.nii"
