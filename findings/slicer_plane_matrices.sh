#!/bin/sh
# In a plane that 3D Slicer saves, baseToNode times objectToBase is not the pose of the plane: x and y are mirrored.
#
# Seen with slicer-core 5.11.0.6, Python 3.11. Both matrices are taken from RAS to LPS on their left sides, though
# objectToBase leads to no coordinates of a patient: its own diagonal is -1, -1, 1 where the node's is 1, 1, 1. Slicer
# reads its files back rightly. Other programs can use `center`, `normal` and `orientation`, which are right.
#
# Output seen (rounded; axes as columns, LPS):
#   node's objectToBase: [1.0, 1.0, 1.0]
#   file's objectToBase: [-1.0, -1.0, 1.0]
#   orientation: [-1.0, -1.0, 1.0]
#   product: [1.0, 1.0, 1.0]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 slicer-core==5.11.0.6
cd "$folder"
cat > look.py <<'PYTHON'
import json

import numpy as np
import slicer

scene = slicer.vtkMRMLScene()
node, storage = slicer.vtkMRMLMarkupsPlaneNode(), slicer.vtkMRMLMarkupsPlaneJsonStorageNode()
scene.AddNode(node)
scene.AddNode(storage)
node.SetPlaneType(node.PlaneTypePointNormal)
node.AddControlPoint(10, 20, 30)
node.SetNormal(0, 0, 1)
storage.SetFileName("plane.mrk.json")
storage.WriteData(node)
plane = json.load(open("plane.mrk.json"))["markups"][0]
base, to_node = (np.array(plane[key]).reshape(4, 4) for key in ("objectToBase", "baseToNode"))
own = node.GetObjectToBaseMatrix()


def show(name, matrix):
    print(f"{name}:", np.round(np.diag(matrix)[:3], 6).tolist())


show("node's objectToBase", np.array([[own.GetElement(i, j) for j in range(4)] for i in range(4)]))
show("file's objectToBase", base)
show("orientation", np.array(plane["orientation"]).reshape(3, 3))
show("product", to_node @ base)
PYTHON
venv/bin/python look.py 2> /dev/null | grep ": \[" | tee seen.txt
cat > expected.txt <<'TEXT'
node's objectToBase: [1.0, 1.0, 1.0]
file's objectToBase: [-1.0, -1.0, 1.0]
orientation: [-1.0, -1.0, 1.0]
product: [1.0, 1.0, 1.0]
TEXT
diff expected.txt seen.txt
