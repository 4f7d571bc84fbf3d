"""Files whose headers leave something open, and what this package and 3D Slicer make of each.

    python Testing/Slicer/reading_situations.py

prints the table of `docs/reference/reading.md`, as measured with slicer-core's own storage node.
"""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from dicom_situations import FIRST, ORIENTATION, STEP_MM, dose, film, multi_frame, secondary_capture

from deepfeatures.errors import InputError
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.io.volume_files import read_volume

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
VOXELS = np.zeros((16, 22, 20), np.int16)  # depth, height, width
MARKS = {1000: (3, 4, 5), 2000: (15, 6, 4), 3000: (5, 17, 11), 4000: (16, 15, 13)}  # value: index x, y, z
for value, (x, y, z) in MARKS.items():
    VOXELS[z, y, x] = value
AFFINE = np.array([[1.0, 0, 0, -20], [0, 1.2, 0, 30], [0, 0, 1.5, 10], [0, 0, 0, 1]])  # to LPS
NO_SPACE = "sizes: 20 22 16\n"
DIRECTIONS = "space directions: (1,0,0) (0,1.2,0) (0,0,1.5)\nspace origin: (-20,30,10)\n"
GEOMETRY = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -20 30 10\nElementSpacing = 1 1.2 1.5\n"

Write = Callable[[Path], Path]


@dataclass(frozen=True)
class Situation:
    """A file that leaves something open.

    Args:
        format: Its format.
        what: What is the matter, in words.
        write: Writes it into a folder and returns its path.
    """

    format: str
    what: str
    write: Write


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Args:
        places: LPS mm of each mark, by value; `None` where the file was refused.
        words: The refusal, or the notes.
    """

    places: dict[int, np.ndarray] | None
    words: str = ""


def nifti(change: Callable | None = None, compressed: bool = True, **patches) -> Write:
    """A writer of a NIfTI file; `change` changes nibabel's image, `patches` fields of the header as stored."""

    def write(folder: Path) -> Path:
        import nibabel

        image = nibabel.Nifti1Image(VOXELS.T, None)
        image.set_sform(RAS @ AFFINE, 1)
        image.set_qform(RAS @ AFFINE, 1)
        image.header.set_xyzt_units("mm")
        image = (change and change(image)) or image
        nibabel.save(image, folder / "plain.nii")
        content = bytearray((folder / "plain.nii").read_bytes())
        for field, (layout, offset) in FIELDS.items():
            if field in patches:
                struct.pack_into(layout, content, offset, patches[field])
        path = folder / "scan.nii.gz"
        path.write_bytes(gzip.compress(content) if compressed else content)
        return path

    return write


FIELDS = {"dim4": ("<h", 48), "voxel_offset": ("<f", 108), "qform_code": ("<h", 252), "sform_code": ("<h", 254)}


def set_forms(sform=None, sform_code: int = 1, qform=None, qform_code: int = 1) -> Callable:
    """Changes the matrices of a nibabel image; LPS, `None` leaves one as it is."""

    def change(image) -> None:
        image.set_sform(RAS @ (AFFINE if sform is None else sform), sform_code)
        image.set_qform(RAS @ (AFFINE if qform is None else qform), qform_code)

    return change


def moved(mm: float) -> np.ndarray:
    matrix = AFFINE.copy()
    matrix[0, 3] += mm
    return matrix


def sheared() -> np.ndarray:
    matrix = AFFINE.copy()
    matrix[0, 1] = 0.3
    return matrix


def scaled(factor: float) -> np.ndarray:
    return AFFINE @ np.diag([factor, factor, factor, 1])


def unit(name: str, factor: float) -> Callable:
    def change(image) -> None:
        matrix = np.diag([factor, factor, factor, 1.0]) @ RAS @ AFFINE
        image.set_sform(matrix, 1)
        image.set_qform(matrix, 1)
        image.header.set_xyzt_units(name)

    return change


def four_axes(image):
    import nibabel

    return nibabel.Nifti1Image(np.stack([VOXELS.T, VOXELS.T], -1), image.affine, image.header)


def nrrd(geometry: str, encoding: str = "raw", pack: Callable[[bytes], bytes] = bytes) -> Write:
    def write(folder: Path) -> Path:
        head = f"NRRD0005\ntype: int16\ndimension: 3\n{NO_SPACE}endian: little\nencoding: {encoding}\n{geometry}\n"
        path = folder / "scan.nrrd"
        path.write_bytes(head.encode() + pack(VOXELS.tobytes()))
        return path

    return write


def metaimage(geometry: str, compressed: bool = False, spoil: int = 0) -> Write:
    def write(folder: Path) -> Path:
        voxels = zlib.compress(VOXELS.tobytes()) if compressed else VOXELS.tobytes()
        head = (
            f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = "
            f"{compressed}\nCompressedDataSize = {len(voxels)}\n{geometry}DimSize = 20 22 16\nElementType = MET_SHORT\n"
            "ElementDataFile = LOCAL\n"
        )
        path = folder / "scan.mha"
        path.write_bytes(head.encode() + voxels[: len(voxels) - spoil])
        return path

    return write


def not_finite(image):
    import nibabel

    voxels = VOXELS.T.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    return nibabel.Nifti1Image(voxels, image.affine)


EVEN_THEN_ODD = [*range(0, 16, 2), *range(1, 16, 2)]


def tilted(number: int) -> tuple[float, float, float]:
    """Each slice lies a pixel beside the one before."""
    return FIRST[0] + number, FIRST[1], FIRST[2] + STEP_MM * number


def two_directions(number: int) -> list[int]:
    return ORIENTATION if number < 8 else [0, 1, 0, 0, 0, -1]


SITUATIONS = (
    Situation("NIfTI", "sform and qform agree", nifti()),
    Situation("NIfTI", "sform alone", nifti(qform_code=0)),
    Situation("NIfTI", "qform alone", nifti(sform_code=0)),
    Situation("NIfTI", "neither: both codes are 0", nifti(qform_code=0, sform_code=0)),
    Situation("NIfTI", "sform of code 2 lies 5 mm beside the qform", nifti(set_forms(moved(5), 2))),
    Situation("NIfTI", "sform of code 4 lies 5 mm beside the qform", nifti(set_forms(moved(5), 4))),
    Situation("NIfTI", "sform of code 1 lies 5 mm beside the qform", nifti(set_forms(moved(5), 1))),
    Situation("NIfTI", "sform of code 2 is 15 % larger than the qform", nifti(set_forms(scaled(1.15), 2))),
    Situation("NIfTI", "sform of code 1 is 15 % larger than the voxel size", nifti(set_forms(scaled(1.15), 1))),
    Situation("NIfTI", "sheared sform, good qform", nifti(set_forms(sheared(), 2))),
    Situation("NIfTI", "sheared sform alone", nifti(set_forms(sheared()), qform_code=0)),
    Situation("NIfTI", "no unit of length", nifti(unit("unknown", 1))),
    Situation("NIfTI", "lengths in metres", nifti(unit("meter", 1e-3))),
    Situation("NIfTI", "lengths in micrometres", nifti(unit("micron", 1e3))),
    Situation("NIfTI", "ten times 17 cm: a wrong unit", nifti(unit("mm", 100))),
    Situation("NIfTI", "voxels are said to begin within the header", nifti(voxel_offset=0.0)),
    Situation("NIfTI", "a fourth axis of length 0", nifti(dim4=0)),
    Situation("NIfTI", "two volumes in one file", nifti(four_axes)),
    Situation("NIfTI", "not compressed, but named .nii.gz", nifti(compressed=False)),
    Situation("NIfTI", "a voxel that is NaN", nifti(not_finite)),
    Situation("NRRD", "space left-posterior-superior", nrrd("space: left-posterior-superior\n" + DIRECTIONS)),
    Situation("NRRD", "space scanner-xyz", nrrd("space: scanner-xyz\n" + DIRECTIONS)),
    Situation("NRRD", "a space of three axes without a name", nrrd("space dimension: 3\n" + DIRECTIONS)),
    Situation("NRRD", "voxel size alone", nrrd("spacings: 1 1.2 1.5\n")),
    Situation("NRRD", "neither voxel size nor position", nrrd("")),
    Situation("NRRD", "a voxel size that is NaN", nrrd("spacings: 1 1.2 nan\n")),
    Situation("NRRD", "lengths in micrometres", nrrd('space: LPS\nspace units: "um" "um" "um"\n' + DIRECTIONS)),
    Situation("NRRD", "sheared", nrrd("space: LPS\n" + DIRECTIONS.replace("(0,1.2,0)", "(0.3,1.2,0)"))),
    Situation("NRRD", "compressed by bzip2", nrrd("space: LPS\n" + DIRECTIONS, "bzip2", bz2.compress)),
    Situation("MetaImage", "complete", metaimage(GEOMETRY)),
    Situation("MetaImage", "no matrix", metaimage("".join(GEOMETRY.splitlines(keepends=True)[1:]))),
    Situation(
        "MetaImage",
        "no matrix, AnatomicalOrientation LPI",
        metaimage("AnatomicalOrientation = LPI\n" + "".join(GEOMETRY.splitlines(keepends=True)[1:])),
    ),
    Situation("MetaImage", "no position", metaimage(GEOMETRY.replace("Offset = -20 30 10\n", ""))),
    Situation("MetaImage", "a position that is NaN", metaimage(GEOMETRY.replace("-20", "nan"))),
    Situation("MetaImage", "no voxel size", metaimage(GEOMETRY.replace("ElementSpacing = 1 1.2 1.5\n", ""))),
    Situation("MetaImage", "a negative voxel size", metaimage(GEOMETRY.replace("= 1 1.2", "= -1 1.2"))),
    Situation("MetaImage", "lengths in micrometres", metaimage(GEOMETRY + "DistanceUnits = um\n")),
    Situation("MetaImage", "sheared", metaimage(GEOMETRY.replace("1 0 0 0 1 0", "1 0 0 0.3 1 0"))),
    Situation("MetaImage", "compressed voxels are cut short", metaimage(GEOMETRY, compressed=True, spoil=40)),
    Situation("DICOM", "multi-frame, first slice to last", multi_frame(VOXELS)),
    Situation("DICOM", "multi-frame, last slice to first", multi_frame(VOXELS, range(15, -1, -1))),
    Situation("DICOM", "multi-frame, even slices before odd ones", multi_frame(VOXELS, EVEN_THEN_ODD)),
    Situation("DICOM", "multi-frame, a slope for each frame", multi_frame(VOXELS, slopes=[0.5, 1, 2, 0.25] * 4)),
    Situation("DICOM", "multi-frame, gantry tilt", multi_frame(VOXELS, place=tilted)),
    Situation("DICOM", "multi-frame, two volumes at one place", multi_frame(VOXELS, [*range(16)] * 2)),
    Situation("DICOM", "multi-frame, a slice missing", multi_frame(VOXELS, [*range(9), *range(10, 16)])),
    Situation("DICOM", "multi-frame, slices in two directions", multi_frame(VOXELS, orientation=two_directions)),
    Situation("DICOM", "RT dose, even offsets", dose(VOXELS, STEP_MM * np.arange(16))),
    Situation("DICOM", "RT dose, uneven offsets", dose(VOXELS, [*STEP_MM * np.arange(15), 30])),
    Situation("DICOM", "secondary capture without positions", secondary_capture(VOXELS)),
    Situation("DICOM", "ultrasound film", film(VOXELS)),
)


def ours(path: Path) -> Outcome:
    """What this package makes of a file."""
    try:
        with suppress_native_output():
            volume = read_volume(path)
    except InputError as error:
        return Outcome(None, str(error).replace(str(path), "the file"))
    places = {}
    for mark in MARKS:
        (index,) = np.argwhere(volume.voxels.numpy() == mark)
        places[mark] = volume.to_world(index[::-1][None])[0]
    return Outcome(places, "; ".join(note.text for note in volume.notes))


def slicers(path: Path) -> Outcome:
    """What 3D Slicer's storage node for scalar volumes makes of it."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    with suppress_native_output():
        if not storage.ReadData(node):
            return Outcome(None)
    image, matrix = node.GetImageData(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    to_ras = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    places = {}
    for mark in MARKS:
        found = np.argwhere(voxels == mark)
        if len(found) != 1:
            return Outcome({})
        places[mark] = (RAS @ to_ras @ [*found[0][::-1], 1])[:3]
    return Outcome(places)


def difference(we: Outcome, slicer: Outcome) -> str:
    """What the table says of 3D Slicer."""
    if slicer.places is None:
        return "cannot be read"
    if not slicer.places:
        return "other voxels"
    if we.places is None:
        return "read"
    distance = max(float(np.linalg.norm(we.places[mark] - slicer.places[mark])) for mark in MARKS)
    return "the same place" if distance < 0.01 else f"up to {distance:.1f} mm elsewhere"


def rows() -> list[tuple[str, str, str, str]]:
    """Of the table: format, situation, this package, 3D Slicer."""
    table = []
    for situation in SITUATIONS:
        with TemporaryDirectory() as folder:
            path = situation.write(Path(folder))
            we = ours(path)
            slicer = slicers(path)
        verdict = "refused: " if we.places is None else "read, with the note: " if we.words else "read"
        table.append((situation.format, situation.what, verdict + we.words, difference(we, slicer)))
    return table


def table() -> str:
    """The rows as Markdown."""
    head = ("format", "situation", "this package", "3D Slicer")
    lines = [head, ("---",) * 4, *rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    print(table())
