#!/bin/sh
# 3D Slicer's slices take the opacity of a colour table as all or nothing.
#
# Seen with slicer-core 5.11.0.6, VTK 9.6.0, Python 3.11. A colour table keeps an opacity for each colour, and a scalar
# volume with it looks as if that counted. The display node joins it with its threshold by a logical "and": any opacity
# above 0 becomes 255. So a map that is to fade out where nothing happens covers the anatomy in full there. Only an
# opacity of exactly 0 leaves a colour out; all others follow the opacity of the foreground alone.
#
# Output seen:
#   of the table: [0, 64, 128, 191, 255]
#   of the slice: [0, 255, 255, 255, 255]
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
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

OPACITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
scene = slicer.vtkMRMLScene()
table = slicer.vtkMRMLColorTableNode()
table.SetTypeToUser()
table.SetNumberOfColors(len(OPACITIES))
for index, opacity in enumerate(OPACITIES):
    table.SetColor(index, str(index), 1.0, 0.0, 0.0, opacity)
table = scene.AddNode(table)
image = vtk.vtkImageData()
image.SetDimensions(len(OPACITIES), 1, 1)
image.GetPointData().SetScalars(numpy_to_vtk(np.arange(len(OPACITIES), dtype=np.float32), deep=True))
volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
volume.SetAndObserveImageData(image)
volume.CreateDefaultDisplayNodes()
display = volume.GetDisplayNode()
display.SetAndObserveColorNodeID(table.GetID())
display.SetAutoWindowLevel(False)
display.SetWindowLevelMinMax(0, len(OPACITIES) - 1)
display.GetOutputImageDataConnection().GetProducer().Update()
kept = [table.GetLookupTable().GetTableValue(index)[3] for index in range(len(OPACITIES))]
shown = vtk_to_numpy(display.GetOutputImageData().GetPointData().GetScalars())
print("of the table:", [round(255 * opacity + 0.01) for opacity in kept])
print("of the slice:", shown[:, 3].tolist())
PYTHON
"$folder/venv/bin/python" look.py | tee seen.txt
cat > expected.txt <<'TEXT'
of the table: [0, 64, 128, 191, 255]
of the slice: [0, 255, 255, 255, 255]
TEXT
diff expected.txt seen.txt
