"""Semi-landmarks: points of a curve or a surface, whose places along it are a matter of convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

SemiLandmarkKind = Literal["curve", "closed curve", "surface"]
FEWEST: dict[str, int] = {"curve": 3, "closed curve": 4, "surface": 6}  # points from which on a shape has tangents


@dataclass(frozen=True, eq=False)
class SemiLandmarks:
    """The points of one curve or surface.

    Args:
        name: Of the curve or surface.
        kind: A curve has its points in order; those of a surface have none.
        positions: LPS mm, `(N, 3)`.
    """

    name: str
    kind: SemiLandmarkKind
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def ends(self) -> tuple[int, ...]:
        """Points that do not slide: where an open curve ends."""
        return (0, len(self) - 1) if self.kind == "curve" else ()


def sliders(shapes: Sequence[SemiLandmarks], landmarks: int) -> list[tuple[int, int, int]]:
    """Rows before, slide, after of all points that slide along curves, as geomorph's `gpagen(curves=…)` takes them.

    Args:
        shapes: Their points follow the landmarks.
        landmarks: How many. Points are counted from 1.
    """
    rows, first = [], landmarks + 1
    for shape in shapes:
        count = len(shape)
        numbers = [] if shape.kind == "surface" else [n for n in range(count) if n not in shape.ends]
        rows += [(first + (n - 1) % count, first + n, first + (n + 1) % count) for n in numbers]
        first += count
    return rows
