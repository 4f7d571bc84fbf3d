"""The scans of a folder, flat or in the BIDS layout; masks and segmentations are told from them by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import IMAGE_SUFFIXES, image_stem
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.io.ome_zarr import is_zarr

KEPT = 4  # in memory
NAMED_LABEL_MAP = Note(NoteKind.NAMES, "its name says that it is a mask or segmentation: it is read as a scan")
SINGLE_FILE_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".dcm", ".ima"))


# What names of label maps end in (BIDS, FreeSurfer, FSL, 3D Slicer, nnU-Net and others), before a number, a version or
# what was done to the map; and what stands within them.
LABEL_MAP = re.compile(
    r"""
    (?<![ ._-]no)(?<![ ._-]without)(?:^|[ ._-])(?!(?:no|non|un)(?:mask|seg))
    (?:[^ ._-]*(?:mask|seg|segmentation|labelmap)s?|labels?|lbls?|rois?|(?:prob|d)tissue|pve)
    (?:[ ._-]?\(?v?\d+\)?|[ ._-](?:dil|ero|bin|resampled|registered|edited|final|copy)[a-z]*)*$
    |(?:^|[ ._+-])(?:aseg|aparc|wmparc)(?:[ ._+-]|$)
    |(?:^|_)label-[^_]+
    |(?:^|_)desc-(?!(?:no|non|un)mask)[^_]*mask(?:_|$)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def find_volumes(folder: str | Path) -> dict[str, Path]:
    """Scans, volume files and OME-Zarr folders, by name without image suffix, sorted by it.

    Of a flat folder all its files. Where the folder has `sub-*` folders (BIDS), the volumes in `anat` folders below
    them, sessions included. Hidden files do not count, nor do the label maps of `find_label_maps`.

    Raises:
        InputError: There is no such folder, it has no scans, or two of them have the same name.
    """
    volumes: dict[str, Path] = {}
    files = _volume_files(folder)
    for file in files:
        if not is_label_map(file):
            other = volumes.setdefault(image_stem(file), file)
            if other is not file:
                raise InputError(f"{other} and {file} have the same name; rename one or move it away")
    if files and not volumes:
        raise InputError(f"{folder} has only masks and segmentations, such as {files[0].name}; give the scans")
    if not volumes:
        raise InputError(
            f"{folder} has no NIfTI, NRRD, MetaImage or OME-Zarr volumes; give the folder in which they lie"
        )
    return volumes


def find_label_maps(folder: str | Path) -> list[Path]:
    """The masks and segmentations that `find_volumes` passes over, sorted; raises as that does without a folder."""
    return [file for file in _volume_files(folder) if is_label_map(file)]


def is_label_map(path: Path) -> bool:
    """Whether a volume is a mask, a segmentation or a map of one tissue, by its name."""
    return LABEL_MAP.search(image_stem(path)) is not None


def _volume_files(folder: str | Path) -> list[Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with volumes")
    subjects = [path for path in folder.glob("sub-*") if path.is_dir() and not is_zarr(path)]
    # not **, which would walk through the chunks of every OME-Zarr folder
    bids = [file for subject in subjects for pattern in ("anat/*", "ses-*/anat/*") for file in subject.glob(pattern)]
    # macOS puts a ._scan.nii.gz beside each scan on a foreign disk
    visible = [file for file in sorted(bids if subjects else folder.iterdir()) if not file.name.startswith(".")]
    return [
        file
        for file in visible
        if (file.name.lower().endswith(SINGLE_FILE_SUFFIXES) and file.is_file()) or is_zarr(file)
    ]


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
