#!/bin/sh
# highdicom writes an image into a report's evidence though it was told to record none.
#
# Seen with highdicom 0.28.2, pydicom 3.0.2, Python 3.11. `Comprehensive3DSR(record_evidence=False)` says that evidence is
# "not recorded". This holds for images of other studies alone: images of the report's own study are always in its
# CurrentRequestedProcedureEvidenceSequence. `evidence` may not be empty, because patient and study are taken from it. So
# a report on coordinates without any image names an image that does not exist, unless the sequence is deleted.
#
# Output seen:
#   recorded in spite of record_evidence=False: 1
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 pydicom==3.0.2 highdicom==0.28.2
cd "$folder"
cat > look.py <<'PYTHON'
import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

image = Dataset()
image.SOPClassUID = SecondaryCaptureImageStorage
for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
    setattr(image, keyword, generate_uid())
for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
    setattr(image, keyword, "")
for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
    setattr(image, keyword, "")
point = sr.ImageRegion3D("POINT", np.array([[1.0, 2.0, 3.0]]), generate_uid())
group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(sr.TrackingIdentifier(hd.UID(), "AC"), point)
device = sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name="any")
report = sr.Comprehensive3DSR(
    evidence=[image],
    content=sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
    ),
    series_instance_uid=hd.UID(), series_number=1, sop_instance_uid=hd.UID(), instance_number=1,
    manufacturer="any", record_evidence=False,
)
print("recorded in spite of record_evidence=False:", len(report.get_evidence()))
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
echo "recorded in spite of record_evidence=False: 1" > expected.txt
diff expected.txt seen.txt
