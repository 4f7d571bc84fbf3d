"""Displacement fields on a grid, as ITK has them; and any transform sampled as one, with a stated error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from deepfeatures.transforms.grid import Grid, faded
from deepfeatures.transforms.linear import LinearTransform, nearest_affine
from deepfeatures.transforms.samplers import centre_units, sample_by_centres
from deepfeatures.transforms.transform import CompositeTransform, InversePoints, Transform, as_points

CHECKED = 20_000  # random places at which a sampled field is compared with its transform
COARSEST_MM = 8.0  # between nodes where sampling begins
FEWEST_STEPS = 8  # between nodes along the shortest edge
MARGIN = 0.25  # of the shortest edge of the template, in which the field fades


@dataclass(frozen=True, eq=False)
class DisplacementFieldTransform(Transform):
    """Moves points by vectors that are linear between the nodes of a grid; beyond its voxels nothing moves.

    Args:
        vectors: LPS mm, `(D, H, W, 3)`.
        grid: Its nodes, in the template.
    """

    vectors: np.ndarray
    grid: Grid

    def __call__(self, points: np.ndarray) -> np.ndarray:
        points = as_points(points)
        index = self.grid.to_index(points)
        size = np.array(self.grid.size)
        field = torch.from_numpy(self.vectors).movedim(-1, 0)[None].double()
        units = centre_units(torch.from_numpy(index), field.shape)[None, None, None]
        moved = sample_by_centres(field, units)[0, :, 0, 0].T.numpy()
        is_inside = ((index >= -0.5) & (index < size - 0.5)).all(1)
        return points + moved * is_inside[:, None]

    def inverse(self, points: np.ndarray, start: np.ndarray | None = None) -> InversePoints:
        """See `Transform`. A field may lead to where it has no nodes: the search begins within it."""
        if start is None:
            wanted = as_points(points)
            guess = self._nearest_affine.inverted()(wanted)
            start = np.where(self.grid.contains(guess)[:, None], guess, wanted)
        return super().inverse(points, start)

    @cached_property
    def _nearest_affine(self) -> LinearTransform:
        return nearest_affine(self, self.grid)


@dataclass(frozen=True, eq=False)
class SampledTransform:
    """Any transform as files hold it: a displacement field first, then an affine transform.

    Args:
        transform: Field and affine transform. Beyond the template the field fades, and the affine transform is left.
        error_mm: The largest difference at random places in the template, in target mm.
    """

    transform: CompositeTransform
    error_mm: float

    @property
    def field(self) -> DisplacementFieldTransform:
        """Displacements within the template, before the affine transform."""
        field = self.transform.parts[0]
        assert isinstance(field, DisplacementFieldTransform)
        return field

    @property
    def linear(self) -> LinearTransform:
        """What comes after the field."""
        linear = self.transform.parts[1]
        assert isinstance(linear, LinearTransform)
        return linear


def sample_transform(transform: Transform, template: Grid, tolerance_mm: float, most_nodes: int) -> SampledTransform:
    """A transform as a displacement field and an affine transform, of which files hold one or both.

    The affine transform is what is nearest to the whole within the template; the field is what is left. So the field is
    small, may be coarse, and can end beyond the template without a tear.

    Args:
        transform: Template points to target points.
        template: Where the transform is used.
        tolerance_mm: The spacing of the field's nodes is halved until the error is below this.
        most_nodes: But no further than to these.
    """
    linear = nearest_affine(transform, template)
    back = linear.inverted()
    margin_mm = MARGIN * _shortest_edge(template)
    spacing = min(COARSEST_MM, _shortest_edge(template) / FEWEST_STEPS)
    found = None
    while True:
        grid = template.padded(margin_mm).with_spacing(spacing)
        if found is not None and np.prod(grid.size) > most_nodes:
            return found
        nodes = grid.points()
        vectors = faded(template.distances(nodes) / margin_mm)[:, None] * (back(transform(nodes)) - nodes)
        field = DisplacementFieldTransform(vectors.reshape(*grid.size[::-1], 3), grid)
        found = SampledTransform(
            CompositeTransform((field, linear)), _error_mm(field.then(linear), transform, template)
        )
        if found.error_mm <= tolerance_mm:
            return found
        spacing /= 2


def _error_mm(sampled: Transform, transform: Transform, template: Grid) -> float:
    places = template.random_points(CHECKED)
    return float(np.linalg.norm(sampled(places) - transform(places), axis=1).max())


def _shortest_edge(template: Grid) -> float:
    return float(min((n - 1) * step for n, step in zip(template.size, template.spacing, strict=True) if n > 1))
