"""DICOM structured reports of landmarks: belonging to their series, and those of other programs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks

highdicom = pytest.importorskip("highdicom", reason="needs the extra sr")
pydicom = pytest.importorskip("pydicom", reason="needs the extra sr")

POINTS = LandmarkSet((Landmark("Größe \\ 1", (1.25, -2.5, 3.75)), Landmark("PC", (-10.0, 20.0, 30.0))), "head")


@pytest.fixture
def series(data) -> Path:
    return next(path for path in sorted((data / "dicom").rglob("*")) if path.is_dir() and any(path.glob("*.dcm")))


@pytest.mark.data
@pytest.mark.parametrize("given", ["folder", "slice"])
def test_a_report_belongs_to_the_series_in_which_its_points_lie(tmp_path, series, given):
    slices = sorted(series.glob("*.dcm"))
    notes = write_landmarks(POINTS, tmp_path / "a.dcm", series if given == "folder" else slices[0])
    assert notes == ()
    report, first = highdicom.sr.srread(tmp_path / "a.dcm"), pydicom.dcmread(slices[0])
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName"):
        assert report.get(keyword) == first.get(keyword)
    assert {uid for _, _, uid, _ in report.get_evidence()} == {pydicom.dcmread(file).SOPInstanceUID for file in slices}
    groups = report.content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [landmark.name for landmark in POINTS]
    for group, landmark in zip(groups, POINTS, strict=True):
        assert group.roi.frame_of_reference_uid == first.FrameOfReferenceUID
        assert group.roi.graphic_type.value == "POINT"
        np.testing.assert_array_equal(group.roi.value, [landmark.position])
    assert read_landmarks(tmp_path / "a.dcm").landmarks == POINTS.landmarks


def test_a_report_without_a_series_says_that_it_belongs_to_no_study(tmp_path):
    (note,) = write_landmarks(POINTS, tmp_path / "a.dcm")
    assert "belongs to no study" in note.text
    report = highdicom.sr.srread(tmp_path / "a.dcm")
    assert report.PatientID == "" and "CurrentRequestedProcedureEvidenceSequence" not in report
    (tmp_path / "a.dcm").rename(tmp_path / "IM0001")
    assert read_landmarks(tmp_path / "IM0001").landmarks == POINTS.landmarks


@pytest.mark.data
def test_what_cannot_be_a_series_is_refused(tmp_path, series):
    write_landmarks(POINTS, tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"a\.mrk\.json has no place for a DICOM scan"):
        write_landmarks(POINTS, tmp_path / "a.mrk.json", series)
    slices = sorted(series.glob("*.dcm"))
    for file in slices:
        header = pydicom.dcmread(file)
        del header.FrameOfReferenceUID
        header.save_as(tmp_path / file.name)
    with pytest.raises(InputError, match="states no frame of reference"):
        write_landmarks(POINTS, tmp_path / "b.dcm", tmp_path / slices[0].name)
    assert not (tmp_path / "b.dcm").exists()


@pytest.mark.data
def test_a_patient_with_a_name_of_one_word_gives_no_warning_of_a_package(tmp_path, series):
    header = pydicom.dcmread(min(series.glob("*.dcm")))
    header.PatientName = "Anonymous"
    header.save_as(tmp_path / "slice.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_landmarks(POINTS, tmp_path / "a.dcm", tmp_path / "slice.dcm")
    assert pydicom.dcmread(tmp_path / "a.dcm").PatientName == "Anonymous"


def test_an_absent_scan_is_told(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        write_landmarks(POINTS, tmp_path / "a.dcm", tmp_path / "nowhere")


def changed(tmp_path: Path, change) -> Path:
    """A report whose measurement groups `change` has altered."""
    write_landmarks(POINTS, tmp_path / "whole.dcm")
    report = pydicom.dcmread(tmp_path / "whole.dcm")
    (measurements,) = [item for item in report.ContentSequence if item.ValueType == "CONTAINER"]
    for number, group in enumerate(measurements.ContentSequence):
        change(number, group)
    report.save_as(tmp_path / "changed.dcm")
    return tmp_path / "changed.dcm"


def point_of(group):
    return next(item for item in group.ContentSequence if item.ValueType == "SCOORD3D")


def test_findings_are_the_names_where_all_tracking_identifiers_are_alike(tmp_path):
    def as_in_ohif(number, group):
        finding = pydicom.Dataset()
        finding.ValueType, finding.RelationshipType = "CODE", "CONTAINS"
        finding.ConceptNameCodeSequence = [highdicom.sr.CodedConcept("121071", "DCM", "Finding")]
        finding.ConceptCodeSequence = [highdicom.sr.CodedConcept("CORNERSTONEFREETEXT", "CST4", f"label {number}")]
        group.ContentSequence[0].TextValue = "Cornerstone3DTools@^0.1.0:Probe"
        group.ContentSequence.append(finding)

    assert [landmark.name for landmark in read_landmarks(changed(tmp_path, as_in_ohif))] == ["label 0", "label 1"]


def test_regions_beside_points_are_left_out_and_told(tmp_path):
    def with_a_region(number, group):
        if number:
            point_of(group).GraphicType = "POLYLINE"
            point_of(group).GraphicData = [0.0, 0, 0, 1, 1, 1]

    read = read_landmarks(changed(tmp_path, with_a_region))
    assert read.landmarks == POINTS.landmarks[:1]
    assert [note.text for note in read.notes] == ["the report holds regions besides: only its points are used"]


def test_points_on_images_beside_points_in_3d_are_left_out_and_told(tmp_path):
    def with_a_point_on_an_image(number, group):
        if number:
            point_of(group).ValueType = "SCOORD"

    read = read_landmarks(changed(tmp_path, with_a_point_on_an_image))
    assert read.landmarks == POINTS.landmarks[:1]
    (note,) = read.notes
    assert "points or regions on single images besides (SCOORD)" in note.text


def test_a_report_without_points_in_3d_or_with_several_frames_is_refused(tmp_path):
    def with_regions(number, group):
        point_of(group).GraphicType = "POLYGON"

    def in_another_frame(number, group):
        point_of(group).ReferencedFrameOfReferenceUID = f"1.2.{number}"

    with pytest.raises(InputError, match="holds no points in 3D"):
        read_landmarks(changed(tmp_path, with_regions))
    with pytest.raises(InputError, match="points in 2 frames of reference"):
        read_landmarks(changed(tmp_path, in_another_frame))


@pytest.mark.data
def test_an_image_is_no_report(series):
    with pytest.raises(InputError, match="DICOM but no structured report"):
        read_landmarks(next(series.glob("*.dcm")))
