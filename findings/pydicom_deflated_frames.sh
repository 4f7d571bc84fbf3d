#!/bin/sh
# pydicom reads frames of a deflated file from the data set, but not from the path.
#
# Seen with pydicom 3.0.2 and numpy 2.3.5, Python 3.11. `iter_pixels(path)` and `pixel_array(path)`, which the
# documentation recommends to save memory, look for the pixels in the compressed stream and say that there are none. Both
# work where they are given the data set that `dcmread` returns.
#
# Output seen:
#   data set [0, 1, 2, 3]
#   path AttributeError
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 pydicom==3.0.2
cd "$folder"
cat > look.py <<'PYTHON'
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import iter_pixels
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, generate_uid

scan = pydicom.Dataset()
scan.file_meta = FileMetaDataset()
scan.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
scan.SOPClassUID, scan.SOPInstanceUID = CTImageStorage, generate_uid()
scan.SamplesPerPixel, scan.PhotometricInterpretation, scan.Rows, scan.Columns = 1, "MONOCHROME2", 2, 2
scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 16, 16, 15, 0
scan.PixelData = np.arange(4, dtype=np.uint16).tobytes()
scan["PixelData"].VR = "OW"
scan.save_as("scan.dcm", enforce_file_format=True)
for name, source in {"data set": pydicom.dcmread("scan.dcm"), "path": "scan.dcm"}.items():
    try:
        print(name, next(iter_pixels(source)).ravel().tolist())
    except Exception as error:
        print(name, type(error).__name__)
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
cat > expected.txt <<'TEXT'
data set [0, 1, 2, 3]
path AttributeError
TEXT
diff expected.txt seen.txt
