"""The check that every volume passes, and the way of a note from the header to every output."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepfeatures.cli.volume_notes import tell_notes
from deepfeatures.data.geometry import largest_distance_mm, size_note
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.errors import InputError
from deepfeatures.io.header_notes import header_notes
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.nifti import read_header
from deepfeatures.io.score_description import describe, with_description
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher

VOXELS = torch.arange(24.0).reshape(2, 3, 4)
SHEARED = np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]])
nibabel = pytest.importorskip("nibabel")


@pytest.mark.parametrize(
    "voxels",
    [VOXELS.numpy(), VOXELS.double(), VOXELS.half(), VOXELS > 3, VOXELS.int(), VOXELS.numpy().astype(np.uint16)],
    ids=["numpy", "float64", "float16", "bool", "int32", "uint16"],
)
def test_numbers_of_every_real_type_become_float32(voxels):
    volume = Volume(voxels, origin=[1, 2, 3], spacing=(1, 1, 2), direction=tuple(np.eye(3).ravel()))
    assert volume.voxels.dtype == torch.float32
    assert torch.equal(volume.voxels, torch.as_tensor(voxels).float())
    np.testing.assert_array_equal(volume.to_world([[1, 1, 1]]), [[2, 3, 5]])


def test_a_float32_tensor_is_not_copied():
    assert Volume(VOXELS).voxels.data_ptr() == VOXELS.data_ptr()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"voxels": torch.zeros(3, 4)}, "voxels of shape 3 × 4"),
        ({"voxels": torch.zeros(1, 3, 4, 5)}, "voxels of shape 1 × 3 × 4 × 5"),
        ({"voxels": torch.zeros(3, 0, 4)}, "each 1 or more"),
        ({"voxels": torch.zeros(2, 3, 4, dtype=torch.complex64)}, "complex"),
        ({"voxels": [["a"]]}, "not numbers"),
        ({"origin": (np.nan, 0, 0)}, "origin"),
        ({"origin": (0, 0)}, "origin"),
        ({"origin": None}, "origin"),
        ({"spacing": (1, 0, 1)}, "above 0"),
        ({"spacing": (1, -1, 1)}, "above 0"),
        ({"spacing": 1.0}, "spacing"),
        ({"spacing": (1, np.inf, 1)}, "spacing"),
        ({"direction": SHEARED}, "right angles"),
        ({"direction": 2 * np.eye(3)}, "unit vectors"),
        ({"direction": np.eye(2)}, "3 × 3"),
        ({"direction": np.full((3, 3), np.nan)}, "3 × 3"),
    ],
)
def test_what_is_no_volume_is_refused_in_one_sentence(given, message):
    with pytest.raises(InputError, match=message) as caught:
        Volume(**{"voxels": VOXELS, "name": "knee", **given})
    assert str(caught.value).startswith("knee ")
    assert "; " in str(caught.value)


@pytest.mark.parametrize("role", ["template", "target"])
def test_voxels_that_are_not_finite_are_refused_before_anything_is_placed(role):
    volumes = {name: Volume(torch.rand(24, 24, 24), name=name) for name in ("template", "target")}
    volumes[role].voxels[3, 3, 3] = float("nan")
    landmarks = LandmarkSet((Landmark("AC", (10.0, 10.0, 10.0)),))
    with pytest.raises(InputError, match=f"{role} holds 1 voxel that is not finite"):
        Matcher(network="mind").match(volumes["template"], landmarks, volumes["target"])


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50))
def test_the_largest_distance_of_two_grids_is_that_of_a_shift(x, y, z):
    first = np.column_stack([np.eye(3), np.zeros(3)])
    second = np.column_stack([np.eye(3), [x, y, z]])
    assert largest_distance_mm(first, second, (5, 6, 7)) == pytest.approx(np.linalg.norm([x, y, z]))


@pytest.mark.parametrize(
    ("edges", "is_told"),
    [
        ((180, 220, 160), False),
        ((500, 500, 1900), False),  # a whole body
        ((1800, 2200, 1600), True),  # a head in micrometres by tens
        ((0.18, 0.22, 0.16), True),  # a head in metres
        ((12, 20, 14), False),  # a mouse's head
        ((0.9, 0.9, 0.4), False),  # a block under a microscope
    ],
)
def test_a_size_that_no_patient_has_is_told(edges, is_told):
    notes = size_note(np.array(edges, float))
    assert [note.kind for note in notes] == [NoteKind.UNIT] * is_told


def save_nifti(path, sform_code=1, qform_code=1, move=(0.0, 0.0, 0.0), unit="mm", edge=1.0):
    """A NIfTI file whose sform lies `move` mm (RAS) beside its qform."""
    image = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 200, (8, 9, 10), np.int16), None)
    matrix = np.diag([edge, edge, edge, 1.0])
    image.set_qform(matrix, qform_code)
    matrix[:3, 3] = move
    image.set_sform(matrix, sform_code)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 2), (3, 4), (0, 1), (2, 0), (1, 0)])
@pytest.mark.parametrize("distance", [0.3, 0.49, 0.51, 4.0])
def test_matrices_that_differ_by_more_than_half_a_voxel_are_told(tmp_path, codes, distance):
    path = save_nifti(tmp_path / "a.nii", *codes, move=(distance, 0, 0))
    volume = read_volume(path)
    uses_sform = codes[0] == 1 or codes[1] == 0
    assert volume.origin[0] == pytest.approx(-distance if uses_sform else 0.0, abs=1e-5)
    told = [note for note in volume.notes if note.kind == NoteKind.MATRICES]
    assert len(told) == (all(codes) and distance > 0.5)
    for note in told:
        assert f"disagree by up to {distance:.1f} mm: the {'sform' if uses_sform else 'qform'} is used" in note.text
    assert header_notes(path) == volume.notes


def test_an_orientation_that_is_not_given_is_told(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", 0, 0)
    (note,) = read_volume(path).notes
    assert note.kind == NoteKind.ORIENTATION
    assert "left and right may be exchanged" in note.text


def test_notes_of_a_header_never_fail(tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.txt", "gone.nii"):
        (tmp_path / name).write_bytes(b"\x1f\x8b damaged") if name != "gone.nii" else None
        header_notes(tmp_path / name)


texts = st.text(st.characters(blacklist_characters=";|", blacklist_categories=("C", "Z")), min_size=1)


@given(st.lists(texts, max_size=3), st.text(), st.sampled_from(["defined", "missing"]))
def test_a_points_note_survives_its_description(notes, description, status):
    position = (1.0, 2.0, 3.0) if status == "defined" else None
    landmark = Landmark("AC", position, status, description, note="; ".join(notes), expected_error_mm=1.5)
    plain = Landmark("AC", position, status)
    assert with_description(plain, describe(landmark)) == landmark


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv", ".csv"])
def test_a_points_note_survives_every_file(tmp_path, suffix):
    landmark = Landmark("AC", (1.0, 2.0, 3.0), description="by A. B.", note="knee: a; knee: b", expected_error_mm=2.0)
    write_landmarks(LandmarkSet((landmark,)), tmp_path / f"a{suffix}")
    assert read_landmarks(tmp_path / f"a{suffix}")[0] == landmark


def test_notes_of_template_and_target_reach_standard_error_report_and_points(tmp_path, fake_matcher, place, capsys):
    path = save_nifti(tmp_path / "knee.nii.gz", 0, 0, unit="unknown")
    assert place(str(path), "--report", "report.json") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("note: knee: the file does not say how its axes lie")]
    assert [line for line in lines if line.startswith("note: knee: the file gives no unit")]
    (target,) = json.loads((tmp_path / "report.json").read_text())["targets"]
    assert [note["kind"] for note in target["notes"]] == ["orientation not given", "unit missing or unlikely"]
    assert f"note: {target['notes'][0]['text']}" in lines


def test_a_mask_among_given_targets_is_placed_and_told(case, fake_matcher, place, capsys):
    (case / "a.nii.gz").rename(case / "b_mask.nii.gz")
    assert place("b.nrrd", "b_mask.nii.gz", "--report", "report.json") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "note: b_mask: its name says that it is a mask or segmentation: it is read as a scan"
    assert (case / "out/b_mask.mrk.json").exists()
    assert "mask or segmentation" in (case / "report.json").read_text(encoding="utf-8")


def test_a_match_has_the_notes_of_both_volumes():
    texture = torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(0))
    notes = Note(NoteKind.INTENSITY, "one thing"), Note(NoteKind.UNIT, "another")
    template, target = (Volume(texture, name=name, notes=(note,)) for name, note in zip(("t", "s"), notes, strict=True))
    result = Matcher(network="mind").match(template, LandmarkSet((Landmark("AC", (11.0, 12.0, 13.0)),)), target)
    assert (
        [note.text for note in result.notes]
        == ["t: one thing", "s: another"]
        == [note.text for note in notes_of(template, target)]
    )
    assert result.landmarks[0].note == "t: one thing; s: another"
    assert result.report()["notes"][1] == {"kind": "unit missing or unlikely", "text": "s: another"}


def test_volumes_with_the_same_note_are_named_together(tmp_path, capsys):
    paths = [save_nifti(tmp_path / f"scan{number}.nii", unit="unknown") for number in range(7)]
    tell_notes([*paths, save_nifti(tmp_path / "good.nii")])
    expected = (
        "note: scan0, scan1, scan2, scan3, scan4 and 2 more: the file gives no unit of length: millimetres are taken"
    )
    assert capsys.readouterr().err.splitlines() == [expected]


@given(st.lists(st.floats(-0.8, 0.8), min_size=3, max_size=3), st.sampled_from([-1.0, 1.0]))
def test_a_qform_is_the_matrix_that_nibabel_makes_of_it(tmp_path_factory, quaternion, qfac):
    path = tmp_path_factory.mktemp("q") / "a.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header["pixdim"][:4] = qfac, 1.5, 2, 3
    header["qform_code"], header["quatern_b"], header["quatern_c"], header["quatern_d"] = 1, *quaternion
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = 10, 20, 30
    if np.dot(quaternion, quaternion) > 1 - 1e-6:  # nibabel refuses what is no unit quaternion
        return
    path.write_bytes(header.binaryblock + bytes(4 + 4 * 5 * 6 * 4))
    expected = np.diag([-1.0, -1.0, 1.0]) @ header.get_qform()[:3]
    np.testing.assert_allclose(read_header(path).qform, expected, atol=1e-4)


@pytest.mark.parametrize(
    "change", [lambda a: a[::-1], lambda a: np.flip(a, 2), lambda a: a.astype(">f4"), np.asfortranarray]
)
def test_arrays_of_every_layout_are_taken_as_they_are(change):
    given = change(VOXELS.numpy())
    np.testing.assert_array_equal(Volume(given).voxels.numpy(), given)


def test_zeros_are_no_sform(tmp_path):
    path = save_nifti(tmp_path / "a.nii", 2, 1)
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)
    path.write_bytes(content)
    assert read_volume(path).notes == ()
    content[252:254] = bytes(2)  # no qform either
    path.write_bytes(content)
    with pytest.raises(InputError, match="no usable voxel size or position"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (
            "a.nrrd",
            "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspacings: 1 1 1\nspacings: 2 2 2\n\n",
        ),
        (
            "a.mha",
            "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
            "Offset = 1 2 3\nOffset = 4 5 6\nElementDataFile = LOCAL\n",
        ),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, name, header):
    (tmp_path / name).write_bytes(header.encode() + bytes(8))
    with pytest.raises(InputError, match="twice, and differently"):
        read_volume(tmp_path / name)


def test_three_axes_of_which_one_has_no_direction_are_refused(tmp_path):
    head = "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\nspace: left-posterior-superior\n"
    head += "space directions: (1,0,0) (0,1,0) none\nspace origin: (0,0,0)\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + bytes(24))
    with pytest.raises(InputError, match="no usable voxel size or position"):
        read_volume(tmp_path / "a.nrrd")
