"""Cubes cut at random from any folder of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from deepfeatures.errors import InputError, damaged
from deepfeatures.features.patch import scale_patches
from deepfeatures.io.image_names import IMAGE_SUFFIXES
from deepfeatures.training.noise import Random

DECATHLON_TASKS, DECATHLON_IMAGES = "Task[0-9][0-9]_*", "imagesTr"
SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".dcm", ".ima"))  # one file, one volume
HELD_OUT = 10  # one volume in so many


@dataclass(frozen=True)
class Source:
    """One volume to cut patches from.

    Args:
        path: Its file.
        channel: Which volume of a file with four axes, `None` where the file has three.
        patch_size: Edge of its patches in voxels.
    """

    path: Path
    channel: int | None
    patch_size: int


def find_sources(folder: Path, patch_size: int, small_patch_size: int) -> tuple[list[Source], list[Source]]:
    """Volumes to train with, and those held out: the last tenth of each data set in the order of the names.

    Names that follow one another are often one person's, so that they stay together. Known by name is the layout of
    the Medical Segmentation Decathlon: tasks (`Task04_Hippocampus`) in `folder`, or one of them; of each its
    `imagesTr`. In any other folder every volume counts, wherever it lies below; hidden files do not. Every channel of a
    file with four axes is a volume of its own.

    Args:
        folder: Where to look.
        patch_size: Edge of the patches in voxels.
        small_patch_size: The same where a volume is too small for `patch_size`; a volume that is too small even for
            this is left out, as is one in colour.

    Raises:
        InputError: A file is damaged, or there are too few volumes.
    """
    tasks = sorted(task for task in folder.glob(DECATHLON_TASKS) if task.is_dir()) or [folder]
    kept, held_out = [], []
    for task in tasks:
        files = _volume_files(task / DECATHLON_IMAGES if (task / DECATHLON_IMAGES).is_dir() else task)
        first_held_out = len(files) - max(1, len(files) // HELD_OUT)
        for position, file in enumerate(files):
            group = kept if position < first_held_out else held_out
            group += _sources(file, patch_size, small_patch_size)
    if not kept or not held_out:
        raise InputError(
            f"{folder} holds too few volumes of at least {small_patch_size} voxels along each axis; give a folder with"
            " two or more NIfTI, NRRD or MetaImage files."
        )
    return kept, held_out


class PatchStream:
    """Batches of patches; batch number `step` is always the same one.

    A window of volumes moves through all of them in an order drawn from the seed, one volume a step, so that few
    need to be in memory. A batch is cut from those in the window.

    Args:
        sources: The volumes.
        batch: Patches a step, all of one size.
        window: Volumes held in memory.
        seed: Decides everything.
    """

    def __init__(self, sources: Sequence[Source], batch: int, window: int, seed: int):
        self.batch_size, self._seed = batch, seed
        order = Random("cpu", seed, 3).permutation(len(sources)).tolist()
        self._sources = [sources[index] for index in order]
        self._window = min(window, len(sources))
        self._voxels: dict[Source, torch.Tensor] = {}

    def batch(self, step: int) -> torch.Tensor:
        """Patches number `step`, each scaled to [-127.5, 127.5], shape `(batch, 1, size, size, size)`, float32."""
        rng = Random("cpu", self._seed, 4, step)
        window = [self._sources[(step + k) % len(self._sources)] for k in range(self._window)]
        self._voxels = {source: voxels for source, voxels in self._voxels.items() if source in window}
        # the first volume decides the size, so that each size comes as often as its volumes do
        size = window[rng.whole_number(0, len(window) - 1)].patch_size
        fitting = [source for source in window if source.patch_size == size]
        patches = [_cut(self._read(fitting[int(k)]), size, rng) for k in rng.integers(len(fitting), self.batch_size)]
        return scale_patches(torch.stack(patches)[:, None])

    def _read(self, source: Source) -> torch.Tensor:
        if source not in self._voxels:
            self._voxels[source] = _read(source)
        return self._voxels[source]


def _volume_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.name.lower().endswith(SUFFIXES)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _sources(file: Path, patch_size: int, small_patch_size: int) -> list[Source]:
    header = _header(file)
    size = header.GetSize()
    room = min(size[:3]) if len(size) >= 3 and header.GetNumberOfComponents() == 1 else 0
    fitting = next((edge for edge in (patch_size, small_patch_size) if edge <= room), None)
    if fitting is None:
        return []
    channels = range(size[3]) if len(size) > 3 else (None,)
    return [Source(file, channel, fitting) for channel in channels]


def _header(file: Path):
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise damaged(file) from error
    return reader


def _read(source: Source) -> torch.Tensor:
    """Voxels `(depth, height, width)` in the type of the file; the geometry plays no part in a patch."""
    import SimpleITK as sitk

    reader = _header(source.path)
    if source.channel is not None:
        size = reader.GetSize()
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        reader.SetExtractIndex([0, 0, 0, source.channel, *[0] * (len(size) - 4)])
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise damaged(source.path) from error
    return torch.from_numpy(voxels.astype("float32") if voxels.dtype.kind == "u" else voxels)


def _cut(voxels: torch.Tensor, size: int, rng: Random) -> torch.Tensor:
    starts = (rng.whole_number(0, n - size) for n in voxels.shape)
    patch = voxels[tuple(slice(start, start + size) for start in starts)]
    return torch.nan_to_num(patch.float(), posinf=0, neginf=0)
