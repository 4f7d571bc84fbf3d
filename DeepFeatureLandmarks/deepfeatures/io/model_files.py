"""Surface models, `.vtk`, `.vtp`, `.stl` and `.ply`, with the coordinate system that 3D Slicer writes into them.

Slicer states `SPACE=LPS` or `SPACE=RAS` in the title of legacy VTK and STL files, in a comment of PLY, and in a field
of VTP. Files that state nothing are taken as LPS, as Slicer takes them; those of Slicer 4.10 and before were RAS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError, damaged
from deepfeatures.io.atomic_write import atomic_write

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPointSet

MODEL_SUFFIXES = (".vtk", ".vtp", ".stl", ".ply")
SPACE = re.compile(r"SPACE\s*=\s*(LPS|RAS)")
UNSTATED = Note(
    NoteKind.ORIENTATION,
    "the model says neither LPS nor RAS: taken as LPS mm, though old versions of 3D Slicer wrote RAS",
)


@dataclass(frozen=True, eq=False)
class Model:
    """A mesh, as VTK has it, in the coordinates of its file.

    Args:
        mesh: Points and cells with their scalars.
        system: `"LPS"` or `"RAS"`; `None` where the file does not say.
        is_binary: Whether the file was, and so is the next one.
    """

    mesh: vtkPointSet
    system: str | None
    is_binary: bool = True

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the file leaves open."""
        return () if self.system else (UNSTATED,)


def read_model(path: Path) -> Model:
    """Read a model.

    Raises:
        InputError: VTK is not installed, or the file is none of the known kinds, or damaged, or has no points.
    """
    _require_vtk()
    suffix = _suffix_of(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if suffix == ".ply" and not path.read_bytes().startswith(b"ply"):  # of which VTK would tell the console
        raise damaged(path)
    reader = _reader(suffix)
    errors: list[str] = []
    for source in (reader, reader.GetExecutive()):  # what is observed VTK does not print
        source.AddObserver("ErrorEvent", lambda *_: errors.append("read"))
    reader.SetFileName(str(path))
    reader.Update()
    mesh = reader.GetOutput()
    if errors or mesh is None or not hasattr(mesh, "GetPoints") or mesh.GetNumberOfPoints() == 0:
        raise damaged(path)
    stated = SPACE.search(_header(suffix, reader, mesh))
    is_binary = not path.read_bytes()[:5].lower().startswith(b"solid") if suffix == ".stl" else True
    if suffix == ".vtk":
        is_binary = reader.GetFileType() == 2
    return Model(mesh, stated.group(1) if stated else None, is_binary)


def write_model(model: Model, path: Path) -> None:
    """Write a model with its coordinate system as 3D Slicer states it, whole or not at all.

    A model whose system is not known is written without one. STL holds no scalars.

    Raises:
        InputError: The suffix is another, the mesh is none for it, or the file cannot be written.
    """
    _require_vtk()
    suffix = _suffix_of(path)
    if suffix != ".vtk" and not model.mesh.IsA("vtkPolyData"):
        raise InputError(f"{path} cannot hold a mesh of volume elements; give a name that ends in .vtk")
    writer = _writer(suffix, model)
    with atomic_write(path, suffix) as draft:
        writer.SetFileName(str(draft))
        if not writer.Write():
            raise InputError(f"{path} cannot be written as a model; choose another name or folder")


def _require_vtk() -> None:
    try:
        import vtkmodules.vtkIOLegacy  # noqa: F401
    except ImportError as error:
        raise InputError("models need the package vtk; install it with pip install '.[models]'") from error


def _suffix_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in MODEL_SUFFIXES:
        raise InputError(f"{path} is not a known kind of model; give {', '.join(MODEL_SUFFIXES)}")
    return suffix


def _reader(suffix: str) -> Any:
    from vtkmodules.vtkCommonCore import vtkCallbackCommand
    from vtkmodules.vtkIOGeometry import vtkSTLReader
    from vtkmodules.vtkIOLegacy import vtkGenericDataObjectReader
    from vtkmodules.vtkIOPLY import vtkPLYReader
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    reader: Any = {".vtk": vtkGenericDataObjectReader, ".vtp": vtkXMLPolyDataReader, ".stl": vtkSTLReader}.get(
        suffix, vtkPLYReader
    )()
    if suffix == ".vtp":
        reader.SetParserErrorObserver(vtkCallbackCommand())
    if suffix == ".vtk":  # each kind of array is read by a call of its own
        for kind in ("Scalars", "Vectors", "Normals", "Tensors", "TCoords", "Fields", "ColorScalars"):
            getattr(reader, f"ReadAll{kind}On")()
    return reader


def _writer(suffix: str, model: Model) -> Any:
    from vtkmodules.vtkIOGeometry import vtkSTLWriter
    from vtkmodules.vtkIOLegacy import vtkDataSetWriter
    from vtkmodules.vtkIOPLY import vtkPLYWriter
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    stated = f"SPACE={model.system}" if model.system else ""
    writer: Any = {".vtk": vtkDataSetWriter, ".vtp": vtkXMLPolyDataWriter, ".stl": vtkSTLWriter}.get(
        suffix, vtkPLYWriter
    )()
    writer.SetInputData(_with_field(model.mesh, model.system) if suffix == ".vtp" else model.mesh)
    if suffix == ".ply":
        _colour(writer, model.mesh)
        if stated:
            writer.AddComment(stated)
    elif suffix != ".vtp":
        writer.SetHeader(stated or "written by deepfeatures")
    if suffix != ".vtp":
        (writer.SetFileTypeToBinary if model.is_binary else writer.SetFileTypeToASCII)()
    if suffix == ".vtk":
        writer.SetFileVersion(42)  # as Slicer writes it, which more programs read than 5.1
    return writer


def _header(suffix: str, reader: Any, mesh: vtkPointSet) -> str:
    """The part of a file that may state its coordinate system."""
    if suffix == ".ply":
        comments = reader.GetComments()
        return "\n".join(comments.GetValue(number) for number in range(comments.GetNumberOfValues()))
    if suffix == ".vtp":
        field = mesh.GetFieldData().GetAbstractArray("SPACE")
        return f"SPACE={field.GetValue(0)}" if field is not None and field.GetNumberOfValues() else ""
    return reader.GetHeader() or ""


def _with_field(mesh: vtkPointSet, system: str | None) -> vtkPointSet:
    """The mesh with its coordinate system in a field, as Slicer has it in VTP files."""
    from vtkmodules.vtkCommonCore import vtkStringArray

    stated = mesh.NewInstance()
    stated.ShallowCopy(mesh)
    if system:
        field = vtkStringArray()
        field.SetName("SPACE")
        field.InsertNextValue(system)
        stated.GetFieldData().AddArray(field)
    return stated


def _colour(writer: Any, mesh: vtkPointSet) -> None:
    """Colours of points, the only scalars that VTK reads from PLY files."""
    for name in ("RGBA", "RGB"):
        if mesh.GetPointData().HasArray(name):
            writer.SetArrayName(name)
            writer.SetEnableAlpha(name == "RGBA")
            return
