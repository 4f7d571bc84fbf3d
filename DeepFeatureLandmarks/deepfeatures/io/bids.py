"""The volumes of a folder, flat or in the BIDS layout, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import IMAGE_SUFFIXES, image_stem
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.io.ome_zarr import is_zarr

KEPT = 4  # in memory
SINGLE_FILE_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".dcm", ".ima"))


def find_volumes(folder: str | Path) -> dict[str, Path]:
    """Volume files and OME-Zarr folders by name without image suffix, sorted by it.

    Of a flat folder all its files. Where the folder has `sub-*` folders (BIDS), the volumes in `anat` folders below
    them, sessions included. Hidden files do not count.

    Raises:
        InputError: There is no such folder, it has no volumes, or two of them have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with volumes")
    subjects = [path for path in folder.glob("sub-*") if path.is_dir() and not is_zarr(path)]
    # not **, which would walk through the chunks of every OME-Zarr folder
    bids = [file for subject in subjects for pattern in ("anat/*", "ses-*/anat/*") for file in subject.glob(pattern)]
    files = bids if subjects else folder.iterdir()
    volumes: dict[str, Path] = {}
    for file in sorted(files):
        if file.name.startswith("."):  # macOS puts a ._scan.nii.gz beside each scan on a foreign disk
            continue
        if (file.name.lower().endswith(SINGLE_FILE_SUFFIXES) and file.is_file()) or is_zarr(file):
            other = volumes.setdefault(image_stem(file), file)
            if other is not file:
                raise InputError(f"{other} and {file} have the same name; rename one or move it away")
    if not volumes:
        raise InputError(
            f"{folder} has no NIfTI, NRRD, MetaImage or OME-Zarr volumes; give the folder in which they lie"
        )
    return volumes


class LazyVolumes(Mapping[str, Volume]):
    """Volumes by name, read when they are asked for; the last few stay in memory.

    Args:
        paths: Of `find_volumes`.
    """

    def __init__(self, paths: Mapping[str, Path]):
        self._paths = dict(paths)
        self._read = lru_cache(maxsize=KEPT)(self._from_file)

    def __getitem__(self, name: str) -> Volume:
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, name: object) -> bool:  # without reading it
        return name in self._paths

    def _from_file(self, name: str) -> Volume:
        with suppress_native_output():
            return read_within_memory(self._paths[name])
