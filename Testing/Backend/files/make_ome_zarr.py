"""Makes ome_zarr_of_writers.zip: one small volume in several geometries, as other people's programs write it.

Run it where ngff-zarr 0.50, ome-zarr 0.18, itk and nibabel are installed: python make_ome_zarr.py. What the folders are
to hold is said in `GEOMETRIES`, which the tests read, too.
"""

import tempfile
import zipfile
from pathlib import Path

import numpy as np

SHAPE = (7, 9, 10)  # depth, height, width
VOXELS = (np.arange(np.prod(SHAPE)) * 37 % 1000).astype(np.int16).reshape(SHAPE)
SPACING, ORIGIN = np.array([1.0, 2.0, 3.0]), np.array([-10.0, 20.0, 30.0])  # along x, y, z, and LPS mm
# Name and the LPS directions of x, y, z as columns.
GEOMETRIES = {
    "lps": np.diag([1.0, 1.0, 1.0]),
    "ras": np.diag([-1.0, -1.0, 1.0]),
    "las": np.diag([1.0, -1.0, 1.0]),
    "lpi": np.diag([1.0, 1.0, -1.0]),
    "asr": np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
}
VERSIONS = {"lps": ["0.5"], "ras": ["0.4", "0.5", "0.6"], "las": ["0.4", "0.5", "0.6"], "lpi": ["0.5"], "asr": ["0.5"]}


def write_all(folder: Path) -> None:
    import itk
    import ngff_zarr
    import nibabel
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_image

    for name, direction in GEOMETRIES.items():
        image = itk.image_from_array(VOXELS)
        image.SetOrigin(ORIGIN.tolist())
        image.SetSpacing(SPACING.tolist())
        image.SetDirection(itk.matrix_from_array(direction))
        affine = np.eye(4)
        affine[:3] = np.column_stack([direction * SPACING, ORIGIN]) * np.array([[-1], [-1], [1]])
        nifti = nibabel.Nifti1Image(VOXELS.T, affine)
        for version in VERSIONS[name]:
            converted = {
                "itk": ngff_zarr.itk_image_to_ngff_image(image),
                "nifti": ngff_zarr.nibabel_image_to_ngff_image(nifti),
            }
            for source, one in converted.items():
                levels = ngff_zarr.to_multiscales(one, scale_factors=[2])
                ngff_zarr.to_ngff_zarr(str(folder / f"{source}_{name}_{version}.ome.zarr"), levels, version=version)
    spacing = dict(zip("xyz", SPACING.tolist(), strict=True))
    for form in (FormatV04(), FormatV05()):
        units = dict.fromkeys("xyz", "millimeter")
        path = str(folder / f"ome-zarr_{form.version}.ome.zarr")
        write_image(VOXELS, path, axes="zyx", fmt=form, scale=spacing, axes_units=units, scale_factors=[2])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_all(Path(scratch))
        target = Path(__file__).with_name("ome_zarr_of_writers.zip")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(scratch).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(scratch))
