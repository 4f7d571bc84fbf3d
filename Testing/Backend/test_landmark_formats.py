"""Landmark files of other programs: written and read back, and read and written by these programs' own libraries."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import LANDMARK_SUFFIXES, Landmark, LandmarkSet
from deepfeatures.data.notes import NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import FORMATS, is_landmark_file, read_landmarks, write_landmarks
from deepfeatures.pipelines.place import read_template

NEW = [".ants.csv", ".mps", ".tag", ".landmarkAscii", ".pts", ".txt", ".tps", ".dcm"]
FRAMELESS = {".landmarkAscii": "LPS", ".pts": "RAS", ".tps": "LPS"}
TWO = LandmarkSet((Landmark("AC", (1.25, -2.5, 3.75)), Landmark("PC", (-10.0, 20.0, 30.0))), "head")
SHIFT = np.array([1.0, 2.0, 3.0])
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1, max_size=12)
COORDINATES = st.floats(-1e4, 1e4)


def write(tmp_path: Path, text: str | bytes, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@cache
def whole(suffix: str) -> bytes:
    """An undamaged file."""
    with TemporaryDirectory() as folder:
        write_landmarks(TWO, Path(folder) / f"points{suffix}")
        return (Path(folder) / f"points{suffix}").read_bytes()


def needs(suffix: str) -> None:
    if suffix == ".dcm":
        pytest.importorskip("highdicom", reason="needs the extra sr")


def test_every_format_has_its_suffix():
    assert sorted({*LANDMARK_SUFFIXES} - {".mrk.json"}) == sorted(FORMATS)
    assert {suffix.lower() for suffix in NEW} < set(FORMATS)


@pytest.mark.parametrize("suffix", NEW)
@given(
    points=st.lists(
        st.tuples(WORDS, st.none() | st.tuples(COORDINATES, COORDINATES, COORDINATES)),
        min_size=1,
        max_size=4,
        unique_by=lambda point: point[0],
    )
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_back_or_told(tmp_path_factory, suffix, points):
    needs(suffix)
    path = tmp_path_factory.mktemp("points") / f"points{suffix}"
    written = LandmarkSet(
        tuple(Landmark(name, position, "defined" if position else "missing") for name, position in points), "points"
    )
    lost = len(written.missing) == len(written) or (written.missing and suffix in (".landmarkAscii", ".txt"))
    if lost and suffix not in (".pts", ".tps"):
        with pytest.raises(InputError, match=r"without a position \(.*\); write \.fcsv or \.csv"):
            write_landmarks(written, path)
        assert not path.exists()
        return
    kinds = [note.kind for note in write_landmarks(written, path)]
    read = read_landmarks(path)
    assert read.name == "points"
    keeps_missing = suffix in (".pts", ".tps")
    assert (NoteKind.LANDMARK_FILE in kinds) == (suffix == ".dcm" or bool(written.missing and not keeps_missing))
    expected = [landmark for landmark in written if landmark.is_defined or keeps_missing]
    np.testing.assert_allclose(read.positions, LandmarkSet(tuple(expected)).positions, rtol=1e-6, atol=1e-9)
    assert [landmark.status for landmark in read] == [landmark.status for landmark in expected]
    if NoteKind.NAMES not in kinds:
        assert [landmark.name for landmark in read] == [landmark.name for landmark in expected]


@pytest.mark.parametrize("suffix", NEW)
def test_files_hold_their_own_frame_and_tell_what_they_do_not_state(tmp_path, suffix):
    needs(suffix)
    path = tmp_path / f"points{suffix}"
    write_landmarks(TWO, path)
    text = path.read_bytes().decode(errors="replace")
    if suffix != ".dcm":
        assert ("-1.25" in text) == (suffix in (".tag", ".pts"))
    told = [note.text for note in read_landmarks(path).notes if note.kind == NoteKind.ORIENTATION]
    assert len(told) == (suffix in FRAMELESS) and all(f"taken as {FRAMELESS[suffix]} mm" in words for words in told)


@pytest.mark.parametrize(("suffix", "first"), [(".mps", "0"), (".ants.csv", "AC"), (".txt", "1"), (".tps", "1")])
def test_names_that_a_format_does_not_keep_are_numbers_and_told(tmp_path, suffix, first):
    path = tmp_path / f"points{suffix}"
    (note,) = write_landmarks(TWO, path)
    assert note.kind == NoteKind.NAMES
    read = read_landmarks(path)
    assert read[0].name == first
    assert write_landmarks(read, path) == () or suffix == ".ants.csv"
    assert read_landmarks(path).landmarks == read.landmarks


@pytest.mark.parametrize("suffix", [".mps", ".ants.csv"])
def test_a_missing_landmark_leaves_its_number_free(tmp_path, suffix):
    points = [
        Landmark(str(n), (n, 0.0, 0.0) if n != 4 else None, "defined" if n != 4 else "missing") for n in (3, 4, 5)
    ]
    path = tmp_path / f"points{suffix}"
    (note,) = write_landmarks(LandmarkSet(tuple(points)), path)
    assert note.text == "landmarks without a position are left out: 4"
    assert [landmark.name for landmark in read_landmarks(path)] == ["3", "5"]


def test_blanks_in_names_become_one_word_in_pts_and_are_told(tmp_path):
    spaced = LandmarkSet((Landmark("head tip", (1.0, 2.0, 3.0)), Landmark("gone", None, "missing")))
    (note,) = write_landmarks(spaced, tmp_path / "a.pts")
    assert (note.kind, note.text) == (NoteKind.NAMES, "blanks within names are written as _")
    read = read_landmarks(tmp_path / "a.pts").landmarks
    assert read == (Landmark("head_tip", (1, 2, 3)), Landmark("gone", None, "missing"))


def mitk(points: str, geometry: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<point_set_file><file_version>0.1</file_version><point_set>'
        f"<time_series><time_series_id>0</time_series_id>{geometry}{points}</time_series></point_set></point_set_file>"
    )


POINT = "<point><id>7</id><specification>0</specification><x>1</x><y>2</y><z>3</z></point>"
TURNED = (
    '<Geometry3D ImageGeometry="false" FrameOfReferenceID="0"><IndexToWorld type="Matrix3x3" m_0_0="0" m_0_1="-2" '
    'm_0_2="0" m_1_0="1" m_1_1="0" m_1_2="0" m_2_0="0" m_2_1="0" m_2_2="1"/><Offset type="Vector3D" x="10" y="20" '
    'z="30"/><Bounds><Min type="Vector3D" x="0" y="0" z="0"/><Max type="Vector3D" x="1" y="1" z="1"/></Bounds>'
    "</Geometry3D>"
)
AMIRA = (
    '# Avizo 3D ASCII 3.0\n\n\ndefine Markers 2\n\nParameters {{\n    {}\n    ContentType "LandmarkSet"\n}}\n\n'
    "Markers {{ float[3] Coordinates }} @1\n{}\n# Data section follows\n@1\n1.5e+00 2 3 \n4 5 6\n\n{}"
)
TAG = "MNI Tag Point File\nVolumes = {};\n% a comment\n\nPoints =\n{}"
COUNTED = (
    ("a.txt", "point\n{}\n1 2 3\n"),
    ("a.pts", "Version 1.0\n{}\nA 1 2 3\n"),
    ("a.tps", "LM3={}\n1 2 3\n"),
)
TRANSFORMIX = (
    "Point\t0\t; InputIndex = [ 1 2 3 ]\t; InputPoint = [ 1.0 2.0 3.0 ]\t; OutputIndexFixed = [ 4 5 6 ]\t; "
    "OutputPoint = [ 4.5 5.5 6.5 ]\t; Deformation = [ 3.5 3.5 3.5 ]\n"
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.mps", mitk(POINT), [("7", (1, 2, 3))]),
        ("a.mps", mitk(POINT, TURNED), [("7", (6, 21, 33))]),
        ("a.mps", f"<point_set_file><point_set>{POINT}</point_set></point_set_file>", [("7", (1, 2, 3))]),
        (
            "a.tag",
            TAG.format(1, ' 1 2 3 "AC"\n 4 5 6 1.0 -1 -1 "a;b \\"c\\" \\xc3\\xbc";\n'),
            [("AC", (-1, -2, 3)), ('a;b "c" ü', (-4, -5, 6))],
        ),
        ("a.tag", TAG.format(1, " 1 2 3\n 4 5 6 ;\n"), [("1", (-1, -2, 3)), ("2", (-4, -5, 6))]),
        ("a.tag", 'MNI Tag Point File\nVolumes=1;\nPoints = 1 2 3 "AC"\n;\n', [("AC", (-1, -2, 3))]),
        ("a.tag", TAG.format(2, ' 1 2 3 9 9 9 "AC";'), [("AC", (-1, -2, 3))]),
        ("a.landmarkAscii", AMIRA.format("NumSets 1,", "", ""), [("1", (1.5, 2, 3)), ("2", (4, 5, 6))]),
        (
            "a.landmarkASCII",
            AMIRA.format(
                'Units {\n Coordinates "mm"\n}\nNumSets 2,',
                "Markers { float[3] Coordinates2 } @2",
                "@2\n7 8 9\n7 8 9\n",
            ),
            [("1", (1.5, 2, 3)), ("2", (4, 5, 6))],
        ),
        ("a.pts", "Version 1.0\n2\nS000 1 2 3\nS001  9999 9999 9999\n", [("S000", (-1, -2, 3)), ("S001", None)]),
        ("a.pts", "Version 1.0\r\n1\r\nV 4 1 2 3\r\n", [("V 4", (-1, -2, 3))]),
        ("a.txt", "point\n2\n1 2 3\n4 5 6\n", [("1", (1, 2, 3)), ("2", (4, 5, 6))]),
        ("a.txt", TRANSFORMIX, [("1", (4.5, 5.5, 6.5))]),
        ("a.tps", "LM3=2\n1 2 3\nNA NA NA\nIMAGE=a.jpg\nID=0\nSCALE=0.5\n", [("1", (0.5, 1, 1.5)), ("2", None)]),
        ("a.tps", "lm3=1\n1 2 3\nCURVES=1\nPOINTS=1\n4 5 6\n", [("1", (1, 2, 3))]),
        ("a.csv", "x,y,z,t\n1,2,3,0\n4,5,6,0\n", [("1", (1, 2, 3)), ("2", (4, 5, 6))]),
        ("a.csv", "x,y,z,t,label\n1,2,3,0,12\n", [("12", (1, 2, 3))]),
        ("a.csv", "x,y,z,t,label,comment\n1,2,3,0,1,nan\n4,5,6,0,2,nan\n", [("1", (1, 2, 3)), ("2", (4, 5, 6))]),
        (
            "a.csv",
            "x,y,z,t,label,comment\n1,2,3,0,1,beak\n4,5,6,0,2,breast\n",
            [("beak", (1, 2, 3)), ("breast", (4, 5, 6))],
        ),
        ("a.csv", "x,y,z,t,label,comment\n1,2,3,0,1,seen\n4,5,6,0,2,seen\n", [("1", (1, 2, 3)), ("2", (4, 5, 6))]),
    ],
)
def test_files_as_other_programs_write_them_are_read(tmp_path, name, text, expected):
    read = read_landmarks(write(tmp_path, text, name))
    assert [(landmark.name, landmark.position) for landmark in read] == expected
    assert all(landmark.is_defined or landmark.status == "missing" for landmark in read)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.tag", TAG.format(2, ' 1 2 3 9 9 9 "AC";'), "points of two volumes: those of the first are used"),
        ("a.landmarkAscii", AMIRA.format("NumSets 2,", "", ""), "several sets of points: the first is used"),
        ("a.tps", "LM3=1\n1 2 3\nCURVES=1\nPOINTS=1\n4 5 6\n", "curves besides: they are left out"),
        (
            "a.mrk.json",
            '{"markups": [{"type": "ROI", "name": "R", "controlPoints": [{"label": "R-1", "position": [0, 0, 0]}]}, '
            '{"type": "Fiducial", "controlPoints": [{"label": "AC", "position": [1, 2, 3]}]}, {"type": "Plane"}]}',
            "holds shapes besides (ROI R, Plane): their control points are left out",
        ),
    ],
)
def test_what_is_left_out_is_told(tmp_path, name, text, words):
    read = read_landmarks(write(tmp_path, text, name))
    (note,) = [note for note in read.notes if note.kind == NoteKind.LANDMARK_FILE]
    assert words in note.text
    assert len(read) == (2 if "Avizo" in text else 1)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.mps", "hello", "not whole XML"),
        ("a.mps", mitk(POINT)[:-30], "not whole XML"),
        ("a.mps", "<points/>", "no point set of MITK"),
        ("a.mps", mitk(""), "holds no landmarks"),
        ("a.mps", '<!DOCTYPE a [<!ENTITY b "c">]>' + mitk(POINT), "declares a document type"),
        ("a.mps", mitk(POINT.replace("<y>2", "<y>two")), r"position of point 7: its y is 'two'"),
        ("a.mps", mitk(POINT.replace("<y>2</y>", "")), r"position of point 7: its y is ''"),
        ("a.mps", mitk(POINT, TURNED.replace('m_1_1="0"', "")), "geometry that cannot be read"),
        ("a.mps", mitk(f"{POINT}</time_series><time_series>{POINT}"), "points of 2 times or sets"),
        ("a.tag", "1 2 3", "does not begin with MNI Tag Point File"),
        ("a.tag", TAG.format(3, " 1 2 3;"), "states no volumes and points"),
        ("a.tag", TAG.format(1, ' 1 2 3 "AC"\n 4 5 6 "PC"\n'), "cut short"),
        ("a.tag", TAG.format(1, ' 1 2 3 "AC"\n 4 5 "PC";'), "no position of 1 volume, .* in row 2"),
        ("a.tag", TAG.format(2, ' 1 2 3 "AC";'), "no position of 2 volumes, .* in row 1"),
        ("a.tag", TAG.format(1, ' 1 2 3 "AC\n 4 5 6 "PC";'), "in row 1"),
        ("a.tag", TAG.format(1, " 1 x 3;"), "of '1' in row 1: its y is 'x'"),
        ("a.landmarkAscii", "1 2 3", "no ASCII file of Amira"),
        ("a.landmarkAscii", "# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n", "no ASCII file of Amira"),
        ("a.landmarkAscii", "# AmiraMesh 3D ASCII 2.0\ndefine Lattice 2 2 2\n", "defines no landmarks"),
        ("a.landmarkAscii", AMIRA.format("NumSets 1,", "", "7 8 9\n"), "announces 2 landmarks and holds 3"),
        ("a.landmarkAscii", AMIRA.format('Units { Coordinates "m" }', "", ""), "coordinates in 'm'; convert"),
        ("a.landmarkAscii", AMIRA.format(f"TransformationMatrix 2{' 0 0 0 0 1' * 3}", "", ""), "transform of its own"),
        ("a.pts", "version: 1\nn_points: 68\n{\n1 2\n}\n", "Version 1.0 and a count"),
        ("a.pts", "Version 1.0\n2\nS000 1 2 3\n", "announces 2 landmarks and holds 1"),
        ("a.pts", "Version 1.0\n1\nS000 1 2\n", "of 'S000'|position of"),
        ("a.txt", "index\n1\n1 2 3\n", "holds voxel indices"),
        ("a.txt", "1\n1 2 3\n", "holds voxel indices"),
        ("a.txt", "read me\n", "word point"),
        ("a.txt", "point\n2\n1 2 3\n", "announces 2 landmarks and holds 1"),
        ("a.txt", "point\n1\n1 2\n", "no three numbers as the position of point 1"),
        ("a.txt", TRANSFORMIX.replace("OutputPoint", "Output"), "no OutputPoint in row 1"),
        *((name, text.format("9" * 5000), "announces 999999999 landmarks and holds 1") for name, text in COUNTED),
        ("a.tps", "LM=2\n1 2\n3 4\n", "holds 2D landmarks"),
        ("a.tps", "hello", "holds no landmarks and no LM3="),
        ("a.tps", "LM3=1\n1 2 3\nID=0\nLM3=1\n1 2 3\nID=1\n", "several specimens"),
        ("a.tps", "LM3=2\n1 2 3\nID=0\n", "announces 2 landmarks and holds 1"),
        ("a.tps", "LM3=1\n1 NA 3\n", "position of landmark 1: its y is 'NA'"),
        ("a.tps", "LM3=1\n1 2 3\nSCALE=0\n", "the scale '0'"),
        ("a.csv", "x,y,z,t\n1,2,3,4\n", "the time t = 4 in row 1"),
        ("a.dcm", "hello", "cut short or damaged"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_a_sentence_that_names_it(tmp_path, name, text, words):
    needs(Path(name).suffix)
    path = write(tmp_path, text, name)
    with pytest.raises(InputError, match=words) as caught:
        read_landmarks(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv", ".csv", *NEW])
@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path_factory, suffix, data):
    needs(suffix)
    path = tmp_path_factory.mktemp("damaged") / f"points{suffix}"
    content = bytearray(whole(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\n", b'"', b",", b"NA", b"-", b"<", b"=", b"@2", b";"])
        )
    path.write_bytes(content)
    try:
        read = read_landmarks(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert len(read) >= 1 and np.isfinite([point.position for point in read if point.is_defined]).all()


def test_vtk_reads_the_tag_points_that_are_written_and_the_other_way_round(tmp_path):
    vtk = pytest.importorskip("vtk", reason="needs slicer-core")
    named = LandmarkSet((replace(TWO[0], name='the "first"; Größe \\ 1'), TWO[1]))
    write_landmarks(named, tmp_path / "a.tag")
    reader = vtk.vtkMNITagPointReader()
    reader.SetFileName(str(tmp_path / "a.tag"))
    reader.Update()
    points, labels = reader.GetOutput(), reader.GetLabelText()
    ras = named.positions * [-1, -1, 1]
    assert [points.GetPoint(n) for n in range(points.GetNumberOfPoints())] == [tuple(row) for row in ras]
    assert [labels.GetValue(n) for n in range(2)] == [landmark.name for landmark in named]
    writer = vtk.vtkMNITagPointWriter()
    writer.SetInputConnection(reader.GetOutputPort())
    writer.SetFileName(str(tmp_path / "b.tag"))
    writer.Write()
    assert read_landmarks(tmp_path / "b.tag").landmarks == named.landmarks


def test_transformix_takes_the_points_that_are_written_and_its_output_is_read(tmp_path):
    itk = pytest.importorskip("itk", reason="needs itk-elastix")
    pytest.importorskip("itk.itkTransformixFilterPython", reason="needs itk-elastix")
    write_landmarks(TWO, tmp_path / "points.txt")
    image = itk.image_from_array(np.zeros((8, 8, 8), np.float32))
    shift = itk.ParameterObject.New()
    shift.AddParameterMap(
        {
            "Transform": ["TranslationTransform"], "NumberOfParameters": ["3"], "TransformParameters": [*"123"],
            "InitialTransformParameterFileName": ["NoInitialTransform"], "HowToCombineTransforms": ["Compose"],
            "FixedImageDimension": ["3"], "MovingImageDimension": ["3"], "UseDirectionCosines": ["true"],
            "Size": [*"888"], "Index": [*"000"], "Spacing": [*"111"], "Origin": [*"000"], "Direction": [*"100010001"],
            "FixedInternalImagePixelType": ["float"], "MovingInternalImagePixelType": ["float"],
            "ResampleInterpolator": ["FinalLinearInterpolator"], "Resampler": ["DefaultResampler"],
            "DefaultPixelValue": ["0"], "ResultImageFormat": ["mha"], "ResultImagePixelType": ["float"],
        }
    )  # fmt: skip
    itk.transformix_filter(
        image, shift, fixed_point_set_file_name=str(tmp_path / "points.txt"), output_directory=str(tmp_path)
    )
    moved = read_landmarks(tmp_path / "outputpoints.txt")
    np.testing.assert_allclose(moved.positions, TWO.positions + SHIFT, atol=1e-5)
    assert [landmark.name for landmark in moved] == ["1", "2"]


def test_antspyx_takes_the_table_that_is_written(tmp_path):
    ants = pytest.importorskip("ants", reason="needs antspyx")
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    write_landmarks(TWO, tmp_path / "points.ants.csv")
    shift = ants.create_ants_transform(transform_type="AffineTransform", dimension=3, translation=(1, 2, 3))
    ants.write_transform(shift, str(tmp_path / "shift.mat"))
    table = pandas.read_csv(tmp_path / "points.ants.csv")
    ants.apply_transforms_to_points(3, table, [str(tmp_path / "shift.mat")]).to_csv(tmp_path / "moved.csv", index=False)
    np.testing.assert_allclose(read_landmarks(tmp_path / "moved.csv").positions, TWO.positions + SHIFT, atol=1e-4)


def test_convert_writes_another_format_and_says_what_it_cannot_hold(tmp_path, capsys):
    named = LandmarkSet((replace(TWO[0], locked=True), TWO[1], Landmark("gone", None, "missing")), "head")
    write_landmarks(named, tmp_path / "head.mrk.json")
    assert main(["convert", str(tmp_path / "head.mrk.json"), str(tmp_path / "head.tag")]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'head.tag'}: 2 landmarks\n"
    assert printed.err == "note: landmarks without a position are left out: gone\n"
    assert read_landmarks(tmp_path / "head.tag").landmarks == TWO.landmarks
    assert main(["convert", str(tmp_path / "head.tag"), str(tmp_path / "head.docx")]) == 2
    assert capsys.readouterr().err.endswith(".txt, .tps or .dcm\n")


def test_a_template_has_the_notes_of_its_landmark_file(case):
    write_landmarks(read_landmarks(case / "template.mrk.json"), case / "template.landmarkAscii")
    template, _ = read_template(case / "template.nii.gz", case / "template.landmarkAscii")
    assert "template: the landmark file says neither LPS nor RAS: taken as LPS mm" in template.note
    write_landmarks(read_landmarks(case / "template.mrk.json"), case / "template.pts")
    template, _ = read_template(case / "template.nii.gz", case / "template.pts")
    assert "taken as RAS mm" in template.note


def test_points_of_another_frame_than_the_file_is_taken_in_are_told_with_the_note(case):
    lps = read_landmarks(case / "template.mrk.json").positions
    path = write(
        case, "Version 1.0\n2\n" + "".join(f"S00{n} {x} {y} {z}\n" for n, (x, y, z) in enumerate(lps)), "t.pts"
    )
    with pytest.raises(InputError, match=r"lie outside the volume .* taken as RAS mm"):
        read_template(case / "template.nii.gz", path)


def test_other_files_of_a_folder_are_no_landmarks(tmp_path):
    needs(".dcm")
    pydicom = pytest.importorskip("pydicom")
    for suffix in [".mrk.json", ".fcsv", ".csv", *NEW]:
        write_landmarks(TWO, tmp_path / f"points{suffix}")
    assert all(is_landmark_file(file) for file in tmp_path.iterdir())
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.Modality = pydicom.uid.MRImageStorage, "1.2", "MR"
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    others = [write(tmp_path, "read me", name) for name in ("README.txt", ".hidden.fcsv", "notes.docx")]
    assert not any(is_landmark_file(file) for file in (*others, tmp_path / "image.dcm", tmp_path, tmp_path / "no.fcsv"))
