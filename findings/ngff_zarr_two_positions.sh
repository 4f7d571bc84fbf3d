#!/bin/sh
# One scan, two OME-Zarr folders of ngff-zarr, two places: its converters write the position in different conventions.
#
# Seen with ngff-zarr 0.50.0, itk 5.4.7 and nibabel 5.4.2, Python 3.11. The same 3D image, with its axes along R, A, S, is
# converted by itk_image_to_ngff_image and by nibabel_image_to_ngff_image. Both folders name the same directions of the
# axes (RFC 4). The first has the LPS position of the first voxel, the second the RAS position: 44.7 mm apart here. RFC 4
# counts coordinates along the axes, which the second follows for this image, and neither does for all directions. The
# coarser levels are shifted by half a voxel along the axes in both, so that the levels of the first do not fit.
#
# Output seen (translations of z, y, x by level):
#   itk [30.0, 20.0, -10.0] [31.5, 21.0, -9.5] left-to-right
#   nibabel [30.0, -20.0, 10.0] [31.5, -19.0, 10.5] left-to-right
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ngff-zarr==0.50.0 itk-core==5.4.7 itk-numerics==5.4.7 itk-filtering==5.4.7 \
    itk-io==5.4.7 nibabel==5.4.2
cd "$folder"
cat > look.py <<'PYTHON'
import json

import itk
import nibabel
import ngff_zarr
import numpy as np

voxels = np.arange(6 * 8 * 10, dtype=np.float32).reshape(6, 8, 10)
image = itk.image_from_array(voxels)
image.SetOrigin([-10, 20, 30])  # LPS
image.SetSpacing([1.0, 2, 3])
image.SetDirection(itk.matrix_from_array(np.diag([-1.0, -1, 1])))
nifti = nibabel.Nifti1Image(voxels.T, np.array([[1.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]))  # RAS
converted = {
    "itk": ngff_zarr.itk_image_to_ngff_image(image),
    "nibabel": ngff_zarr.nibabel_image_to_ngff_image(nifti),
}
for name, one in converted.items():
    written = ngff_zarr.to_multiscales(one, scale_factors=[2])
    ngff_zarr.to_ngff_zarr(f"{name}.ome.zarr", written, version="0.5")
    (scan,) = json.load(open(f"{name}.ome.zarr/zarr.json"))["attributes"]["ome"]["multiscales"]
    shifts = [level["coordinateTransformations"][1]["translation"] for level in scan["datasets"]]
    way = scan["axes"][2]["orientation"]
    print(name, *shifts, way["value"] if isinstance(way, dict) else way)
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
cat > expected.txt <<'TEXT'
itk [30.0, 20.0, -10.0] [31.5, 21.0, -9.5] left-to-right
nibabel [30.0, -20.0, 10.0] [31.5, -19.0, 10.5] left-to-right
TEXT
diff expected.txt seen.txt
