"""Surface models carried from one volume to another by a transform, file to file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.model_files import Model, read_model, write_model
from deepfeatures.pipelines.warp_points import CarriedPoints, carry
from deepfeatures.transforms.transform import Transform

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkDataSetAttributes, vtkPointSet

    from deepfeatures.pipelines.warp import WarpJob, WarpResult

FLIP = np.array([-1.0, -1.0, 1.0])  # between LPS and RAS
NO_SCALARS = Note(NoteKind.SHAPE, "the format holds no scalars: they are left out")


def warp_model(job: WarpJob) -> WarpResult:
    """Carry a model over, see `write_warped_model`."""
    from deepfeatures.pipelines.warp import WarpResult

    like = read_within_memory(job.like)
    carried = write_warped_model(job.transform, job.input, job.output, like)
    return WarpResult(job.output, f"a model of {len(carried.places)} points", (*notes_of(like), *carried.notes))


def write_warped_model(transform: Transform, source: Path, output: Path, like: Volume | None = None) -> CarriedPoints:
    """Write a model where a transform takes it, in its own coordinate system, with its scalars and normals.

    Args:
        transform: From the space of `source` to that of `output`, LPS mm.
        source, output: `.vtk`, `.vtp`, `.stl` or `.ply`.
        like: In which the model should come to lie; `None` for anywhere.

    Raises:
        InputError: A file cannot be read or written, or all points come to lie outside `like`.
    """
    model = read_model(source)
    points = _lps(_points(model.mesh), model)
    carried = carry(transform, points, source, like)
    write_model(replace(model, mesh=_warped(model, points, carried.places, transform)), output)
    data = model.mesh.GetPointData()
    arrays = {data.GetArrayName(number) for number in range(data.GetNumberOfArrays())} - {"Normals"}
    lost = (NO_SCALARS,) if output.suffix.lower() == ".stl" and arrays else ()
    return replace(carried, notes=(*model.notes, *carried.notes, *lost))


def _warped(model: Model, points: np.ndarray, places: np.ndarray, transform: Transform) -> vtkPointSet:
    """The mesh whose points `(N, 3)` the transform takes to places, LPS mm."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints

    mesh = model.mesh.NewInstance()
    mesh.DeepCopy(model.mesh)
    moved = vtkPoints()
    moved.SetDataTypeToDouble()
    moved.SetData(numpy_to_vtk(np.ascontiguousarray(_lps(places, model)), deep=True))
    mesh.SetPoints(moved)
    if mesh.GetPointData().GetNormals():
        _turn_normals(mesh.GetPointData(), transform.jacobian(points), model)
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


def _lps(vectors: np.ndarray, model: Model) -> np.ndarray:
    """Vectors `(N, 3)` of the file in LPS, or the other way round, which is the same."""
    return vectors * FLIP if model.system == "RAS" else vectors
