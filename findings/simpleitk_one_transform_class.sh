#!/bin/sh
# SimpleITK writes a ComposeScaleSkewVersor3DTransform that it cannot read again, unless it is part of a composite.
#
# Seen with SimpleITK 2.5.7, Python 3.11. `ReadTransform` looks the class up in a table that lacks it, and raises a
# KeyError with a number for a message. The file is right: within a composite of one part the same transform is read.
#
# Output seen:
#   alone: KeyError: 10
#   in a composite: CompositeTransform
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7
cd "$folder"
cat > look.py <<'PYTHON'
import SimpleITK as sitk

transform = sitk.ComposeScaleSkewVersor3DTransform()
sitk.WriteTransform(transform, "alone.tfm")
try:
    print("alone:", sitk.ReadTransform("alone.tfm").GetName())
except KeyError as error:
    print("alone: KeyError:", error)
sitk.WriteTransform(sitk.CompositeTransform([transform]), "composite.tfm")
print("in a composite:", sitk.ReadTransform("composite.tfm").GetName())
PYTHON
venv/bin/python look.py | tee seen.txt
cat > expected.txt <<'TEXT'
alone: KeyError: 10
in a composite: CompositeTransform
TEXT
diff expected.txt seen.txt
