#!/bin/sh
# 3D Slicer leaves a control point's orientation as it is when it is set in world coordinates under a parent transform.
#
# Seen with slicer-core 5.11.0.6, Python 3.11. `SetNthControlPointOrientationMatrixWorld` and
# `SetNthControlPointPositionOrientationWorld` turn the point where there is no parent transform, and not beneath one;
# neither raises an error. `SetNthControlPointOrientationMatrix`, in the node's own frame, works.
#
# Output seen:
#   no parent: True
#   under a parent, world: False
#   under a parent, own frame: True
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.3.5 slicer-core==5.11.0.6
cd "$folder"
cat > look.py <<'PYTHON'
import numpy as np
import slicer
import vtk


def turn(x, z):
    transform = vtk.vtkTransform()
    transform.RotateX(x)
    transform.RotateZ(z)
    matrix = transform.GetMatrix()
    return transform, np.array([[matrix.GetElement(i, j) for j in range(3)] for i in range(3)])


scene, wanted = slicer.vtkMRMLScene(), turn(20, 110)[1]
node, parent = slicer.vtkMRMLMarkupsFiducialNode(), slicer.vtkMRMLLinearTransformNode()
scene.AddNode(node)
scene.AddNode(parent)
node.AddControlPoint(vtk.vtkVector3d(1, 2, 3))


def is_turned():
    found = np.zeros(9)
    node.GetNthControlPointOrientationMatrixWorld(0, found)
    return bool(np.allclose(found, wanted.ravel()))


node.SetNthControlPointOrientationMatrixWorld(0, wanted.ravel())
print("no parent:", is_turned())
transform, matrix = turn(0, 90)
parent.SetMatrixTransformToParent(transform.GetMatrix())
node.SetAndObserveTransformNodeID(parent.GetID())
node.SetNthControlPointOrientationMatrixWorld(0, wanted.ravel())
print("under a parent, world:", is_turned())
node.SetNthControlPointOrientationMatrix(0, (matrix.T @ wanted).ravel())
print("under a parent, own frame:", is_turned())
PYTHON
venv/bin/python look.py 2> /dev/null | grep ": " | tee seen.txt
cat > expected.txt <<'TEXT'
no parent: True
under a parent, world: False
under a parent, own frame: True
TEXT
diff expected.txt seen.txt
