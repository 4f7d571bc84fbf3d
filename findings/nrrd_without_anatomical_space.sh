#!/bin/sh
# One NRRD file, two places: 3D Slicer's two storage nodes for volumes disagree where the space is not anatomical.
#
# Seen with slicer-core 5.11.0.6 and vtk 9.6.0, Python 3.11. A file with `space: scanner-xyz`, and one with spacings only,
# are read by vtkMRMLVolumeArchetypeStorageNode (which Slicer uses for scalar volumes) and by vtkMRMLNRRDStorageNode
# (which Slicer uses for vector volumes). Both report success. The first takes the axes as LPS, the second as RAS, which
# turns the volume by 180 degrees about z. Where there is no position, the second also centres the volume.
#
# Output seen (RAS of the first voxel):
#   scanner-xyz archetype (-10.0, -20.0, 30.0)
#   scanner-xyz nrrd (10.0, 20.0, 30.0)
#   spacings archetype (0.0, 0.0, 0.0)
#   spacings nrrd (-1.5, -4.0, -7.5)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 vtk==9.6.0 slicer-core==5.11.0.6
cd "$folder"
cat > look.py <<'PYTHON'
import slicer
import vtk

HEAD = "NRRD0005\ntype: int16\ndimension: 3\nsizes: 4 5 6\nencoding: raw\nendian: little\n"
FILES = {
    "scanner-xyz": "space: scanner-xyz\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (10,20,30)\n",
    "spacings": "spacings: 1 2 3\n",
}
NODES = {"archetype": "vtkMRMLVolumeArchetypeStorageNode", "nrrd": "vtkMRMLNRRDStorageNode"}
for what, fields in FILES.items():
    with open("scan.nrrd", "wb") as file:
        file.write((HEAD + fields + "\n").encode() + bytes(2 * 4 * 5 * 6))
    for short, name in NODES.items():
        scene = slicer.vtkMRMLScene()
        volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        storage = scene.AddNewNodeByClass(name)
        storage.SetFileName("scan.nrrd")
        assert storage.ReadData(volume)
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        print(what, short, tuple(round(matrix.GetElement(row, 3), 6) + 0.0 for row in range(3)))
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
cat > expected.txt <<'TEXT'
scanner-xyz archetype (-10.0, -20.0, 30.0)
scanner-xyz nrrd (10.0, 20.0, 30.0)
spacings archetype (0.0, 0.0, 0.0)
spacings nrrd (-1.5, -4.0, -7.5)
TEXT
diff expected.txt seen.txt
