"""Notes on the header of a volume file, without PyTorch and without reading voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deepfeatures.data.notes import Note
from deepfeatures.errors import InputError
from deepfeatures.io import metaimage, nifti, nrrd

CHECKS: dict[str, Callable[[Path], tuple[Note, ...]]] = {
    ".nrrd": nrrd.check_header,
    ".nhdr": nrrd.check_header,
    ".mha": metaimage.check_header,
    ".mhd": metaimage.check_header,
}


def header_notes(path: str | Path) -> tuple[Note, ...]:
    """What people should know of the header of a NIfTI, NRRD or MetaImage file.

    Nothing where the file is of another kind, or cannot be read: whoever reads its voxels says so.
    """
    path = Path(path)
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            header = nifti.read_header(path)
            return nifti.notes_of(header) if header else ()
        check = CHECKS.get(path.suffix.lower())
        return check(path) if check and path.is_file() else ()
    except (InputError, OSError):
        return ()
