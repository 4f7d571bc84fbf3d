"""One small anatomy, stored in many ways: a few voxels of unlike values, each at a place known in LPS mm."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deepfeatures.data.notes import NoteKind
from deepfeatures.data.volume import Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
TOLERANCE_MM = 0.01  # a ninetieth of a voxel: numbers in headers are rounded to float32 or a few decimals


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A volume as it may be stored.

    Args:
        voxels: int16 values `(depth, height, width)`, 0 for none.
        origin: LPS mm of the first voxel.
        spacing: Millimetres along x, y, z.
        direction: Columns are the LPS directions of x, y, z.
    """

    voxels: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray

    @property
    def affine(self) -> np.ndarray:
        """The `(3, 4)` matrix from `(x, y, z)` voxel index to LPS mm."""
        return np.column_stack([self.direction * self.spacing, self.origin])

    @property
    def affine_ras(self) -> np.ndarray:
        """The same to RAS mm, `(4, 4)`."""
        return np.vstack([RAS_FROM_LPS @ self.affine, [0, 0, 0, 1]])

    def stored(self, order: tuple[int, int, int], flipped: tuple[bool, bool, bool]) -> Anatomy:
        """The same anatomy with its axes in another order, or running the other way."""
        lengths = np.array(self.voxels.shape[::-1])
        first = np.zeros(3)
        for axis, flip in zip(order, flipped, strict=True):
            first[axis] = lengths[axis] - 1 if flip else 0
        signs = np.where(flipped, -1, 1)
        voxels = self.voxels.transpose([2 - axis for axis in order[::-1]])
        return Anatomy(
            np.ascontiguousarray(voxels[tuple(slice(None, None, sign) for sign in signs[::-1])]),
            self.origin + self.affine[:, :3] @ first,
            self.spacing[list(order)],
            self.direction[:, list(order)] * signs,
        )

    def scaled(self, factor: float) -> Anatomy:
        """All lengths multiplied, as in another unit."""
        return replace(self, origin=self.origin * factor, spacing=self.spacing * factor)


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to store the anatomy.

    Args:
        name: What tests call it.
        write: Writes it into a folder and returns the path to read.
        told: Kinds of the notes that its reader must attach: all of them, and no other.
    """

    name: str
    write: Callable[[Path], Path]
    told: Collection[NoteKind] = ()


def places(voxels: np.ndarray, affine: np.ndarray) -> dict[int, np.ndarray]:
    """LPS mm of each voxel that is not 0, by its value."""
    found = np.argwhere(voxels)
    return {
        round(float(voxels[tuple(index)])): affine[:, :3] @ index[::-1] + affine[:, 3] for index in found
    }  # the last axis is x


def assert_in_place(volume: Volume, truth: dict[int, np.ndarray]) -> None:
    """Each voxel lies where it should."""
    found = places(volume.voxels.numpy(), volume.index_to_world[:3])
    assert found.keys() == truth.keys()
    for value, place in truth.items():
        np.testing.assert_allclose(found[value], place, atol=TOLERANCE_MM)


def _made(rotation: np.ndarray) -> Anatomy:
    voxels = np.zeros((9, 8, 7), np.int16)
    for value, (x, y, z) in {41: (1, 2, 3), 67: (5, 1, 7), 93: (2, 6, 1), 120: (6, 7, 8)}.items():
        voxels[z, y, x] = value
    return Anatomy(voxels, np.array([-31.5, 22.25, -140.75]), np.array([0.9, 1.1, 2.5]), rotation)


STRAIGHT = _made(np.eye(3))
OBLIQUE = _made(Rotation.from_euler("xyz", (12, -25, 38), degrees=True).as_matrix())
BOTH = {"straight": STRAIGHT, "oblique": OBLIQUE}
TRUTHS = {name: places(anatomy.voxels, anatomy.affine) for name, anatomy in BOTH.items()}
ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))
