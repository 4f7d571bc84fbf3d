"""Every row of a landmark table is a point, or the file is refused with a sentence that names the row and the field."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks

COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
HEADER = f"# Markups fiducial file version = 4.10\n# CoordinateSystem = LPS\n{COLUMNS}\n"
OTHER = "# columns = label,x,y,z,sel,vis\n"
STATED, TOP = "# coordinate_system = RAS\n", "name,x,y,z\nA,1,2,3\n"
NODE = "vtkMRMLScalarVolumeNode1"


def fcsv(*rows: str, header: str = HEADER) -> str:
    """A file whose rows hold these texts after the position, the pose and the flags."""
    return header + "".join(f"p_{n},{n},2,3,0,0,0,1,1,1,0,{row}\n" for n, row in enumerate(rows))


def read(tmp_path, text: str, name: str = "points.fcsv") -> LandmarkSet:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return read_landmarks(tmp_path / name)


@pytest.mark.data
def test_labels_of_old_slicer_that_begin_with_a_quote_are_each_a_point(data):
    found = read_landmarks(data / "faults/fcsv_label_starts_with_quote/quote_start.fcsv")
    names = ["head tip", "head centre", "head-body interface", "body-tail centre", "tail tip"]
    assert [landmark.name for landmark in found] == [f'"{name}' for name in names]
    assert found[0].position == (-22.9091, -44.1515, 9.0455)


@pytest.mark.parametrize(
    ("texts", "name", "description"),
    [
        (f"AC,seen,{NODE}", "AC", "seen"),
        (f'"AC,,{NODE}', '"AC', ""),
        (f'"AC" left,,{NODE}', '"AC" left', ""),
        (f'AC,the "first",{NODE}', "AC", 'the "first"'),
        (f'"AC, left","seen, twice",{NODE}', "AC, left", "seen, twice"),
        (f'"the ""AC""",,{NODE}', 'the "AC"', ""),
        (f"AC,seen,{NODE},2", "AC", "seen"),
        ("AC,seen", "AC", "seen"),
        ("AC", "AC", ""),
        (f"AC,seen,{NODE},2,0", "AC", "seen"),
        ("A\x85B\u2028C,,", "A\x85B\u2028C", ""),
    ],
)
def test_a_row_of_fcsv_is_a_point_whatever_its_quotes(tmp_path, texts, name, description):
    found = read(tmp_path, fcsv(texts, "PC,,"))
    assert [landmark.name for landmark in found] == [name, "PC"]
    assert found[0] == Landmark(name, (0, 2, 3), description=description)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["AC,,", f"PC, left,,{NODE}"], r"15 fields in row 2 and 14 columns; put a text with a comma"),
        (["AC,seen, twice,"], r"15 fields in row 1 and 14 columns"),
        (["AC,,,"], r"remove the comma at its end"),
        ([f"AC,,{NODE},7"], r"15 fields in row 1"),
        ([f"AC,,{NODE},2,0,0"], r"17 fields in row 1"),
        (['AC,,\n"PC, left,,'], r"damaged in row 2"),
    ],
)
def test_a_row_of_fcsv_with_other_fields_than_columns_is_refused(tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, fcsv(*rows))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,2,x,3,0,0,0,1,1,1,0,AC,,", r"of 'AC' in row 2: its y is 'x'"),
        ("1,2,1_0,3,0,0,0,1,1,1,0,AC,,", r"of 'AC' in row 2: its y is '1_0'"),
        ("1,2,,3,0,0,0,1,1,1,0,AC,,", r"of 'AC' in row 2: its y is ''"),
        ("1,2,3,nan,0,0,0,1,1,1,0,AC,,", r"of 'AC' in row 2 that is not finite, its z"),
        ("1,2,3,4,0,0,0,1,1,1,0", r"has 11 fields in row 2 and 14 columns; correct the row"),
        ("1,2,34,0,0,0,1,1,1,0,AC,,", r"has 'AC' as lock in row 2"),
        ("1,2,3,4,0,0,0,1,1,1,AC,,,", r"has 'AC' as lock in row 2; give a number"),
    ],
)
def test_a_wrong_number_of_fcsv_is_named(tmp_path, row, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, f"{fcsv('PC,,')}{row}\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_fcsv_that_a_spreadsheet_saved_is_read_right(tmp_path, end):
    fill = "," * 13
    lines = [
        f"# Markups fiducial file version = slicer-core-5.11.0.6{fill},,",
        f"# CoordinateSystem = LPS{fill},,",
        f"{COLUMNS},,",
        f'1,1,2,3,0,0,0,1,1,1,0,"AC, left",seen,{NODE},2,0',
        f"2,1,2,3,0,0,0,1,1,1,1,PC,,{NODE},3,0",
        f"{fill},,",
    ]
    found = read(tmp_path, "\ufeff" + end.join(lines) + end)
    assert found.landmarks == (
        Landmark("AC, left", (1, 2, 3), description="seen"),
        Landmark("PC", None, "missing", locked=True),
    )


def test_the_header_of_fcsv_is_read_however_it_is_spelled(tmp_path):
    text = fcsv("AC,,", header=f"#Markups fiducial file version=4.11\n# coordinateSystem: lps\n{COLUMNS}\n")
    assert read(tmp_path, text)[0].position == (0, 2, 3)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.fcsv", fcsv("AC,,") + fcsv("PC,,", header=HEADER.replace("LPS", "RAS"))),
        ("a.fcsv", fcsv("AC,,") + fcsv("PC,,", header=HEADER.replace("4.10", "5.6"))),
        ("a.fcsv", fcsv("AC,,") + OTHER + "PC,1,2,3,1,1\n"),
        ("a.fcsv", OTHER + "AC,1,2,3,1,1\n" + fcsv("PC,,", header=HEADER.replace(f"{COLUMNS}\n", ""))),
        ("a.csv", STATED + STATED.replace("RAS", "LPS") + TOP),
    ],
)
def test_two_files_joined_in_one_are_refused_where_their_headers_contradict(tmp_path, name, text):
    with pytest.raises(InputError, match="two files joined in one"):
        read(tmp_path, text, name)


def test_headers_that_say_the_same_twice_are_read(tmp_path):
    assert len(read(tmp_path, fcsv("AC,,") + fcsv("PC,,", header=HEADER.replace("LPS", "1")))) == 2
    assert read(tmp_path, STATED + STATED.replace("RAS", "ras mm") + TOP, "a.csv")[0].position == (-1, -2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name,x,y,z\n"A,1,2,3\n"B,4,5,6\n', "quotes of row 1 do not close"),
        ('name,x,y,z\nA,1,2,3\n"B,4\n",5,6\n', "quotes of row 2 do not close"),
        ('name,x,"y,z\n', "quotes of its header"),
        ("name,x,y,z\nA, left,1,2,3\n", "5 fields in row 1 and 4 columns"),
        ("name,x,y,z\nA,1,2,3\nB,1,2,3,\n", "5 fields in row 2 and 4 columns"),
        ("name,x,y,z\nA,1,2,3\nB,1,two,3\n", "of 'B' in row 2: its y is 'two'"),
        ("name,x,y,z,expected_error_mm\nA,1,2,3,far\n", "'far' as the score expected_error_mm of 'A' in row 1"),
        ("name,x,y,z,x\nA,1,2,3,4\n", "several columns 'x'"),
        ("name,x,y,z,unit\nA,1,2,3,mm\nB,1,2,3,cm\n", "coordinates in 'cm'; convert them to mm"),
        ("# units: cm\nname,x,y,z\nA,1,2,3\n", "coordinates in 'cm'"),
        ("name,l,p,s,x,y,z\nA,1,2,3,9,9,9\n", "different positions of 'A' in row 1 in x, y, z and l, p, s"),
        ("name,l,p,s,x,y,z,coordinate_system\nA,1,2,3,1,2,3,RAS\n", "different positions of 'A'"),
        ("# coordinate_system = RAS\nname,l,p,s\nA,1,2,3\n", "columns l, p, s and states RAS for 'A'"),
        (f"{STATED}name,x,y,z,coordinate_system\nA,1,2,3,LPS mm\n", "RAS at its top and LPS at 'A' in row 1"),
    ],
)
def test_a_row_of_a_table_is_a_point_or_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, text, "points.csv")


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        (TOP, True),
        ("name,x,y,z,coordinate_system\nA,1,2,3,LPS\nB,1,2,3,\n", True),
        ("name,x,y,z,coordinate_system\nA,1,2,3,LPS\n", False),
        ("# coordinate_system = LPS\n" + TOP, False),
        ("name,x,y,z,l,p,s\nA,1,2,3,1,2,3.004\n", False),
        ("name,x,y,z,r,a,s\nA,1,2,3,-1,-2,3\n", False),
        ("x,y,z,t,label,comment\n1,2,3,0,1,A\n", False),
    ],
)
def test_a_table_without_a_frame_is_lps_and_told(tmp_path, text, is_told):
    found = read(tmp_path, text, "points.csv")
    assert found[0].position == (1, 2, 3)
    assert ["neither LPS nor RAS: taken as LPS mm" in note.text for note in found.notes] == [True] * is_told


def test_a_table_that_a_spreadsheet_filled_up_is_read(tmp_path):
    text = "# coordinate_system = RAS,,,,\nname,x,y,z,,\nA,1,2,3,,\n,,,,,\n"
    assert read(tmp_path, text, "points.csv").landmarks == (Landmark("A", (-1, -2, 3)),)


@pytest.mark.parametrize("suffix", [".fcsv", ".csv", ".ants.csv"])
def test_files_of_this_package_state_their_frame(tmp_path, suffix):
    write_landmarks(LandmarkSet((Landmark("A", (1, 2, 3)),)), tmp_path / f"points{suffix}")
    assert read_landmarks(tmp_path / f"points{suffix}").notes == ()


@pytest.mark.parametrize("suffix", [".fcsv", ".csv"])
def test_line_breaks_within_texts_are_written_as_spaces(tmp_path, suffix):
    path = tmp_path / f"points{suffix}"
    write_landmarks(LandmarkSet((Landmark("A\nB", (1, 2, 3), description="one\r\ntwo"),)), path)
    assert read_landmarks(path).landmarks == (Landmark("A B", (1, 2, 3), description="one two"),)


LABELS = st.text(st.sampled_from('",a #'), max_size=6)


@given(rows=st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=5))
@settings(deadline=None, max_examples=100)
def test_labels_that_are_written_as_they_are_give_a_point_each_or_a_refusal(tmp_path_factory, rows):
    text = fcsv(*(f"{label},{description}," for label, description in rows))
    try:
        found = read(tmp_path_factory.mktemp("rows"), text)
    except InputError as error:
        assert "row" in str(error)
    else:
        assert found.positions.tolist() == [[n, 2, 3] for n in range(len(rows))]


@pytest.mark.parametrize("position", ["123", [True, 2, 3], ["1_0", 2, 3], {"x": 1}])
def test_a_position_in_json_is_a_list_of_three_numbers(tmp_path, position):
    text = json.dumps({"markups": [{"controlPoints": [{"label": "A", "position": position}]}]})
    with pytest.raises(InputError, match="no three numbers as the position of 'A', control point 1"):
        read(tmp_path, text, "points.mrk.json")
