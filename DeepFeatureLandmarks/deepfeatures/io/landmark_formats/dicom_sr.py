"""DICOM structured reports, `.dcm`: Comprehensive 3D SR after TID 1500, one measurement group (TID 1410) a point.

The name is the group's tracking identifier and the position a `POINT` of `SCOORD3D`, LPS mm of the patient, in single
precision. Reports of other programs are read too: where their tracking identifiers are not the names, the findings are.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from deepfeatures._version import __version__
from deepfeatures.data.landmarks import Landmark, LandmarkSet, landmark_stem
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, quoted, reading
from deepfeatures.io.dicom.series import chosen, series_of
from deepfeatures.io.landmark_formats.coordinates import to_lps
from deepfeatures.io.landmark_formats.rows import on_one_line

if TYPE_CHECKING:
    from highdicom.sr import MeasurementReport
    from pydicom import Dataset

TRACKING_IDENTIFIER, FINDING = "112039", "121071"
REPORT_CLASSES = b"1.2.840.10008.5.1.4.1.1.88."  # how the identifiers of all kinds of reports begin
FROM_STUDY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
FROM_STUDY += ("AccessionNumber", "StudyID", "StudyDate", "StudyTime")
OTHER_SHAPES = Note(NoteKind.LANDMARK_FILE, "the report holds regions besides: only its points are used")
ON_IMAGES = Note(
    NoteKind.LANDMARK_FILE,
    "the report holds points or regions on single images besides (SCOORD): only its points in 3D are used",
)
NO_STUDY = Note(
    NoteKind.LANDMARK_FILE,
    "the report belongs to no study, as no DICOM series was given to take patient and study from",
)


def begins(head: bytes) -> bool:
    """Whether a file begins as a structured report, and not as an image."""
    return head[128:132] == b"DICM" and REPORT_CLASSES in head


def parse(content: bytes, path: Path) -> LandmarkSet:
    """The points in 3D of a report.

    Raises:
        InputError: It is no structured report, holds no point in 3D, or its points have several frames of reference.
    """
    import pydicom

    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what pydicom can set right
        report = pydicom.dcmread(BytesIO(content))
        if report.get("Modality") != "SR":
            raise InputError(f"{path} is DICOM but no structured report; give one with points in 3D")
        every = list(_places(report))
        found = [place for place in every if place[2].ValueType == "SCOORD3D"]
        frames = {str(item.ReferencedFrameOfReferenceUID) for _, _, item in found}
        points = [(names, list(item.GraphicData)) for names, kind, item in found if kind == "POINT"]
    if not points:
        raise InputError(f"{path} holds no points in 3D (SCOORD3D of the type POINT); export it with 3D coordinates")
    if len(frames) > 1:
        raise InputError(f"{path} has points in {len(frames)} frames of reference; export those of one series alone")
    names = _names([names for names, _ in points])
    landmarks = tuple(
        Landmark(name, to_lps([float(value) for value in values], "LPS", quoted(name), path))
        for name, (_, values) in zip(names, points, strict=True)
    )
    left_out = {OTHER_SHAPES: len(points) < len(found), ON_IMAGES: len(found) < len(every)}
    return LandmarkSet(landmarks, landmark_stem(path), tuple(note for note, holds in left_out.items() if holds))


def render(landmarks: LandmarkSet, scan: Path | None = None) -> bytes:
    """The report; points without a position are left out.

    Args:
        landmarks: LPS mm.
        scan: Folder or file of the DICOM series in which they lie: the report takes patient, study and frame of
            reference from it. Without it the report belongs to no study.

    Raises:
        InputError: A slice is not DICOM, or has no frame of reference.
    """
    try:
        import highdicom.sr
    except ImportError as error:
        raise InputError("a DICOM report needs highdicom; install it with pip install '.[sr]'") from error
    evidence = _evidence(scan) if scan else [_no_image()]
    frame = evidence[0].get("FrameOfReferenceUID")
    if not frame:
        raise InputError(f"{scan} states no frame of reference; write the landmarks without this scan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the scan says of its patient
        report = highdicom.sr.Comprehensive3DSR(
            evidence=evidence,
            content=_measurement_report(landmarks, str(frame)),
            series_instance_uid=highdicom.UID(),
            series_number=1,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="DeepFeatureLandmarks",
            series_description=on_one_line(landmarks.name)[:64],
            software_versions=__version__,
            is_complete=True,
        )
        report.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
        if scan is None:
            del report.CurrentRequestedProcedureEvidenceSequence  # which names the slice that is none
        file = BytesIO()
        report.save_as(file)
    return file.getvalue()


def _places(report: Dataset) -> Iterator[tuple[tuple[str, str], str, Dataset]]:
    """Tracking identifier, finding, shape and item of everything that has coordinates, in 3D or on an image."""
    todo = [report]
    while todo:
        container = todo.pop()
        items = list(container.get("ContentSequence", ()))
        named = {_code(item): item for item in items}
        tracking = str(named[TRACKING_IDENTIFIER].TextValue) if TRACKING_IDENTIFIER in named else ""
        finding = named[FINDING].ConceptCodeSequence[0].CodeMeaning if FINDING in named else ""
        for item in items:
            if item.ValueType in ("SCOORD", "SCOORD3D"):
                yield (tracking, str(finding)), str(item.GraphicType), item
        todo += reversed(items)


def _code(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _names(candidates: list[tuple[str, str]]) -> list[str]:
    """Tracking identifiers, or findings where only these tell the points apart; else places in the list."""
    columns = [list(column) for column in zip(*candidates, strict=True)]
    for names in columns:
        if all(names) and max(Counter(names).values()) == 1:
            return names
    return [name or str(number) for number, name in enumerate(columns[0], 1)]


def _evidence(scan: Path) -> list[Dataset]:
    """The headers of the slices in which the landmarks lie."""
    if not scan.exists():
        raise InputError(f"{scan} does not exist; check the path of the scan")
    return [_header(file) for file in (chosen(scan, None) if scan.is_dir() else series_of(scan)).files]


def _header(file: Path) -> Dataset:
    import pydicom

    with reading(file):
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        for keyword in FROM_STUDY:
            if keyword not in header:
                setattr(header, keyword, "")
    return header


def _no_image() -> Dataset:
    """What stands for a slice where no series was given."""
    from pydicom import Dataset
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    header = Dataset()
    header.SOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(header, keyword, generate_uid(prefix=None))
    for keyword in FROM_STUDY:
        setattr(header, keyword, "")
    return header


def _measurement_report(landmarks: LandmarkSet, frame: str) -> MeasurementReport:
    import highdicom
    import numpy as np
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(uid=highdicom.UID(), name="DeepFeatureLandmarks")
    groups = [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(highdicom.UID(), on_one_line(landmark.name)),
            referenced_region=sr.ImageRegion3D("POINT", np.array([landmark.position], float), frame),
        )
        for landmark in landmarks
        if landmark.is_defined
    ]
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
