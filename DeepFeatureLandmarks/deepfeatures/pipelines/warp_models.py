"""Surface models carried from one volume to another by a transform, file to file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.io.model_files import Model, read_model, write_model
from deepfeatures.pipelines.warp_points import inverse_notes
from deepfeatures.transforms.transform import Transform

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkDataSetAttributes, vtkPointSet

FLIP = np.array([-1.0, -1.0, 1.0])  # between LPS and RAS
NO_SCALARS = Note(NoteKind.SHAPE, "the format holds no scalars: they are left out")


def write_warped_model(transform: Transform, source: Path, output: Path) -> tuple[Note, ...]:
    """Write a model where a transform takes it, in its own coordinate system, with its scalars and normals.

    Args:
        transform: From the space of `source` to that of `output`, LPS mm.
        source, output: `.vtk`, `.vtp`, `.stl` or `.ply`.

    Returns:
        What the source leaves open, or could not be carried exactly.

    Raises:
        InputError: A file cannot be read or written.
    """
    model = read_model(source)
    points = _lps(_points(model.mesh), model)
    warped = replace(model, mesh=_warped(model, points, transform))
    write_model(warped, output)
    arrays = [model.mesh.GetPointData().GetArrayName(number) for number in range(_count(model.mesh))]
    lost = (NO_SCALARS,) if output.suffix.lower() == ".stl" and set(arrays) - {"Normals"} else ()
    return (*model.notes, *lost, *inverse_notes(transform, points))


def _warped(model: Model, points: np.ndarray, transform: Transform) -> vtkPointSet:
    """The mesh at points `(N, 3)`, LPS mm, after the transform."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints

    mesh = model.mesh.NewInstance()
    mesh.DeepCopy(model.mesh)
    moved = vtkPoints()
    moved.SetDataTypeToDouble()
    moved.SetData(numpy_to_vtk(np.ascontiguousarray(_lps(transform(points), model)), deep=True))
    mesh.SetPoints(moved)
    jacobian = transform.jacobian(points) if mesh.GetPointData().GetNormals() else np.empty((0, 3, 3))
    if len(jacobian):
        _turn_normals(mesh.GetPointData(), jacobian, model)
    if mesh.GetCellData().GetNormals():
        _turn_normals(mesh.GetCellData(), transform.jacobian(_lps(_cell_centres(model.mesh), model)), model)
    return mesh


def _turn_normals(data: vtkDataSetAttributes, jacobian: np.ndarray, model: Model) -> None:
    """Normals stay normal to the surface: they go by the inverse transposed Jacobian, `(N, 3, 3)`."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    known = data.GetNormals()
    normals = _lps(vtk_to_numpy(known).astype(float), model)
    turned = np.einsum("nji,nj->ni", np.linalg.pinv(jacobian), normals)
    turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    array = numpy_to_vtk(np.ascontiguousarray(_lps(turned, model)), deep=True, array_type=known.GetDataType())
    array.SetName(known.GetName())
    data.SetNormals(array)


def _points(mesh: vtkPointSet) -> np.ndarray:
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)


def _cell_centres(mesh: vtkPointSet) -> np.ndarray:
    from vtkmodules.vtkFiltersCore import vtkCellCenters

    centres = vtkCellCenters()
    centres.SetInputData(mesh)
    centres.Update()
    return _points(centres.GetOutput())


def _count(mesh: vtkPointSet) -> int:
    return mesh.GetPointData().GetNumberOfArrays()


def _lps(vectors: np.ndarray, model: Model) -> np.ndarray:
    """Vectors `(N, 3)` of the file in LPS, or the other way round, which is the same."""
    return vectors * FLIP if model.system == "RAS" else vectors
