"""Transforms as ITK's files list them: class, parameters and fixed parameters. For classes that SimpleITK lacks.

3D Slicer writes thin plate splines and inverses (`Inverse...`) under names that ITK itself does not know.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfeatures.errors import InputError, quoted
from deepfeatures.io.transform_files.itk_objects import composed, from_itk
from deepfeatures.transforms.thin_plate_spline import fit_thin_plate_spline
from deepfeatures.transforms.transform import Transform

HEAD = "#Insight Transform File V1.0"
INVERSE = "Inverse"
SPLINE, COMPOSITE = "ThinPlateSplineKernelTransform", "CompositeTransform"
MATLAB_TYPES = {0: np.float64, 1: np.float32, 5: np.uint8}  # of version 4, the tens of its number


@dataclass(frozen=True, eq=False)
class Record:
    """One transform of a file.

    Args:
        name: Of its class, with precision and dimensions: `"AffineTransform_double_3_3"`.
        parameters, fixed: Its numbers.
    """

    name: str
    parameters: np.ndarray
    fixed: np.ndarray


def transform_of(records: list[Record], path: Path) -> Transform:
    """What the records of a file are together.

    Raises:
        InputError: A class or its numbers are not known, or there is no record.
    """
    listed = [_transform(record, path) for record in records if not record.name.startswith(COMPOSITE)]
    if not listed:
        raise InputError(f"{path} holds no transform; export it again")
    return composed(listed)


def read_text(path: Path) -> list[Record]:
    """Records of a `.tfm` or `.txt` file."""
    fields = re.findall(r"^(Transform|Parameters|FixedParameters):[ \t]*(.*)$", path.read_text("utf-8"), re.MULTILINE)
    records: list[dict[str, str]] = []
    for key, value in fields:
        if key == "Transform":
            records.append({})
        records[-1][key] = value
    return [
        Record(one["Transform"].strip(), _numbers(one.get("Parameters", "")), _numbers(one.get("FixedParameters", "")))
        for one in records
    ]


def read_matlab(path: Path) -> list[Record]:
    """Records of a `.mat` file of version 4, in which the parameters have the name of the class."""
    found = list(_matrices(path.read_bytes()))
    return [Record(name, values, fixed) for (name, values), (_, fixed) in zip(found[::2], found[1::2], strict=True)]


def read_hdf5(path: Path) -> list[Record]:
    """Records of an `.h5` file."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path} holds a transform of 3D Slicer that is read with h5py; install it with pip install h5py"
        ) from error
    with h5py.File(path) as file:
        group = file["TransformGroup"]
        entries = [group[key] for key in sorted(group, key=int)]
        return [
            Record(
                entry["TransformType"][0].decode(),
                np.array(entry.get("TransformParameters", ()), float),
                np.array(entry.get("TransformFixedParameters", ()), float),
            )
            for entry in entries
        ]


def _matrices(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Name and numbers of each matrix."""
    start = 0
    while start < len(content):
        kind, rows, columns, _, length = np.frombuffer(content, "<i4", 5, start)
        start += 20
        name = content[start : start + length].rstrip(b"\0").decode("ascii")
        values = np.frombuffer(content, MATLAB_TYPES[int(kind) // 10 % 10], rows * columns, start + length)
        start += length + values.nbytes
        yield name, values.astype(float)


def _transform(record: Record, path: Path) -> Transform:
    if record.name.startswith(INVERSE):
        forward = Record(record.name.removeprefix(INVERSE), record.parameters, record.fixed)
        return _transform(forward, path).inverted()
    if record.name.startswith(SPLINE):
        source, target = record.parameters.reshape(-1, 3), record.fixed.reshape(-1, 3)
        return fit_thin_plate_spline(source, target, np.zeros(len(source)))[0]
    return _of_simpleitk(record, path)


def _of_simpleitk(record: Record, path: Path) -> Transform:
    """By way of a file, as SimpleITK makes no transform from the name of its class.

    It is the only one of a composite, for SimpleITK stumbles over a few of ITK's classes by themselves.
    """
    import SimpleITK as sitk

    lines = [HEAD, "#Transform 0", f"Transform: {COMPOSITE}_double_3_3", "#Transform 1", f"Transform: {record.name}"]
    lines += [f"Parameters: {_text(record.parameters)}", f"FixedParameters: {_text(record.fixed)}"]
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "one.tfm"
        draft.write_text("\n".join(lines) + "\n", "ascii")
        try:
            return from_itk(sitk.ReadTransform(str(draft)), path)
        except RuntimeError as error:
            raise InputError(
                f"{path} holds a transform of the class {quoted(record.name)}, which cannot be read; export it as a"
                " displacement field"
            ) from error


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), float)


def _text(numbers: np.ndarray) -> str:
    return " ".join(map(repr, numbers.tolist()))
