#!/bin/sh
# A MetaImage header with two of three numbers of its position is read with 0 for the third, without a word.
#
# Seen with SimpleITK 2.5.7, Python 3.11. The same happens where a comma stands between the numbers. 3D Slicer reads
# through ITK.
#
# Output seen:
#   three numbers (4.0, 5.0, 6.0)
#   two numbers (4.0, 5.0, 0.0)
#   commas (4.0, 0.0, 0.0)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 SimpleITK==2.5.7
cd "$folder"
cat > look.py <<'PYTHON'
import SimpleITK as sitk

VOXELS = bytes(range(8))


def look(name, position):
    header = f"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nOffset = {position}\n"
    header += "CenterOfRotation = 0 0 0\nElementDataFile = LOCAL\n"
    with open("a.mha", "wb") as file:
        file.write(header.encode() + VOXELS)
    image = sitk.ReadImage("a.mha")
    print(name, image.GetOrigin())


look("three numbers", "4 5 6")
look("two numbers", "4 5")
look("commas", "4,5,6")
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
cat > expected.txt <<'TEXT'
three numbers (4.0, 5.0, 6.0)
two numbers (4.0, 5.0, 0.0)
commas (4.0, 0.0, 0.0)
TEXT
diff expected.txt seen.txt
