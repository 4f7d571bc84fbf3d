#!/bin/sh
# nitransforms takes displacement fields for cubic splines, where ITK is linear, and stumbles over a comment in a .tfm.
#
# Seen with nitransforms 25.1.0, SimpleITK 2.5.7, Python 3.11. One node of a field moves by 1 mm along L. Half way to the
# next node ITK moves by 0.5 mm. nitransforms moves by more, and moves the other way beyond the next node. A line of
# comment between the header and the first transform, which ITK, ANTs and 3D Slicer skip, ends in an IndexError.
#
# Output seen (mm along L at 0, 0.5, 1 and 1.5 nodes from the one that moves):
#   ITK: [1.0, 0.5, 0.0, 0.0]
#   nitransforms: [1.0, 0.602, 0.0, -0.131]
#   comment: IndexError: list index out of range
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 nitransforms==25.1.0 SimpleITK==2.5.7
cd "$folder"
cat > look.py <<'PYTHON'
import nitransforms
import numpy as np
import SimpleITK as sitk

vectors = np.zeros((11, 11, 11, 3))
vectors[5, 5, 5, 0] = 1
image = sitk.GetImageFromArray(vectors, isVector=True)
sitk.WriteImage(image, "field.nii.gz")
places = np.array([[5 + step, 5, 5] for step in (0, 0.5, 1, 1.5)], float)

itk = sitk.DisplacementFieldTransform(sitk.ReadImage("field.nii.gz", sitk.sitkVectorFloat64))
moved = np.array([itk.TransformPoint(place) for place in places.tolist()])
print("ITK:", (moved - places)[:, 0].round(3).tolist())

ras = np.array([-1, -1, 1])
moved = nitransforms.nonlinear.load("field.nii.gz", fmt="itk").map(places * ras) * ras
print("nitransforms:", (moved - places)[:, 0].round(3).tolist())

sitk.WriteTransform(sitk.AffineTransform(3), "plain.tfm")
head, rest = open("plain.tfm").read().split("\n", 1)
open("comment.tfm", "w").write(f"{head}\n# from template to target\n{rest}")
sitk.ReadTransform("comment.tfm")
nitransforms.linear.load("plain.tfm", fmt="itk")
try:
    nitransforms.linear.load("comment.tfm", fmt="itk")
except IndexError as error:
    print("comment: IndexError:", error)
PYTHON
"$folder/venv/bin/python" look.py | tee seen.txt
cat > expected.txt <<'TEXT'
ITK: [1.0, 0.5, 0.0, 0.0]
nitransforms: [1.0, 0.602, 0.0, -0.131]
comment: IndexError: list index out of range
TEXT
diff expected.txt seen.txt
