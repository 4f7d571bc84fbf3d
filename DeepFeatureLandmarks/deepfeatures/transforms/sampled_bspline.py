"""Any smooth transform as an affine one after a cubic B-spline: few numbers, which all programs read alike.

Programs interpolate displacement fields each in its own way, linear or cubic, and treat what lies beyond them
differently. A cubic B-spline has one meaning; where its outer nodes are 0, so has what lies beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfeatures.transforms.anchoring import anchored, anchors_of, places_around
from deepfeatures.transforms.bspline import BSplineTransform
from deepfeatures.transforms.grid import Grid, faded
from deepfeatures.transforms.linear import LinearTransform, nearest_affine
from deepfeatures.transforms.transform import CompositeTransform, Transform

COARSEST_MM, COARSEST_NODES = 8.0, 4  # nodes apart where sampling begins, and fewest along an axis
MARGIN_MM = 5.0  # around the box in which nothing fades yet
CHECKED = 10_000  # random places at which the sampled transform is compared with the true one
CHECKED_NODES = 9  # along each axis, at which the largest displacement is looked for
FADE = 2.0  # lengths of the largest displacement in the box over which it fades beyond, so that nothing folds
EMPTY = 3  # outermost nodes on each side that are 0


@dataclass(frozen=True, eq=False)
class SampledBSpline:
    """A transform as a B-spline in the template and an affine transform after it.

    Args:
        transform: The two.
        error_mm: The largest difference at random places of the box, and around the landmarks of a spline.
    """

    transform: CompositeTransform
    error_mm: float


def sample_bspline_within(transform: Transform, box: Grid, tolerance_mm: float, most_nodes: int) -> SampledBSpline:
    """The coarsest B-spline that is exact within the tolerance in a box, or the finest with so many nodes.

    Beyond the box what is not affine fades away. Landmarks of a thin plate spline are met exactly.

    Args:
        transform: Template points to target points.
        box: In the template.
        tolerance_mm: Of `SampledBSpline.error_mm`.
        most_nodes: The spacing is made no finer than these allow, about.
    """
    linear, frame, reach = _frame(transform, box.padded(MARGIN_MM))
    random, anchors = box.random_points(CHECKED), anchors_of(transform)

    def sampled(spacing: float) -> SampledBSpline:
        spline = _interpolated(transform, linear.inverted(), frame, max(reach, 2 * spacing), spacing)
        found = CompositeTransform((spline, linear))
        places = np.concatenate([random, places_around(anchors, spacing)])
        return SampledBSpline(found, float(np.linalg.norm(found(places) - transform(places), axis=1).max()))

    spacing = min(COARSEST_MM, float(frame.spacing.min()) / COARSEST_NODES)
    found = sampled(spacing)
    finest = float(np.prod(frame.spacing + 2 * reach) / most_nodes) ** (1 / 3)
    while found.error_mm > tolerance_mm and spacing > finest:
        spacing = max(spacing / 2, finest)
        found = sampled(spacing)
    return found


def _frame(transform: Transform, box: Grid) -> tuple[LinearTransform, Grid, float]:
    """The affine part, the box along LPS, and over which distance what is left fades beyond it, mm."""
    linear = nearest_affine(transform, box)
    lengths = (np.array(box.size) - 1) * box.spacing
    places = Grid(box.origin, lengths / (CHECKED_NODES - 1), box.direction, (CHECKED_NODES,) * 3).points()
    left = np.linalg.norm(linear.inverted()(transform(places)) - places, axis=1).max()
    low, high = places.min(0), places.max(0)
    return linear, Grid(low, high - low, np.eye(3), (2, 2, 2)), FADE * float(left)


def _interpolated(
    transform: Transform, back: LinearTransform, frame: Grid, reach: float, spacing: float
) -> BSplineTransform:
    """The B-spline through what is left at the nodes of a lattice."""
    margin = np.ceil(reach / spacing) + EMPTY
    origin = frame.origin - margin * spacing
    size = np.ceil((frame.origin + frame.spacing - origin) / spacing + margin).astype(int) + 1
    nodes = Grid(origin, np.full(3, spacing), np.eye(3), tuple(size.tolist())).points()
    beyond = frame.distances(nodes) / reach
    counts = np.flatnonzero(beyond < 1)
    left = np.zeros_like(nodes)
    left[counts] = (back(transform(nodes[counts])) - nodes[counts]) * faded(beyond[counts, None])
    coefficients = left.T.reshape(3, *size[::-1])
    for axis in (1, 2, 3):
        coefficients = _coefficients(coefficients, axis)
    inner = (slice(None), *[slice(EMPTY, -EMPTY)] * 3)
    kept = np.zeros_like(coefficients)
    kept[inner] = coefficients[inner]
    anchors = anchors_of(transform)
    kept = anchored(kept, (anchors - origin) / spacing, back(transform(anchors)) - anchors, degree=3)
    return BSplineTransform(kept, origin, np.full(3, spacing))


def _coefficients(values: np.ndarray, axis: int) -> np.ndarray:
    """Of the cubic B-spline along one axis that takes these values at its nodes, and is 0 beyond them."""
    count = values.shape[axis]
    matrix = (4 * np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)) / 6
    first = np.moveaxis(values, axis, 0)
    solved = np.linalg.inv(matrix) @ first.reshape(count, -1)
    return np.moveaxis(solved.reshape(first.shape), 0, axis)
