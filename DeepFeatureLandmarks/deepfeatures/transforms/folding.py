"""Where a transform turns space inside out."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from deepfeatures.data.volume import Volume
from deepfeatures.transforms.anchoring import folds_beside_anchors
from deepfeatures.transforms.grid import Grid, voxels_of_cells
from deepfeatures.transforms.transform import Transform

CHECKED = 20_000  # places at most
STEP = 4  # voxels between places at which a map is computed
TOLERANCE = 0.005  # of a determinant, by which what is linear between them may be off
LEAST_SHARE = 1e-4  # that is told as a number
AT_ONCE = 1 << 16  # places that are computed together


def folded_share(transform: Transform, box: Grid) -> float:
    """The share of a box in which the Jacobian determinant is not positive, 0 to 1.

    It is that of the places of a lattice, and of the landmarks of a thin plate spline, beside which it folds first.
    """
    folded = transform.jacobian_determinant(_lattice(box).points()) <= 0
    return float(np.concatenate([folded, folds_beside_anchors(transform)]).mean())


def share_text(share: float) -> str:
    """A share of 0 to 1 in percent; one that is not 0 never reads as 0."""
    return f"{share:.2%}" if share >= LEAST_SHARE else f"less than {LEAST_SHARE:.2%}"


def jacobian_map(transform: Transform, template: Volume) -> Volume:
    """The Jacobian determinant at every voxel of the template: above 1 the target is larger there.

    It is computed at every fourth voxel, and between these where it is not linear enough.
    """
    grid = Grid.of(template)
    nodes = grid.every(STEP)
    coarse = torch.from_numpy(_determinants(transform, nodes.points())).reshape(nodes.size[::-1])[None, None]
    sizes = [(n - 1) * STEP + 1 for n in nodes.size[::-1]]
    fine = F.interpolate(coarse, sizes, mode="trilinear", align_corners=True)[0, 0]
    depth, height, width = template.voxels.shape
    found = fine[:depth, :height, :width].clone()
    bent = _bent_voxels(transform, nodes, coarse)[:depth, :height, :width].nonzero()
    points = grid.to_world(bent.flip(1).double().numpy())
    found[tuple(bent.T)] = torch.from_numpy(_determinants(transform, points))
    return template.with_voxels(found.float())


def _bent_voxels(transform: Transform, nodes: Grid, coarse: torch.Tensor) -> torch.Tensor:
    """Voxels of cells between nodes in whose middle the determinant is not what interpolation says, bool."""
    if min(nodes.size) == 1:
        return torch.ones([STEP * n for n in nodes.size[::-1]], dtype=torch.bool)
    middles = nodes.middles()
    error = F.avg_pool3d(coarse, 2, 1).flatten() - torch.from_numpy(_determinants(transform, middles.points()))
    cells = (error.abs() > TOLERANCE).reshape(middles.size[::-1])
    return F.pad(voxels_of_cells(cells, STEP), (0, 1) * 3)  # the last voxel may be a node


def _determinants(transform: Transform, points: np.ndarray) -> np.ndarray:
    parts = np.array_split(points, max(1, len(points) // AT_ONCE))
    return np.concatenate([transform.jacobian_determinant(part) for part in parts])


def _lattice(box: Grid) -> Grid:
    lengths = (np.array(box.size) - 1) * box.spacing
    used = lengths[lengths > 0]
    return box.with_spacing(float(np.prod(used) / CHECKED) ** (1 / max(1, len(used))))
