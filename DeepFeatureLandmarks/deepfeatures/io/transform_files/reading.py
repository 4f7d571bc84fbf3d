"""Transforms read from files, each as the map from template points to target points that it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepfeatures.errors import InputError, damaged, reading
from deepfeatures.io.atomic_write import require_utf8_name
from deepfeatures.io.transform_files import elastix, itk_records
from deepfeatures.io.transform_files.fields import FIELD_SUFFIXES, read_field
from deepfeatures.io.transform_files.itk_objects import from_itk
from deepfeatures.transforms.transform import Transform

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_SUFFIXES = (".tfm", ".txt")
RECORDS: dict[str, Callable[[Path], list[itk_records.Record]]] = {
    ".tfm": itk_records.read_text,
    ".txt": itk_records.read_text,
    ".mat": itk_records.read_matlab,
    ".h5": itk_records.read_hdf5,
    ".hdf5": itk_records.read_hdf5,
}
KNOWN = "give .h5, .tfm, .txt or .mat, or a displacement field as .nrrd, .mha or .nii.gz"


def read_transform(path: str | Path) -> Transform:
    """Read a transform that maps points of the template to points of the target, LPS mm.

    What ITK calls the fixed image is the template here, and the moving image the target; in 3D Slicer it is the
    direction "from parent". Where 3D Slicer has written an inverse, or a field of the kind "modeling", the result is
    the inverse of what the numbers say.

    Raises:
        InputError: There is no such file, it is no transform, or one that would be read wrongly.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    require_utf8_name(path)
    name = path.name.lower()
    if name.endswith(FIELD_SUFFIXES):
        return read_field(path)
    suffix = next((suffix for suffix in RECORDS if name.endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"{path} is not a known kind of transform file; {KNOWN}")
    if suffix in TEXT_SUFFIXES:
        head = path.read_bytes()[:1000].decode("utf-8", "replace")
        if elastix.begins(head):
            return elastix.read(path)
        if not head.lstrip().startswith("#Insight Transform File"):
            raise InputError(f"{path} is no transform of ITK or elastix; {KNOWN}")
    return _read_itk(path, suffix)


def _read_itk(path: Path, suffix: str) -> Transform:
    import SimpleITK as sitk

    try:
        found = sitk.ReadTransform(str(path))
    except (RuntimeError, KeyError) as error:  # KeyError: of a class for which SimpleITK has no name
        with reading(path):
            records = RECORDS[suffix](path)
        if not records:
            raise damaged(path) from error
        return itk_records.transform_of(records, path)
    return from_itk(found, path)
