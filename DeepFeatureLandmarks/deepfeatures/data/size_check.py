"""Whether two volumes can have one unit of length, by their sizes."""

from __future__ import annotations

import numpy as np

from deepfeatures.data.geometry import edges_text, size_mm
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.volume import Volume

# A crop has another extent, and a coarser scan other voxels. Only another unit, or another species, has both.
VOXEL_RATIO, EXTENT_RATIO = 4.0, 3.0


def notes_on_size(template: Volume, target: Volume) -> tuple[Note, ...]:
    """A note where the target's voxels and its extent are several times those of the template, or the other way around.

    Units that are mistaken make both ten or a thousand times as large. The ratios are the cube roots of those of the
    volumes, so that thick slices or a crop along one axis do not count much.
    """
    template_mm, target_mm = (size_mm(volume.size, volume.spacing) for volume in (template, target))
    voxels, extents = np.log(target.spacing / template.spacing).mean(), np.log(target_mm / template_mm).mean()
    if voxels * extents < 0 or abs(voxels) < np.log(VOXEL_RATIO) or abs(extents) < np.log(EXTENT_RATIO):
        return ()
    sizes = f"template {edges_text(template_mm)} mm, target {edges_text(target_mm)} mm"
    return (Note(NoteKind.SIZE, f"{sizes}: check the unit of length of both"),)
