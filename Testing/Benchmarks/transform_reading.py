"""How each program reads a transform file: points of the template carried to the target, the target resampled."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from deepfeatures.data.volume import Volume

LINEAR = ("rigid", "similarity", "affine")
RAS = np.array([-1.0, -1.0, 1.0])
NOWHERE = np.nan


@dataclass(frozen=True)
class Reader:
    """A program.

    Args:
        linear, elastic: The kind of file that it is given for transforms of either sort.
        points: Carries points `(N, 3)`, LPS mm, of the template to the target.
        warp: Resamples three images of the target on a grid; returns their voxels, `(D, H, W, 3)`.
    """

    linear: str
    elastic: str
    points: Callable[[Path, np.ndarray], np.ndarray]
    warp: Callable[[Path, tuple[sitk.Image, ...], Volume], np.ndarray]

    def suffix(self, kind: str) -> str:
        return self.linear if kind in LINEAR else self.elastic


def simpleitk_points(path: Path, places: np.ndarray) -> np.ndarray:
    transform = sitk.ReadTransform(str(path))
    return np.array([transform.TransformPoint(place) for place in places.tolist()])


def simpleitk_warp(path: Path, images: tuple[sitk.Image, ...], grid: Volume) -> np.ndarray:
    transform, like = sitk.ReadTransform(str(path)), image_of(grid)
    return stacked(sitk.Resample(image, like, transform, sitk.sitkLinear, NOWHERE) for image in images)


def ants_points(path: Path, places: np.ndarray) -> np.ndarray:
    import ants
    import pandas as pd

    table = pd.DataFrame(places, columns=list("xyz"))
    return ants.apply_transforms_to_points(3, table, [str(path)])[list("xyz")].to_numpy()


def ants_warp(path: Path, images: tuple[sitk.Image, ...], grid: Volume) -> np.ndarray:
    import ants

    like = ants.from_sitk(image_of(grid)) if hasattr(ants, "from_sitk") else ants_image(image_of(grid))
    warped = []
    for image in images:
        found = ants.apply_transforms(like, ants_image(image), [str(path)], interpolator="linear", defaultvalue=0)
        warped.append(found.numpy().transpose(2, 1, 0))
    return np.stack(warped, -1)


def ants_image(image: sitk.Image):
    import ants

    with tempfile.TemporaryDirectory() as folder:
        sitk.WriteImage(image, str(Path(folder) / "image.mha"))
        return ants.image_read(str(Path(folder) / "image.mha"), pixeltype="double")


def slicer_points(path: Path, places: np.ndarray) -> np.ndarray:
    from_parent = slicer_node(path)[1].GetTransformFromParent()
    return np.array([from_parent.TransformPoint(place) for place in (places * RAS).tolist()]) * RAS


def slicer_warp(path: Path, images: tuple[sitk.Image, ...], grid: Volume) -> np.ndarray:
    """As volumes of Slicer are resampled: through the node's transform from the output's voxels to the input's."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    _scene, node = slicer_node(path)
    first = images[0]
    to_input = vtk_matrix(np.linalg.inv(ras_matrix(first.GetDirection(), first.GetSpacing(), first.GetOrigin())))
    through = vtk.vtkGeneralTransform()
    through.PostMultiply()
    through.Concatenate(vtk_matrix(ras_matrix(grid.direction, grid.spacing, grid.origin)))
    through.Concatenate(node.GetTransformFromParent())
    through.Concatenate(to_input)
    warped = []
    for image in images:
        voxels = vtk.vtkImageData()
        voxels.SetDimensions(image.GetSize())
        voxels.GetPointData().SetScalars(numpy_to_vtk(sitk.GetArrayFromImage(image).ravel(), deep=True))
        reslice = vtk.vtkImageReslice()
        reslice.SetInputData(voxels)
        reslice.SetResliceTransform(through)
        reslice.SetInterpolationModeToLinear()
        reslice.SetOutputExtent(0, grid.size[0] - 1, 0, grid.size[1] - 1, 0, grid.size[2] - 1)
        reslice.SetOutputOrigin(0, 0, 0)
        reslice.SetOutputSpacing(1, 1, 1)
        reslice.Update()
        warped.append(vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).reshape(grid.size[::-1]))
    return np.stack(warped, -1)


def slicer_node(path: Path):
    from slicer import vtkMRMLScene, vtkMRMLTransformNode, vtkMRMLTransformStorageNode

    scene, node, storage = vtkMRMLScene(), vtkMRMLTransformNode(), vtkMRMLTransformStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise ValueError("3D Slicer's storage node refuses the file")
    return scene, node


def elastix_points(path: Path, places: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points.txt"
        rows = "\n".join(" ".join(f"{value:.10f}" for value in place) for place in places)
        points.write_text(f"point\n{len(places)}\n{rows}\n")
        transformix = transformix_of(path, sitk.Image(8, 8, 8, sitk.sitkFloat32))
        transformix.SetFixedPointSetFileName(str(points))
        transformix.SetOutputDirectory(folder)
        transformix.Update()
        found = re.findall(r"OutputPoint = \[([^\]]*)\]", (Path(folder) / "outputpoints.txt").read_text())
    return np.array([row.split() for row in found], float)


def elastix_warp(path: Path, images: tuple[sitk.Image, ...], grid: Volume) -> np.ndarray:
    import itk

    warped = []
    for image in images:
        transformix = transformix_of(path, image)
        transformix.Update()
        warped.append(itk.array_from_image(transformix.GetOutput()))
    return np.stack(warped, -1)


def transformix_of(path: Path, image: sitk.Image):
    import itk

    with tempfile.TemporaryDirectory() as folder:
        sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32), str(Path(folder) / "image.mha"))
        moving = itk.imread(str(Path(folder) / "image.mha"), itk.F)
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile(str(path))
    transformix = itk.TransformixFilter.New(moving)
    transformix.SetTransformParameterObject(parameters)
    transformix.SetLogToConsole(False)
    return transformix


def nitransforms_points(path: Path, places: np.ndarray) -> np.ndarray:
    return nitransforms_of(path).map(places * RAS) * RAS


def nitransforms_warp(path: Path, images: tuple[sitk.Image, ...], grid: Volume) -> np.ndarray:
    from nitransforms.resampling import apply

    like = nibabel_image(image_of(grid))
    warped = [
        np.asarray(apply(nitransforms_of(path), nibabel_image(image), like, order=1, cval=NOWHERE).dataobj).T
        for image in images
    ]
    return np.stack(warped, -1)


def nitransforms_of(path: Path):
    from nitransforms.linear import load as load_linear
    from nitransforms.nonlinear import load as load_field

    return (load_field if path.name.endswith(".nii.gz") else load_linear)(str(path), fmt="itk")


def nibabel_image(image: sitk.Image):
    import nibabel

    affine = ras_matrix(image.GetDirection(), image.GetSpacing(), image.GetOrigin())
    return nibabel.Nifti1Image(sitk.GetArrayFromImage(image).T, affine)


def image_of(grid: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(grid.voxels.numpy())
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection(np.ravel(grid.direction).tolist())
    return image


def stacked(images) -> np.ndarray:
    return np.stack([sitk.GetArrayFromImage(image) for image in images], -1)


def ras_matrix(direction, spacing, origin) -> np.ndarray:
    """From index to RAS mm, `(4, 4)`."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(direction, (3, 3)) * spacing
    matrix[:3, 3] = origin
    return np.diag([-1, -1, 1, 1]) @ matrix


def vtk_matrix(matrix: np.ndarray):
    import vtk

    found = vtk.vtkMatrix4x4()
    found.DeepCopy(matrix.ravel().tolist())
    return found


READERS = {
    "simpleitk": Reader(".h5", ".h5", simpleitk_points, simpleitk_warp),
    "slicer-core": Reader(".h5", ".h5", slicer_points, slicer_warp),
    "antspyx": Reader(".h5", ".h5", ants_points, ants_warp),
    "itk-elastix": Reader(".txt", ".txt", elastix_points, elastix_warp),
    "nitransforms": Reader(".tfm", ".nii.gz", nitransforms_points, nitransforms_warp),
}
