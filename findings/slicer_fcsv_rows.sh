#!/bin/sh
# 3D Slicer reads .fcsv rows that are not as it writes them today at other places or with other labels, without a word.
#
# Seen with slicer-core 5.11.0.6, Python 3.11. A label that begins with a quote takes the fields after it. After
# `CoordinateSystem = LPS,,,`, as a spreadsheet saves the line, LPS is taken for RAS. Without a coordinate system LPS is
# taken, though 4.10 took RAS. A lost comma moves all later fields, and a word is read as 0.
#
# Output seen (label and RAS mm):
#   quote: [('AC,,', (-1.0, -20.0, 30.0))]
#   spreadsheet: [('AC', (1.0, 20.0, 30.0))]
#   no system: [('AC', (-1.0, -20.0, 30.0))]
#   lost comma: [('', (-1.0, -2030.0, 0.0))]
#   word: [('AC', (-1.0, -0.0, 30.0))]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 slicer-core==5.11.0.6
cd "$folder"
cat > look.py <<'PYTHON'
import slicer

COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
ROW = "1,1,20,30,0,0,0,1,1,1,0,AC,,"


def read(row: str = ROW, system: str = "# CoordinateSystem = LPS\n") -> list:
    with open("points.fcsv", "w") as file:
        file.write(f"# Markups fiducial file version = 4.11\n{system}{COLUMNS}\n{row}\n")
    scene = slicer.vtkMRMLScene()
    node, storage = slicer.vtkMRMLMarkupsFiducialNode(), slicer.vtkMRMLMarkupsFiducialStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName("points.fcsv")
    storage.ReadData(node)
    count = range(node.GetNumberOfControlPoints())
    return [(node.GetNthControlPointLabel(n), node.GetNthControlPointPosition(n)) for n in count]


print("quote:", read(ROW.replace("AC", '"AC')))
print("spreadsheet:", read(system="# CoordinateSystem = LPS,,,\n"))
print("no system:", read(system=""))
print("lost comma:", read(ROW.replace("20,30", "2030")))
print("word:", read(ROW.replace("20", "twenty")))
PYTHON
venv/bin/python look.py 2> /dev/null | grep ": \[" | tee seen.txt
cat > expected.txt <<'TEXT'
quote: [('AC,,', (-1.0, -20.0, 30.0))]
spreadsheet: [('AC', (1.0, 20.0, 30.0))]
no system: [('AC', (-1.0, -20.0, 30.0))]
lost comma: [('', (-1.0, -2030.0, 0.0))]
word: [('AC', (-1.0, -0.0, 30.0))]
TEXT
diff expected.txt seen.txt
