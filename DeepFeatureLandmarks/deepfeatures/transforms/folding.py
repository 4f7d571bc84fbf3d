"""Where a transform turns space inside out."""

from __future__ import annotations

import numpy as np

from deepfeatures.data.volume import Volume
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.transform import Transform

CHECKED = 20_000  # places at most


def folded_share(transform: Transform, box: Grid) -> float:
    """The share of a box in which the Jacobian determinant is not positive, 0 to 1, from a lattice of places."""
    return float((transform.jacobian_determinant(_lattice(box).points()) <= 0).mean())


def jacobian_map(transform: Transform, template: Volume) -> Volume:
    """The Jacobian determinant at every voxel of the template: above 1 the target is larger there."""
    nodes = Grid.of(template)
    parts = [transform.jacobian_determinant(part) for part in np.array_split(nodes.points(), template.size[2])]
    values = np.concatenate(parts).reshape(tuple(template.voxels.shape)).astype(np.float32)
    return template.with_voxels(values)


def _lattice(box: Grid) -> Grid:
    lengths = (np.array(box.size) - 1) * box.spacing
    used = lengths[lengths > 0]
    return box.with_spacing(float(np.prod(used) / CHECKED) ** (1 / max(1, len(used))))
