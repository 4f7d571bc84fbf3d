"""A box cut into cells, each into five tetrahedra, with a velocity that is affine in each and continuous between them.

Freifeld et al., Transformations Based on Continuous Piecewise-Affine Velocity Fields (PAMI 2017), give each tetrahedron
an affine velocity and find the continuous ones among them by a singular value decomposition. Here the velocities of the
vertices are the parameters, since each choice of them is one continuous field, and each continuous field is one choice.

Coordinates are in cells: the vertices lie at whole numbers, the first at 0. Order: x, y, z; arrays of vertices z, y, x.
"""

from __future__ import annotations

from functools import lru_cache

import torch

# The cell between vertices whose coordinates are all even (0) and all odd (1), so that neighbours mirror each other.
INNER = ((0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))  # the tetrahedron in the middle
OUTER = ((1, 1, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0))  # the corner beyond the face that lies opposite to each of these
TETRAHEDRA = (INNER, *((*INNER[:k], OUTER[k], *INNER[k + 1 :]) for k in range(4)))
Cells = tuple[int, int, int]


def affine_velocities(velocities: torch.Tensor) -> torch.Tensor:
    """The affine velocity of each tetrahedron; linear in the velocities of the vertices.

    Args:
        velocities: Of vertices, in cells, `(B, nz + 1, ny + 1, nx + 1, 3)`.

    Returns:
        `(B * T, 12)`: the velocity at `x, y, z` is the matrix `(3, 4)` times `x, y, z, 1`.
    """
    vertices, to_affine = _corners(cells_of(velocities))
    at_corners = velocities.flatten(1, 3)[:, vertices.to(velocities.device)]
    return torch.einsum("btkc,tkj->btcj", at_corners, to_affine.to(velocities)).flatten(2).flatten(0, 1)


def affine_at(affine: torch.Tensor, places: torch.Tensor, cells: Cells) -> torch.Tensor:
    """The affine velocities, as `affine_velocities` returns them, at places `(3, B, N)`: `(3, 4, B, N)`."""
    number = tetrahedron_of(places, cells)
    first = torch.arange(len(number), device=number.device)[:, None] * tetrahedron_count(cells)
    # Whole rows are gathered, and turned then: four times as fast as gathering each number.
    found = affine.index_select(0, (number + first).flatten()).T.contiguous()
    return found.view(3, 4, *number.shape)


def tetrahedron_of(places: torch.Tensor, cells: Cells) -> torch.Tensor:
    """The number of the tetrahedron that holds each place `(3, ...)` of the box, `(...,)`."""
    places = places.detach()
    x, y, z = (at.floor().clamp_(0, n - 1) for at, n in zip(places, cells, strict=True))
    mirrored = (places - 2 * (places / 2).round_()).abs_()  # 0 at even vertices, 1 at odd ones
    total = mirrored.sum(0)
    which = (total > 2).to(places)
    for number, is_beyond in zip((4, 3, 2), 2 * mirrored > total, strict=True):
        which.add_(is_beyond, alpha=number)
    return z.mul_(cells[1]).add_(y).mul_(cells[0]).add_(x).mul_(len(TETRAHEDRA)).add_(which).long()


def vertex_weights(places: torch.Tensor, cells: Cells) -> tuple[torch.Tensor, torch.Tensor]:
    """Of which vertices the velocity at places is the mean.

    Args:
        places: `(N, 3)`; those beyond the box count as the nearest place in it.
        cells: Along x, y, z.

    Returns:
        Numbers of the vertices in the flattened array, and their weights, each `(N, 4)`.
    """
    places = inside(places.T, cells)
    vertices, to_affine = _corners(cells)
    which = tetrahedron_of(places, cells)
    return vertices[which], torch.einsum("jn,nkj->nk", _with_one(places), to_affine.to(places)[which])


def inside(places: torch.Tensor, cells: Cells) -> torch.Tensor:
    """The place in the box that is nearest to each, `(3, ...)`."""
    return torch.stack([at.clamp(0, n) for at, n in zip(places, cells, strict=True)])


def is_inside(places: torch.Tensor, cells: Cells) -> torch.Tensor:
    """Along which axes places `(3, ...)` lie in the box, `(3, ...)`."""
    return torch.stack([(at >= 0) & (at <= n) for at, n in zip(places, cells, strict=True)])


def cells_of(velocities: torch.Tensor) -> Cells:
    """Cells along x, y, z of velocities of vertices `(..., nz + 1, ny + 1, nx + 1, 3)`."""
    nz, ny, nx = (n - 1 for n in velocities.shape[-4:-1])
    return nx, ny, nz


def tetrahedron_count(cells: Cells) -> int:
    """In all cells."""
    return cells[0] * cells[1] * cells[2] * len(TETRAHEDRA)


@lru_cache(maxsize=8)
def _corners(cells: Cells) -> tuple[torch.Tensor, torch.Tensor]:
    """The vertices of each tetrahedron `(T, 4)`, and barycentric coordinates as affine functions `(T, 4, 4)`."""
    nx, ny, nz = cells
    z, y, x = torch.meshgrid(*(torch.arange(n) for n in (nz, ny, nx)), indexing="ij")
    cell = torch.stack([x, y, z], -1).reshape(-1, 1, 1, 3)
    corner = torch.tensor(TETRAHEDRA)[None]
    vertex = cell + torch.where(cell % 2 == 1, 1 - corner, corner)
    number = (vertex[..., 2] * (ny + 1) + vertex[..., 1]) * (nx + 1) + vertex[..., 0]
    # Barycentric coordinates are the functions that are 1 at one corner and 0 at the others.
    to_affine = torch.linalg.inv(_with_one(vertex.double().movedim(-1, 0)).movedim(0, -1)).mT
    return number.flatten(0, 1), to_affine.flatten(0, 1)


def _with_one(places: torch.Tensor) -> torch.Tensor:
    """Places `(3, ...)` with a 1 below, `(4, ...)`."""
    return torch.cat([places, torch.ones_like(places[:1])])
