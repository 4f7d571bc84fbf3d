"""Whatever a header says, reading ends in a result or in one sentence: soon, and without much memory."""

from __future__ import annotations

import random
import re
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import landmark_variants
import numpy as np
import pydicom
import pytest
from anatomy import OBLIQUE, TOLERANCE_MM, TRUTHS, places
from damaged_files import (
    NIFTI_FIELDS,
    damaged_bytes,
    damaged_dicom,
    damaged_json,
    damaged_lines,
    damaged_nifti,
)  # fmt: skip
from folder_variants import DICOM_SCALES, classic, enhanced, ome_zarr
from nifti_variants import saved
from text_header_variants import meta, nrrd

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume

SLOWEST_S, MOST_BYTES, LONGEST = 5.0, 2 << 30, 400
SEEDS = range(40)
ORDER = [3, 0, 7, 1, 8, 2, 6, 4, 5]
META_HEADER, NRRD_HEADER = rb"ElementDataFile = LOCAL" + b"\n", b"\n\n"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        write: Writes one that is intact and returns what to read.
        damage: Changes the files there, in a way that follows from the generator.
        read: Reads it.
    """

    write: Callable[[Path], Path]
    damage: Callable[[random.Random, Path], None]
    read: Callable[[Path], object] = read_volume


def one(change: Callable[[random.Random, bytes], bytes]) -> Callable[[random.Random, Path], None]:
    """Damages the content of the file itself."""

    def damage(rng: random.Random, path: Path) -> None:
        path.write_bytes(change(rng, path.read_bytes()))

    return damage


def one_or_all_slices(rng: random.Random, folder: Path) -> None:
    files = sorted(folder.iterdir())
    state = rng.getstate()
    for file in files if rng.random() < 0.3 else [rng.choice(files)]:
        rng.setstate(state)
        damaged_dicom(rng, file)


def one_of_metadata(rng: random.Random, folder: Path) -> None:
    metadata = {".zattrs", ".zgroup", ".zarray", "zarr.json"}
    one(damaged_json)(rng, rng.choice(sorted(file for file in folder.rglob("*") if file.name in metadata)))


def points(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_landmarks(landmark_variants.POINTS, folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return write


def text_damage(suffix: str) -> Callable[[random.Random, Path], None]:
    if suffix == ".json":
        return one(damaged_json)
    if suffix == ".dcm":
        return damaged_dicom
    lines = damaged_lines(b"", b"=" if suffix in (".tag", ".tps") else b",")
    return one(lambda rng, content: (damaged_bytes if rng.random() < 0.15 else lines)(rng, content))


def as_fine_as_fits(path: Path) -> Volume:
    return read_within_memory(path, memory_bytes=1000)


NRRD_LINES, META_LINES = damaged_lines(NRRD_HEADER, b": "), damaged_lines(META_HEADER, b" = ")
KINDS = {
    "NIfTI": Kind(saved("a.nii", anatomy=OBLIQUE), one(damaged_nifti)),
    "NIfTI by qform": Kind(saved("a.nii.gz", anatomy=OBLIQUE, codes=(0, 1)), one(damaged_nifti)),
    "NIfTI, large": Kind(saved("a.nii.gz", anatomy=OBLIQUE, codes=(2, 0)), one(damaged_nifti), as_fine_as_fits),
    "NRRD": Kind(nrrd(OBLIQUE), one(NRRD_LINES)),
    "NRRD, gzip": Kind(nrrd(OBLIQUE, encoding="gzip"), one(NRRD_LINES)),
    "NRRD, detached": Kind(nrrd(OBLIQUE, detached=True), one(damaged_lines(b"", b": "))),
    "MetaImage": Kind(meta(OBLIQUE), one(META_LINES)),
    "MetaImage, compressed": Kind(meta(OBLIQUE, compressed=True), one(META_LINES)),
    "MetaImage, two files": Kind(meta(OBLIQUE, local=False, compressed=True), one(damaged_lines(b"", b" = "))),
    "DICOM": Kind(classic(OBLIQUE, ORDER, DICOM_SCALES[1]), one_or_all_slices),
    "DICOM, many frames": Kind(enhanced(OBLIQUE, ORDER, DICOM_SCALES[1]), damaged_dicom),
    "OME-Zarr 0.4": Kind(ome_zarr(2), one_of_metadata),
    "OME-Zarr 0.5": Kind(ome_zarr(3), one_of_metadata),
    **{
        f"points {suffix}": Kind(points(suffix), text_damage(suffix), read_landmarks)
        for suffix in landmark_variants.own_suffixes()
    },
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> dict[str, Path]:
    """Of each kind a file that is intact."""
    folders = {name: tmp_path_factory.mktemp("intact") for name in KINDS}
    return {name: kind.write(folders[name]) for name, kind in KINDS.items()}


def copied(path: Path, folder: Path) -> Path:
    """The file, and what lies beside it, in another folder."""
    shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    return folder / path.name


@contextmanager
def within_limits() -> Iterator[None]:
    """Fails where what is done takes too long, or more memory than there may be."""
    before = time.perf_counter()
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, limit[1]))
    try:
        yield
    finally:
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, limit)
    assert time.perf_counter() - before < SLOWEST_S


def assert_is_a_sentence(error: InputError, path: Path) -> None:
    text = str(error)
    assert path.name in text or path.parent.name in text
    assert len(text.replace(str(path), "")) < LONGEST, text
    assert "\n" not in text


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")  # of which people would see a line of code
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_header_gives_a_result_or_a_sentence(name, seed, intact, tmp_path):
    kind = KINDS[name]
    path = copied(intact[name], tmp_path / "damaged")
    kind.damage(random.Random(f"{name} {seed}"), path)
    with within_limits():
        try:
            kind.read(path)
        except InputError as error:
            assert_is_a_sentence(error, path)


def assert_right_or_told(path: Path) -> None:
    """The anatomy is where it was, or a note or a refusal tells that something is wrong."""
    with within_limits():
        try:
            volume = read_volume(path)
        except InputError as error:
            assert_is_a_sentence(error, path)
            return
    found = places(volume.voxels.numpy(), volume.index_to_world[:3])
    truth = TRUTHS["oblique"]
    is_right = found.keys() == truth.keys() and all(
        np.abs(found[value] - place).max() <= TOLERANCE_MM for value, place in truth.items()
    )
    assert is_right or volume.notes


ABSURD = ("nan", "inf", "1e30", "-1e30", "", "x")
ABSURD_FLOATS = (float("inf"), float("nan"), 1e30, -1e30)


@pytest.mark.parametrize("codes", [(1, 0), (2, 0), (0, 1), (1, 1), (2, 2), (0, 0)])
def test_absurd_numbers_in_a_nifti_header_are_told(codes, tmp_path):
    path = saved(anatomy=OBLIQUE, codes=codes)(tmp_path)
    content = path.read_bytes()
    fields = {"pixdim": (1, 2, 3), "srow_x": range(4), "srow_y": range(4), "srow_z": range(4)}
    fields |= {f"quatern_{letter}": (0,) for letter in "bcd"} | {f"qoffset_{letter}": (0,) for letter in "xyz"}
    for field, numbers in fields.items():
        for number in numbers:
            values = (*ABSURD_FLOATS, 0.0) if field == "pixdim" else ABSURD_FLOATS
            for value in values if not field.startswith("srow") else values[1:]:
                place = NIFTI_FIELDS[field][0] + 4 * number
                path.write_bytes(content[:place] + struct.pack("<f", value) + content[place + 4 :])
                assert_right_or_told(path)


@pytest.mark.parametrize(
    ("write", "lines"),
    [
        (nrrd(OBLIQUE), rb"space.*|dimension.*|sizes.*|type.*|encoding.*"),
        (nrrd(OBLIQUE, encoding="gzip"), rb"space.*|dimension.*|sizes.*|type.*|encoding.*"),
        (meta(OBLIQUE), rb"(?:TransformMatrix|Offset|ElementSpacing|DimSize|ElementType).*"),
        (meta(OBLIQUE, compressed=True), rb"(?:TransformMatrix|Offset|ElementSpacing|DimSize|Compressed).*"),
    ],
    ids=["NRRD", "NRRD, gzip", "MetaImage", "MetaImage, compressed"],
)
def test_absurd_or_missing_fields_of_a_text_header_are_told(write, lines, tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    end = content.index(META_HEADER if path.suffix == ".mha" else NRRD_HEADER)
    for line in re.finditer(rb"^(?:" + lines + rb")$", content[:end], re.MULTILINE):
        name, separator, value = re.split(rb"(: | = )", line[0], maxsplit=1)
        changed = [b"", name + separator, *(name + separator + text.encode() for text in ABSURD)]
        numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?", value))
        for number in numbers:
            texts = (*ABSURD, "") if name != b"type" else ()
            changed += [
                name + separator + value[: number.start()] + text.encode() + value[number.end() :] for text in texts
            ]
        for other in changed:
            path.write_bytes(content[: line.start()] + other + content[line.end() :])
            assert_right_or_told(path)


@pytest.mark.parametrize("value", [None, "", "nan", "1e30", "0\\0", "0\\0\\0", "0\\0\\0\\0\\0\\0", "abc", "1\\2\\3\\4"])
@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("slices", ["one", "all"])
def test_absurd_or_missing_places_of_dicom_slices_are_told(keyword, value, slices, tmp_path):
    folder = classic(OBLIQUE, ORDER, DICOM_SCALES[0])(tmp_path)
    for file in sorted(folder.iterdir())[: 1 if slices == "one" else None]:
        dataset = pydicom.dcmread(file)
        if value is None:
            del dataset[keyword]
        else:
            dataset[keyword]._value = value
        pydicom.dcmwrite(file, dataset, enforce_file_format=False)
    assert_right_or_told(folder)


@pytest.mark.parametrize(
    ("write", "change"),
    [
        (saved(anatomy=OBLIQUE), lambda content: content[:42] + struct.pack("<3h", *[30000] * 3) + content[48:]),
        (saved(anatomy=OBLIQUE), lambda content: content[:108] + struct.pack("<f", 1e30) + content[112:]),
        (nrrd(OBLIQUE), lambda content: content.replace(b"sizes: 7 8 9", b"sizes: 30000 30000 30000")),
        (
            nrrd(OBLIQUE, encoding="gzip"),
            lambda content: content.replace(b"sizes: 7 8 9", b"sizes: 30000 30000 30000"),
        ),
        (meta(OBLIQUE), lambda content: content.replace(b"DimSize = 7 8 9", b"DimSize = 30000 30000 30000")),
        (
            meta(OBLIQUE, compressed=True),
            lambda content: content.replace(b"DimSize = 7 8 9", b"DimSize = 30000 30000 30000"),
        ),
        (
            meta(OBLIQUE, compressed=True),
            lambda content: re.sub(rb"CompressedDataSize = \d+", b"CompressedDataSize = 99999999999", content),
        ),
    ],
    ids=["NIfTI", "NIfTI far ahead", "NRRD", "NRRD gzip", "MetaImage", "MetaImage compressed", "MetaImage's length"],
)
def test_more_voxels_than_a_file_can_hold_are_refused_before_memory_is_taken(write, change, tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(change(content))
    assert path.read_bytes() != content
    with within_limits(), pytest.raises(InputError, match="cut short or damaged"):
        read_volume(path)
