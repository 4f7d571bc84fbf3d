"""DICOM of every shape: voxels lie where their frames say, or one sentence says why they cannot be read."""

from __future__ import annotations

import locale
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from dicom_writers import (
    AXIAL,
    OBLIQUE,
    PIXEL_MM,
    SIZE,
    anatomy,
    dose,
    enhanced,
    image,
    largest_difference,
    nuclear,
    positions,
    slice_of,
    write,
    write_series,
)  # fmt: skip
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)  # fmt: skip

from deepfeatures.cli.cohort import _all_targets as cohort_targets
from deepfeatures.data.notes import NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.dicom.series import list_series
from deepfeatures.io.volume_files import check_volume, read_volume, write_volume

EVEN = 3.0 * np.arange(6)


def scaled_but_for_one(number: int) -> dict:
    return {"PixelValueTransformationSequence": {"RescaleSlope": 2.0}} if number else {}


ROUNDED = 0.51  # as the writers round values


@contextmanager
def language_kept() -> Iterator[None]:
    """ITK's DICOM writer changes the locale, and with it how Python reads text."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


def read(dataset: Dataset, tmp_path: Path) -> Volume:
    return read_volume(write(dataset, tmp_path / "a.dcm"))


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE, -AXIAL, AXIAL[::-1]], ids=["axial", "oblique", "turned", "swapped"])
@pytest.mark.parametrize(
    "order", [range(6), range(5, -1, -1), [0, 2, 4, 1, 3, 5], [3, 0, 5, 1, 4, 2]], ids=["up", "down", "odd", "mixed"]
)
def test_frames_lie_where_they_say_in_whatever_order_they_are_stored(tmp_path, axes, order):
    places = positions(EVEN[list(order)], axes)
    volume = read(enhanced(places, axes), tmp_path)
    assert largest_difference(volume) <= ROUNDED
    assert volume.notes == ()
    series = read_volume(write_series(tmp_path / "series", places, axes))
    assert torch.equal(series.voxels, volume.voxels)
    np.testing.assert_allclose(series.index_to_world, volume.index_to_world, atol=1e-6)


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE, AXIAL[::-1]], ids=["axial", "oblique", "swapped"])
def test_a_series_is_read_as_by_3d_slicer(tmp_path, axes):
    slicer = pytest.importorskip("slicer", reason="needs slicer-core")
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    volume = read_volume(write_series(tmp_path / "series", positions(EVEN[::-1], axes), axes))
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    files = sorted(map(str, (tmp_path / "series").iterdir()))
    storage.SetFileName(files[0])
    for file in files:
        storage.AddFileName(file)
    storage.SetSingleFile(False)
    assert storage.ReadData(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    to_ras = [[matrix.GetElement(row, column) for column in range(4)] for row in range(4)]
    np.testing.assert_allclose(volume.index_to_world, np.diag([-1, -1, 1, 1]) @ to_ras, atol=1e-6)
    voxels = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())
    np.testing.assert_array_equal(volume.voxels.numpy().ravel(), voxels)


@pytest.mark.parametrize(
    "kind", [EnhancedCTImageStorage, EnhancedPETImageStorage, LegacyConvertedEnhancedCTImageStorage]
)
def test_every_kind_of_enhanced_file_is_read(tmp_path, kind):
    assert largest_difference(read(enhanced(positions(EVEN[::-1]), sop_class=kind), tmp_path)) <= ROUNDED


def test_a_multi_frame_file_of_itk_is_read(tmp_path):
    places = positions(EVEN)
    pixels = np.stack([slice_of(place, AXIAL) for place in places]).astype(np.uint16)
    written = sitk.GetImageFromArray(pixels)
    written.SetSpacing((*PIXEL_MM, 3.0))
    written.SetOrigin(places[0].tolist())
    with language_kept():
        sitk.WriteImage(written, tmp_path / "a.dcm")
    assert largest_difference(read_volume(tmp_path / "a.dcm")) <= ROUNDED


def test_legacy_converted_files_of_highdicom_are_read(tmp_path):
    write_series(
        tmp_path / "series", positions(EVEN[::-1]), Modality="CT", PatientName="A^B", PatientID="1", StudyID="1",
        PatientBirthDate="", PatientSex="", AccessionNumber="", StudyDate="20200101", StudyTime="101010",
        SeriesNumber=1, FrameOfReferenceUID="1.2.3.9", Manufacturer="M", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        AcquisitionDate="20200101", AcquisitionTime="101010", SliceThickness=3.0, RescaleSlope=1, RescaleIntercept=0,
        ReferringPhysicianName="", PositionReferenceIndicator="", SOPInstanceUID=lambda number: f"1.2.3.4.{number + 1}",
        ManufacturerModelName="M", SoftwareVersions="1", DeviceSerialNumber="1", SeriesDate="20200101", KVP="120",
        SeriesTime="101010", ContentDate="20200101", ContentTime="101010", PatientPosition="HFS", AcquisitionNumber=1,
    )  # fmt: skip
    files = [pydicom.dcmread(file) for file in (tmp_path / "series").iterdir()]
    converted = LegacyConvertedEnhancedCTImage(files, generate_uid(), 2, generate_uid(), 1)
    assert largest_difference(read(converted, tmp_path)) <= ROUNDED


def twice(steps: np.ndarray = EVEN) -> np.ndarray:
    return positions(np.concatenate([steps, steps]))


def by_half(group: str, keyword: str, first: object, second: object):
    """Of the twelve frames of `twice`, the second six have another value."""
    return lambda number: {group: {keyword: first if number < 6 else second}}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (by_half("FrameContentSequence", "TemporalPositionIndex", 1, 2), r"holds 2 volumes .*\(time points\)"),
        (by_half("MREchoSequence", "EffectiveEchoTime", 5.0, 10.0), r"holds 2 volumes .*\(echoes\)"),
        (by_half("MRDiffusionSequence", "DiffusionBValue", 0.0, 1000.0), r"holds 2 volumes .*\(b-values\)"),
        (
            by_half(
                "MRImageFrameTypeSequence", "FrameType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]
            ),
            r"holds 2 volumes .*\(image types\)",
        ),
        (lambda number: {}, "holds 2 volumes at one place;"),
    ],
)
@pytest.mark.parametrize("interleaved", [False, True])
def test_several_volumes_in_one_file_are_refused_with_what_tells_them_apart(tmp_path, groups, words, interleaved):
    order = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11] if interleaved else range(12)
    dataset = enhanced(twice()[list(order)], groups=lambda number: groups(order[number]))
    with pytest.raises(InputError, match=words):
        read(dataset, tmp_path)


def each(group: str, keyword: str, value: Callable[[int], object]):
    """Every frame has the value of its number."""
    return lambda number: {group: {keyword: value(number)}}


def unit(name: str) -> list[Dataset]:
    code = Dataset()
    code.CodeValue = name
    return [code]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (each("MRDiffusionSequence", "DiffusionBValue", lambda number: 1000.0 * (number % 2)), "b-values"),
        (each("MRDiffusionSequence", "DiffusionBValue", lambda number: 1000.0 * (number < 3)), "b-values"),
        (each("MREchoSequence", "EffectiveEchoTime", lambda number: 10.0 + 80 * (number < 3)), "echoes"),
        (each("PixelValueTransformationSequence", "RescaleType", lambda number: ("HU", "US")[number % 2]), "units"),
        (
            each("RealWorldValueMappingSequence", "RealWorldValueSlope", lambda number: 1.0 + number),
            "real-world values",
        ),
        (
            each(
                "RealWorldValueMappingSequence",
                "MeasurementUnitsCodeSequence",
                lambda number: unit(("Bq/ml", "g/ml")[number % 2]),
            ),
            "units",
        ),
    ],
)
def test_contrasts_at_different_places_are_refused(tmp_path, groups, words):
    with pytest.raises(InputError, match=rf"holds slices of different .*{words}; export the right ones alone"):
        read(enhanced(positions(EVEN), groups=groups), tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"DiffusionBValue": lambda number: 1000.0 * (number % 2)}, "b-values"),
        ({"EchoTime": lambda number: 10 if number < 3 else 90}, "echoes"),
        ({"Units": lambda number: ("BQML", "CNTS")[number % 2]}, "units"),
    ],
)
def test_contrasts_of_a_classic_series_at_different_places_are_refused(tmp_path, values, words):
    with pytest.raises(InputError, match=f"holds slices of different {words};"):
        read_volume(write_series(tmp_path / "series", positions(EVEN), **values))


def test_times_and_rounding_that_differ_by_slice_are_no_contrasts(tmp_path):
    series = write_series(
        tmp_path / "series", positions(EVEN), EchoTime=lambda number: 84.1 + 0.01 * number, TriggerTime=lambda n: n,
        AcquisitionTime=lambda number: f"10101{number}", TemporalPositionIdentifier=lambda number: number,
    )  # fmt: skip
    assert read_volume(series).notes == ()
    scales = each("RealWorldValueMappingSequence", "RealWorldValueSlope", lambda number: 2 * SLOPES[number])
    assert read(enhanced(positions(EVEN), groups=scales, slopes=SLOPES), tmp_path).notes == ()


@pytest.mark.parametrize("second", [range(3, 6), range(1, 6, 2)], ids=["beside", "between"])
def test_stacks_that_make_one_grid_are_read_with_a_note(tmp_path, second):
    stacks = each("FrameContentSequence", "StackID", lambda number: "2" if number in second else "1")
    volume = read(enhanced(positions(EVEN), groups=stacks), tmp_path)
    assert largest_difference(volume) <= ROUNDED
    assert volume.note == "a: slices of 2 stacks of the scanner lie at even steps, and are taken as one volume"


def test_two_echoes_of_a_classic_series_are_refused(tmp_path):
    folder = write_series(tmp_path / "series", twice(), EchoTime=lambda number: 5.0 if number < 6 else 10.0)
    with pytest.raises(InputError, match=r"holds 2 volumes at one place \(echoes\); export the right one alone"):
        read_volume(folder)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (lambda: enhanced(positions(EVEN[[0, 1, 2, 5]])), r"not evenly sliced \(steps of 3 to 9 mm\)"),
        (lambda: enhanced(positions([0, 0, 3, 6])), "several slices at 1 of 3 places"),
        (lambda: enhanced(positions([0, 0, 0])), "shows one slice 3 times"),
        (lambda: enhanced(positions([0])), "is a single slice"),
        (lambda: enhanced(positions(EVEN[:3]), np.stack([AXIAL, AXIAL[::-1], OBLIQUE])), "not parallel"),
        (lambda: enhanced(positions(EVEN, sideways=(0, 1.2))), "right angles"),
        (lambda: enhanced(positions(EVEN), Modality="SEG"), "is a segmentation"),
        (lambda: enhanced(positions(EVEN), PhotometricInterpretation="PALETTE COLOR"), "in colour"),
        (lambda: dose([0, 3, 6, 15], [0, 3, 6, 15]), r"not evenly sliced \(steps of 3 to 9 mm\)"),
        (lambda: nuclear(3.0, kind="TOMO"), "does not say where its slices lie"),
        (lambda: nuclear(3.0, kind="RECON GATED TOMO"), "does not say where its slices lie"),
        (
            lambda: image(np.zeros((6, 4, 5), np.uint8), UltrasoundMultiFrameImageStorage, FrameTime=33),
            "where its slices",
        ),
        (
            lambda: image(np.zeros((6, 4, 5), np.uint8), PixelSpacing=[1, 1], SpacingBetweenSlices=3),
            "does not say where its slices lie",
        ),
        (lambda: enhanced(positions(EVEN), NumberOfFrames=7), "cut short or damaged"),
        (lambda: enhanced(positions(EVEN), NumberOfFrames=5), "cut short or damaged"),
        (lambda: image(np.zeros((6, 4, 5), np.uint8), Rows=60000, Columns=60000), "cut short or damaged"),
        (lambda: enhanced(positions(EVEN), groups=scaled_but_for_one), "says of some slices only how"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path, dataset, words):
    path = write(dataset(), tmp_path / "a.dcm")
    for check in (read_volume, check_volume):
        with pytest.raises(InputError, match=words):
            check(path)


@pytest.mark.parametrize("spacing", [[0, 0], [1, 0], [-1, 1], None, [1]])
def test_pixels_without_a_size_are_refused(tmp_path, spacing):
    folder = write_series(tmp_path / "series", positions(EVEN), PixelSpacing=spacing)
    with pytest.raises(InputError, match="does not say how large its pixels are"):
        read_volume(folder)


def test_a_mosaic_is_called_that(tmp_path):
    folder = write_series(tmp_path / "series", positions(EVEN), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    with pytest.raises(InputError, match="is a mosaic of slices"):
        read_volume(folder)


SLOPES = 0.25 * (1 + np.arange(6))


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
    ids=lambda uid: uid.name,
)
def test_every_frame_is_scaled_by_its_own_slope_however_it_is_stored(tmp_path, syntax):
    dataset = enhanced(positions(EVEN[[4, 1, 0, 5, 2, 3]]), slopes=SLOPES)
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    assert largest_difference(read(dataset, tmp_path)) <= SLOPES.max() / 2 + ROUNDED


@pytest.mark.parametrize("syntax", [HTJ2KLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_pixels_that_cannot_be_decompressed_are_refused_with_the_way_out(tmp_path, syntax):
    dataset = enhanced(positions(EVEN))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"no image"] * 6)
    with pytest.raises(InputError, match=r"its compression \(.*JPEG 2000.*\) cannot be read; export it again without"):
        read(dataset, tmp_path)


def test_every_slice_of_a_series_is_scaled_by_its_own_slope(tmp_path):
    places = positions(EVEN)
    for number, (place, slope) in enumerate(zip(places, SLOPES, strict=True)):
        dataset = image(
            np.round(slice_of(place, AXIAL) / slope).astype(np.int16), RescaleSlope=slope, RescaleIntercept=0,
            ImagePositionPatient=list(place), ImageOrientationPatient=list(AXIAL.ravel()), PixelSpacing=PIXEL_MM[::-1],
        )  # fmt: skip
        write(dataset, tmp_path / "series" / f"{number}.dcm")
    assert largest_difference(read_volume(tmp_path / "series")) <= SLOPES.max() / 2 + ROUNDED


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_compressed_frames_are_scaled_by_their_own_slopes_too(tmp_path, compressor):
    """Pixels as ITK's own writer compresses them."""
    pixels = (np.arange(6 * 14 * 20).reshape(6, 14, 20) * 37).astype(np.uint16)
    with language_kept():
        sitk.WriteImage(
            sitk.GetImageFromArray(pixels), tmp_path / "itk.dcm", useCompression=True, compressor=compressor
        )
    compressed = pydicom.dcmread(tmp_path / "itk.dcm")
    assert compressed.file_meta.TransferSyntaxUID.is_encapsulated
    dataset = enhanced(positions(EVEN[::-1]), slopes=SLOPES)
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
        dataset[keyword] = compressed[keyword]
    dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    volume = read(dataset, tmp_path)
    np.testing.assert_allclose(volume.voxels, ((pixels + 100.0) * SLOPES[:, None, None])[::-1])


@pytest.mark.parametrize("bits", [12, 16])
def test_bits_beyond_those_of_the_value_do_not_count(tmp_path, bits):
    """Old files keep overlays there."""
    folder = write_series(tmp_path / "series", positions(EVEN), BitsStored=bits, HighBit=bits - 1)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        pixels = dataset.pixel_array | (1 << bits) if bits < 16 else dataset.pixel_array
        dataset.PixelData = pixels.astype(np.uint16).tobytes()
        write(dataset, file)
    assert largest_difference(read_volume(folder)) <= ROUNDED


@pytest.mark.parametrize("kind", [np.int16, np.uint16])
def test_a_value_in_the_upper_bits_is_shifted_down(tmp_path, kind):
    folder = write_series(tmp_path / "series", positions(EVEN), BitsStored=12, HighBit=15)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelRepresentation = int(kind is np.int16)
        pixels = np.frombuffer(dataset.PixelData, np.int16)
        dataset.PixelData = (pixels.astype(kind) << 4 | 5).tobytes()
        write(dataset, file)
    assert largest_difference(read_volume(folder)) <= ROUNDED


@pytest.mark.parametrize("degrees", [-20, -3, 12.3, 20])
@pytest.mark.parametrize("along", [0, 1], ids=["x", "y"])
@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_gantry_tilt_is_undone_in_series_and_multi_frame_files(tmp_path, degrees, along, axes):
    sideways = np.tan(np.radians(degrees)) * np.eye(2)[along]
    places = positions(EVEN, axes, sideways)
    volume = read(enhanced(places[::-1], axes), tmp_path)
    (note,) = volume.notes
    assert note.kind is NoteKind.SHEAR
    assert note.text == f"gantry tilt of {abs(degrees):.3g} degrees undone by shifting each slice"
    inside = covered(volume, places, axes)
    difference = np.abs(volume.voxels.numpy() - anatomy(volume.to_world(every_index(volume))).T)
    assert difference[inside].max() <= ROUNDED + 0.3  # linear interpolation between neighbours
    assert inside.sum() >= 6 * 13 * 18
    assert (volume.voxels.numpy()[~inside] <= volume.voxels.numpy()[inside].max()).all()
    series = read_volume(write_series(tmp_path / "series", places, axes))
    assert torch.equal(series.voxels, volume.voxels)
    np.testing.assert_allclose(series.index_to_world, volume.index_to_world, atol=1e-6)


def every_index(volume: Volume) -> np.ndarray:
    """Shape `(x, y, z, 3)`."""
    return np.stack(np.meshgrid(*map(np.arange, volume.size), indexing="ij"), axis=-1)


def covered(volume: Volume, places: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Which voxels a slice covers, bools, shape `(slices, rows, columns)`."""
    offsets = volume.to_world(every_index(volume)) - places
    pixels = np.stack([offsets @ axes[0] / PIXEL_MM[0], offsets @ axes[1] / PIXEL_MM[1]], axis=-1)
    return ((pixels > -1e-6) & (pixels < np.array(SIZE) - 1 + 1e-6)).all(axis=-1).T


def test_slices_beside_one_another_without_tilt_are_shifted_each(tmp_path):
    places = positions(EVEN)
    places[2] += [2.4, 0, 0]  # three pixels
    volume = read(enhanced(places), tmp_path)
    (note,) = volume.notes
    assert "slices lie up to 2.4 mm beside the first" in note.text
    inside = covered(volume, places, AXIAL)
    difference = np.abs(volume.voxels.numpy() - anatomy(volume.to_world(every_index(volume))).T)
    assert difference[inside].max() <= ROUNDED
    assert volume.size == (23, 14, 6)


@pytest.mark.parametrize(("off_mm", "noted"), [(0.02, False), (0.1, True), (0.2, True)])
def test_slices_a_little_off_even_places_are_noted(tmp_path, off_mm, noted):
    volume = read_volume(write_series(tmp_path / "series", positions(EVEN + np.array([0, off_mm, 0, 0, 0, 0]))))
    assert [note.kind for note in volume.notes] == [NoteKind.UNEVEN] * noted
    if noted:
        assert f"up to {off_mm} mm off even steps of 3 mm" in volume.note


@pytest.mark.parametrize("first_mm", [0, 31], ids=["relative", "absolute"])
def test_a_dose_lies_where_its_offsets_say(tmp_path, first_mm):
    assert largest_difference(read(dose(EVEN, EVEN + first_mm), tmp_path)) <= ROUNDED
    assert largest_difference(read(dose(-EVEN, -EVEN + first_mm), tmp_path)) <= ROUNDED


@pytest.mark.parametrize(("axes", "first_mm"), [(AXIAL, 5), (-AXIAL, 31), (AXIAL * [[1], [-1]], 31), (OBLIQUE, 31)])
def test_a_dose_whose_offsets_start_elsewhere_is_refused(tmp_path, axes, first_mm):
    dataset = dose(EVEN, EVEN + first_mm)
    dataset.ImageOrientationPatient = list(axes.ravel())
    with pytest.raises(InputError, match="an RT dose whose slice offsets start neither at 0 nor"):
        read(dataset, tmp_path)


@pytest.mark.parametrize("step_mm", [3.0, -3.0])
def test_reconstructed_nuclear_medicine_runs_along_or_against_the_normal(tmp_path, step_mm):
    volume = read(nuclear(step_mm), tmp_path)
    assert largest_difference(volume) <= ROUNDED
    assert volume.modality == "NM"


def test_float_pixels_are_read(tmp_path):
    dataset = enhanced(positions(EVEN))
    dataset.FloatPixelData = (dataset.pixel_array + np.float32(0.25)).tobytes()
    dataset.BitsAllocated = 32
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    assert largest_difference(read(dataset, tmp_path)) <= ROUNDED + 0.25


@pytest.mark.parametrize(
    "values",
    [
        {"SeriesInstanceUID": ""},
        {"SeriesNumber": 7777},
        {"SeriesNumber": 1, "EchoNumbers": 7777},
        {"SeriesDescription": None, "Modality": ""},
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_names_a_series_may_be_missing(tmp_path, values):
    folder = write_series(tmp_path / "series", positions(EVEN), **values)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"7777", b"none"))
    assert largest_difference(read_volume(folder)) <= ROUNDED
    assert [(one.number, one.slices) for one in list_series(folder)] == [(1, 6)]


def test_a_file_without_preamble_and_transfer_syntax_is_read(tmp_path):
    folder = write_series(tmp_path / "series", positions(EVEN))
    for file in folder.iterdir():
        content = file.read_bytes()
        file.write_bytes(content[content.index(b"\x08\x00\x16\x00") :])
    assert largest_difference(read_volume(folder)) <= ROUNDED


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_slice_is_refused(tmp_path, share):
    folder = write_series(tmp_path / "series", positions(EVEN))
    first = min(folder.iterdir())
    content = first.read_bytes()
    first.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut short or damaged|does not say how large"):
        read_volume(folder)


# Folders


@pytest.fixture
def several(tmp_path) -> Path:
    """A folder with the series 3 (T1), 5 (T2) and 5 (dark, a multi-frame file), a scout, a film and other files."""
    folder = tmp_path / "exam"
    write_series(folder, positions(EVEN), SeriesNumber=3, SeriesInstanceUID="1.2.3")
    write_series(folder, positions(EVEN[:4]), SeriesNumber=5, SeriesInstanceUID="1.2.5", SeriesDescription="T2")
    write_series(folder, positions([0]), SeriesNumber=1, SeriesInstanceUID="1.2.1", SeriesDescription="scout")
    film = image(np.zeros((6, 4, 5), np.uint8), UltrasoundMultiFrameImageStorage, SeriesInstanceUID="1.2.9")
    write(film, folder / "film.dcm")
    directory = image(np.zeros((4, 5), np.uint8), MediaStorageDirectoryStorage)
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(directory, keyword)
    write(directory, folder / "DICOMDIR")
    for name in ("README.txt", "autorun.inf", "scan.json"):
        (folder / name).write_text("no DICOM")
    return folder


def test_the_series_of_a_folder_are_listed(several):
    found = list_series(several)
    assert [(one.number, one.description, one.slices, one.uid) for one in found] == [
        (3, "T1", 6, "1.2.3"),
        (5, "T2", 4, "1.2.5"),
    ]
    assert {file.parent for one in found for file in one.files} == {several}
    words = r"2 DICOM volumes; .*--series.*: 3 \(T1, 6 slices, UID 1.2.3\), 5 \(T2, 4 slices, UID 1.2.5\)$"
    with pytest.raises(InputError, match=words):
        read_volume(several)


@pytest.mark.parametrize("series", ["5", "1.2.5", "T2", "t2"])
def test_a_series_is_chosen_by_number_uid_or_description(several, series):
    assert read_volume(several, series).size == (*SIZE, 4)


def test_scouts_of_several_slices_are_left_out_beside_a_volume(tmp_path):
    scouts = {"SeriesInstanceUID": "1.2.7", "SeriesNumber": 1}
    for number, axes in enumerate((AXIAL, OBLIQUE)):
        dataset = enhanced(positions([0]), axes, NumberOfFrames=1, **scouts)
        write(dataset, tmp_path / "scouts" / f"plane{number}.dcm")
    for words in ("not parallel", "holds 2 DICOM volumes"):
        with pytest.raises(InputError, match=words):
            read_volume(tmp_path / "scouts")
        write_series(
            tmp_path / "scouts", positions([0, 9]), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
            SeriesInstanceUID="1.2.8", SeriesNumber=2,
        )  # fmt: skip
    write_series(tmp_path / "scouts", positions(EVEN), SeriesInstanceUID="1.2.9", SeriesNumber=3)
    assert [one.number for one in list_series(tmp_path / "scouts")] == [3]
    assert largest_difference(read_volume(tmp_path / "scouts")) <= ROUNDED


def test_a_series_that_is_not_there_is_named_with_those_that_are(several):
    with pytest.raises(InputError, match=r"holds no DICOM volumes '7'; .* 3 \(T1.*5 \(T2"):
        read_volume(several, "7")
    write_series(several, positions(EVEN[:3]), SeriesNumber=8, SeriesInstanceUID="1.2.8", SeriesDescription="T2")
    with pytest.raises(InputError, match="holds 2 DICOM volumes 'T2'"):
        read_volume(several, "T2")


def test_multi_frame_files_of_one_series_are_volumes_of_their_own(tmp_path):
    for number in range(2):
        write(enhanced(positions(EVEN[: 4 + number])), tmp_path / "exam" / f"{number}.dcm")
    assert [(one.number, one.slices) for one in list_series(tmp_path / "exam")] == [(1, 4), (2, 5)]
    with pytest.raises(InputError, match=r"1 \(T1, 4 slices, UID 1.2.3.4, 0.dcm\), 2 \(T1, 5 slices, .* 1.dcm\)$"):
        read_volume(tmp_path / "exam")
    assert read_volume(tmp_path / "exam", "2").size == (*SIZE, 5)
    assert read_volume(tmp_path / "exam" / "0.dcm").size == (*SIZE, 4)


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_enhanced_files_of_one_frame_each_are_one_volume(tmp_path, axes):
    for number, place in enumerate(positions(EVEN, axes)):
        dataset = enhanced(place[None], axes, slopes=[SLOPES[number]], NumberOfFrames=1)
        write(dataset, tmp_path / "exam" / f"{number * 5 % 6}.dcm")
    for path in (tmp_path / "exam", tmp_path / "exam" / "3.dcm"):
        assert largest_difference(read_volume(path)) <= SLOPES.max() / 2 + ROUNDED


def test_parts_of_one_multi_frame_file_are_one_volume(tmp_path):
    for name, steps in (("b.dcm", EVEN[:4]), ("a.dcm", EVEN[4:])):
        write(enhanced(positions(steps), ConcatenationUID="1.2.7"), tmp_path / "exam" / name)
    for path in (tmp_path / "exam", tmp_path / "exam" / "b.dcm"):
        assert largest_difference(read_volume(path)) <= ROUNDED
        assert read_volume(path).size == (*SIZE, 6)


def test_a_folder_of_films_says_what_is_wrong_with_them(tmp_path):
    write(image(np.zeros((6, 4, 5), np.uint8), UltrasoundMultiFrameImageStorage), tmp_path / "exam" / "film.dcm")
    with pytest.raises(InputError, match="does not say where its slices lie"):
        read_volume(tmp_path / "exam")


def test_a_report_given_as_a_volume_is_refused(tmp_path):
    report = image(np.zeros((4, 5), np.uint8), BasicTextSRStorage)
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    with pytest.raises(InputError, match="holds no image"):
        read_volume(write(report, tmp_path / "report.dcm"))


def test_a_folder_of_dicom_files_is_one_target_of_a_cohort(several, tmp_path):
    pytest.importorskip("distributed")
    assert cohort_targets([several]) == {"exam": several.resolve()}
    write_volume(read_volume(several, "3"), several / "converted.nii.gz")
    assert cohort_targets([several]) == {"converted": (several / "converted.nii.gz").resolve()}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no NIfTI"):
        cohort_targets([tmp_path / "empty"])


def test_series_are_chosen_on_the_command_line(place, fake_matcher, several, capfd):
    assert place(str(several)) == 2
    assert "--series" in capfd.readouterr().err
    assert place("--series", "5", str(several)) == 0
    ((_, _, target, _),) = fake_matcher.made[-1].calls
    assert target.size == (*SIZE, 4)
    assert Path("out/exam.mrk.json").exists()


# What was wrong before


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("enh_2t_kfirst", r"holds 2 volumes at one place \(time points\)"),
        ("multiframe_between_ignored", "does not say where its slices lie"),
        ("us_cine", "does not say where its slices lie"),
    ],
)
def test_files_that_were_read_wrongly_are_refused(data, name, words):
    with pytest.raises(InputError, match=words):
        read_volume(data / "faults" / name / "a.dcm")


@pytest.mark.data
def test_what_was_read_wrongly_is_right(data, tmp_path):
    for name in ("web_folder_with_readme/cd", "dicom_zero_spacing/series"):
        with tarfile.open(data / "faults" / f"{name}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
    with pytest.raises(InputError, match="does not say how large its pixels are"):
        read_volume(tmp_path / "zerospacing")
    series = read_volume(tmp_path / "cd")
    assert series.size == (34, 52, 35)
    same = (
        tmp_path / "mrnames",
        *(data / "faults" / name / "a.dcm" for name in ("enh_interleaved", "enh_perframe_slope")),
    )
    for path in same:
        volume = read_volume(path)
        np.testing.assert_allclose(volume.index_to_world, series.index_to_world, atol=1e-6)
        assert (volume.voxels - series.voxels).abs().max() <= 8.75 / 2  # the largest slope
    tilted = read_volume(data / "faults" / "enh_tilt" / "a.dcm")
    np.testing.assert_allclose(tilted.index_to_world, series.index_to_world, atol=1e-6)
    for number in range(0, 35, 4):  # those that lie whole pixels further
        assert torch.equal(tilted.voxels[number, number // 4 :][:52], series.voxels[number])


# Series


def values_at(volume, indices: np.ndarray) -> np.ndarray:
    x, y, z = indices.T
    return volume.voxels.numpy()[z, y, x]


def test_dicom_folder_and_any_of_its_files_are_the_same_volume(dicom_series):
    folder = dicom_series(positions=[(1.0, 2.0, 10 + 2.5 * k) for k in range(5)])
    volume = read_volume(folder)
    assert volume.size == (8, 8, 5)
    np.testing.assert_allclose(volume.origin, [1, 2, 10])
    np.testing.assert_allclose(volume.spacing, [0.5, 0.5, 2.5])
    assert volume.voxels[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert (volume.name, volume.modality) == ("series", "CT")
    for file in folder.iterdir():
        same = read_volume(file)
        assert torch.equal(same.voxels, volume.voxels)
        np.testing.assert_array_equal(same.index_to_world, volume.index_to_world)


def test_dicom_slices_lie_where_their_tags_say(dicom_series):
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    normal = np.cross(axes[:, 0], axes[:, 1])
    positions = [tuple(np.array([5.0, -3.0, 8.0]) - 3.0 * k * normal) for k in range(4)]
    volume = read_volume(dicom_series(positions=positions, orientation=[*axes[:, 0], *axes[:, 1]]))
    for number, position in enumerate(positions):
        index = volume.to_index(np.array([position]))
        np.testing.assert_allclose(index, index.round(), atol=1e-3)
        assert values_at(volume, index.round().astype(int)) == number


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": [(0, 0, z) for z in (0, 2.5, 7.5, 10)]}, r"not evenly sliced \(steps of 2.5 to 5 mm\)"),
        (
            {"positions": [(0, 0, z) for z in (0, 0, 2.5, 2.5)]},
            "holds 2 volumes at one place; export the right one alone",
        ),
        ({"positions": [(0, 0, z) for z in (0, 2.5, 2.5, 5)]}, "several slices at 1 of 3 places"),
        ({"positions": [(0, 0, 0), (0, 0, 0)]}, "shows one slice 2 times"),
        ({"positions": [(0, 3 * k, 2.5 * k) for k in range(5)]}, "right angles"),
        ({"positions": [(0, 0, 0)]}, "no DICOM volume"),
        ({"components": 3}, "colour"),
    ],
)
def test_a_dicom_series_that_is_no_grid_is_refused(dicom_series, change, words):
    folder = dicom_series(**change)
    for read in (read_volume, check_volume):
        with pytest.raises(InputError, match=words):
            read(folder)


def test_a_folder_of_two_dicom_volumes_names_them(dicom_series):
    folder = dicom_series("first")
    dicom_series("second", uid="1.2.826.0.1.3680043.2.1125.2", folder=folder)
    with pytest.raises(InputError, match=r"2 DICOM volumes.*--series.*1 \(first, 5 slices, UID 1.*1\), 2 \(second"):
        read_volume(folder)
    assert read_volume(next(folder.glob("second*"))).size == (8, 8, 5)


def test_a_scout_beside_a_dicom_volume_is_left_out(dicom_series):
    folder = dicom_series("scan")
    dicom_series("scout", positions=[(0, 0, 0)], uid="1.2.826.0.1.3680043.2.1125.2", folder=folder)
    (folder / "notes.txt").write_text("nothing")
    assert read_volume(folder).size == (8, 8, 5)


def test_dicom_slices_of_different_size_are_refused(dicom_series):
    folder = dicom_series("a", positions=[(0, 0, 0), (0, 0, 2)])
    dicom_series("b", positions=[(0, 0, 4), (0, 0, 6)], size=10, folder=folder)
    with pytest.raises(InputError, match="different size"):
        read_volume(folder)


@pytest.mark.data
def test_the_real_dicom_series_are_read(data):
    volumes = [read_volume(data / "dicom" / name) for name in ("tumour1_T1", "tumour1_T2")]
    for volume in volumes:
        assert volume.size == (512, 512, 22)
        assert volume.modality == "MR"
        np.testing.assert_allclose(volume.spacing, [0.4297, 0.4297, 6.5], atol=1e-4)
    np.testing.assert_allclose(volumes[0].index_to_world, volumes[1].index_to_world, atol=1e-3)
    one_file = read_volume(data / "dicom" / "tumour1_T1" / "000011.dcm")
    assert torch.equal(one_file.voxels, volumes[0].voxels)
