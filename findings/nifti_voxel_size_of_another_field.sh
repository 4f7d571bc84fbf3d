#!/bin/sh
# A NIfTI sform with voxels of its own size is read with the size of another field: shape and position fall apart.
#
# Seen with SimpleITK 2.5.7 and nibabel 5.4.2, Python 3.11. The sform (code 1) has voxels of 1.15 mm, pixdim says 1 mm,
# and there is no qform. nibabel uses the sform as it stands. SimpleITK takes the sform's directions and origin, and
# pixdim as spacing, without a warning: voxel (19, 21, 15) lies 4.8 mm elsewhere. 3D Slicer, which reads through ITK, does
# the same.
#
# Output seen:
#   nibabel 1.15, last voxel at (21.85, 24.15, 17.25)
#   SimpleITK 1.0, last voxel at (19.0, 21.0, 15.0)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 nibabel==5.4.2 SimpleITK==2.5.7
cd "$folder"
cat > look.py <<'PYTHON'
import nibabel
import numpy as np
import SimpleITK as sitk

LAST = (19, 21, 15)
image = nibabel.Nifti1Image(np.zeros((20, 22, 16), np.int16), None)
image.header.set_zooms((1, 1, 1))
image.header.set_xyzt_units("mm")
image.header.set_sform(np.diag([1.15, 1.15, 1.15, 1]), code=1)
nibabel.save(image, "scan.nii")
stored = nibabel.load("scan.nii")
place = stored.affine @ [*LAST, 1]
print("nibabel", f"{stored.affine[0, 0]:.2f}, last voxel at", tuple(float(round(value, 2)) for value in place[:3]))
read = sitk.ReadImage("scan.nii")
x, y, z = read.TransformIndexToPhysicalPoint(LAST)  # LPS
print("SimpleITK", f"{read.GetSpacing()[0]}, last voxel at", (round(-x, 2), round(-y, 2), round(z, 2)))
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
cat > expected.txt <<'TEXT'
nibabel 1.15, last voxel at (21.85, 24.15, 17.25)
SimpleITK 1.0, last voxel at (19.0, 21.0, 15.0)
TEXT
diff expected.txt seen.txt
