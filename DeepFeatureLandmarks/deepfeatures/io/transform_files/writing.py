"""Transforms written to files, each exactly as the map from template points to target points that it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, is_out_of_memory
from deepfeatures.io.atomic_write import atomic_write, require_utf8_name, write_text
from deepfeatures.io.transform_files import elastix
from deepfeatures.io.transform_files.fields import WRITABLE_FIELDS, sampled_field, write_field
from deepfeatures.io.transform_files.itk_objects import can_be_itk, to_itk
from deepfeatures.transforms.bspline import BSplineTransform
from deepfeatures.transforms.displacement_field import DisplacementFieldTransform
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.sampled_bspline import sample_bspline_within
from deepfeatures.transforms.thin_plate_spline import ThinPlateSplineTransform
from deepfeatures.transforms.transform import CompositeTransform, Transform

TOLERANCE_MM = 1e-3  # of sampling, where that takes no more nodes than these
BSPLINE_NODES, TEXT_NODES = 800_000, 300_000  # 20 MB in a file of numbers, 9 MB in one of text
DIRECTION = "Maps points of the template to points of the target, LPS mm: resamples the target on the template's grid."
KNOWN = "give a name that ends in .h5 or .tfm, .mat, .txt (elastix), .nrrd, .mha or .nii.gz"


def write_transform(
    transform: Transform, path: str | Path, domain: Volume | None = None, description: str = DIRECTION
) -> tuple[Note, ...]:
    """Write a transform from template points to target points, LPS mm, whole or not at all.

    `.h5` and `.tfm` are ITK's, which ANTs and 3D Slicer read, too; `.mat` is the same for linear transforms. `.txt` is
    for elastix and transformix. `.nrrd`, `.mha`, `.nii.gz` and `.nii` are displacement fields. What a format cannot
    hold as it is, is sampled, finely enough for 0.001 mm or as finely as the size of the file allows.

    Args:
        transform: Template points to target points.
        path: File to write; of an elastix file with two parts, the first is written beside it.
        domain: The template, for what must be sampled.
        description: One sentence for people, which the file keeps.

    Returns:
        How large the error of sampling is, and what else the file does not hold.

    Raises:
        InputError: The suffix is another or does not fit the transform, or the file cannot be written.
    """
    path = Path(path)
    require_utf8_name(path)
    suffix = _suffix_of(path)
    if suffix is None:
        raise InputError(f"cannot write {path}: {KNOWN}")
    write = WRITERS.get(suffix, _write_field)
    return write(transform, path, suffix, domain, " ".join(description.split()))


def is_transform_file(path: Path) -> bool:
    """Whether a name is one that `write_transform` takes."""
    return _suffix_of(path) is not None


def _write_itk(
    transform: Transform, path: Path, suffix: str, domain: Volume | None, description: str
) -> tuple[Note, ...]:
    import SimpleITK as sitk

    notes: tuple[Note, ...] = ()
    if not can_be_itk(transform):
        most = BSPLINE_NODES if suffix == ".h5" else TEXT_NODES
        sampled = sample_bspline_within(transform, _box(domain, path), TOLERANCE_MM, most)
        transform, notes = sampled.transform, _sampling_notes(sampled.error_mm)
    with atomic_write(path, suffix) as draft:
        _native(lambda: sitk.WriteTransform(to_itk(transform), str(draft)), path)
        _describe(draft, description)
    return notes


def _write_matlab(
    transform: Transform, path: Path, suffix: str, domain: Volume | None, description: str
) -> tuple[Note, ...]:
    if not isinstance(transform, LinearTransform):
        raise InputError(f"cannot write {path}: .mat holds linear transforms only; give a name that ends in .h5")
    return _write_itk(transform, path, suffix, domain, description)


def _write_elastix(
    transform: Transform, path: Path, suffix: str, domain: Volume | None, description: str
) -> tuple[Note, ...]:
    if isinstance(transform, LinearTransform | ThinPlateSplineTransform):
        write_text(path, elastix.render(transform, _domain(domain, path), description))
        return ()
    notes: tuple[Note, ...] = ()
    if not _is_bspline_and_linear(transform):
        sampled = sample_bspline_within(transform, _box(domain, path), TOLERANCE_MM, TEXT_NODES)
        transform, notes = sampled.transform, _sampling_notes(sampled.error_mm)
    assert isinstance(transform, CompositeTransform)
    first, second = transform.parts
    before = path.with_name(f"{path.name[: -len(suffix)]}.bspline{suffix}")
    write_text(before, elastix.render(first, _domain(domain, path), f"{description} First part of two."))
    write_text(path, elastix.render(second, _domain(domain, path), description, before))
    text = f"{path.name} names {before.name}: keep both, and where they are moved change the path in {path.name}"
    return (*notes, Note(NoteKind.TRANSFORM, text))


def _is_bspline_and_linear(transform: Transform) -> bool:
    """Whether these are its parts, in this order."""
    parts = transform.parts if isinstance(transform, CompositeTransform) else ()
    kinds = BSplineTransform, LinearTransform
    return len(parts) == 2 and all(isinstance(part, kind) for part, kind in zip(parts, kinds, strict=True))


def _write_field(
    transform: Transform, path: Path, suffix: str, domain: Volume | None, description: str
) -> tuple[Note, ...]:
    beyond = Note(NoteKind.TRANSFORM, "beyond the field in the file nothing moves; .h5 and .tfm go on there")
    notes: tuple[Note, ...] = (beyond,)
    if not isinstance(transform, DisplacementFieldTransform):
        field, error_mm = sampled_field(transform, _box(domain, path), TOLERANCE_MM)
        transform, notes = field, (*_sampling_notes(error_mm), beyond)
    with atomic_write(path, suffix) as draft:
        _native(lambda: write_field(transform, draft, description), path)
    return notes


WRITERS: dict[str, Callable[..., tuple[Note, ...]]] = {
    ".h5": _write_itk,
    ".tfm": _write_itk,
    ".mat": _write_matlab,
    ".txt": _write_elastix,
}


def _suffix_of(path: Path) -> str | None:
    """By which the file's format is known."""
    return next((suffix for suffix in (*WRITERS, *WRITABLE_FIELDS) if path.name.lower().endswith(suffix)), None)


def _describe(draft: Path, description: str) -> None:
    """Add the description where the format has a place for it."""
    if draft.suffix == ".tfm":
        # on the line that numbers the first transform: nitransforms stumbles over a line of its own
        text = draft.read_text("ascii").replace("#Transform 0", f"#Transform 0 {description}", 1)
        draft.write_text(text, "utf-8")
    elif draft.suffix == ".h5":
        with contextlib.suppress(ImportError):  # SimpleITK writes none, and h5py is not needed for anything else here
            import h5py

            with h5py.File(draft, "r+") as file:
                file.attrs["description"] = description


def _native(write: Callable[[], None], path: Path) -> None:
    try:
        write()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError(str(path)) from error
        raise InputError(f"cannot write {path}; choose a folder that you may write to and that has room") from error


def _sampling_notes(error_mm: float) -> tuple[Note, ...]:
    if error_mm <= TOLERANCE_MM:
        return ()
    text = f"the file holds the transform sampled on a lattice, which is off by up to {error_mm:.2g} mm"
    return (Note(NoteKind.TRANSFORM, text),)


def _domain(domain: Volume | None, path: Path) -> Volume:
    if domain is None:
        raise InputError(f"cannot write {path} without the template, on whose grid the transform is sampled; give it")
    return domain


def _box(domain: Volume | None, path: Path) -> Grid:
    return Grid.of(_domain(domain, path))
