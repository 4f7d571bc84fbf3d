"""Slices of the template and of the target that scroll and zoom together."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np


class LinkedNavigation:
    """Scrolling and zooming a slice moves its partner on the other side by as many millimetres.

    Slicer's own linking would put both at the same position in space, where the anatomy differs.
    """

    def __init__(self):
        self._observed: list = []
        self._known: dict = {}
        self._isMoving = False

    def connect(self, pairs) -> None:
        """Link pairs of slice nodes."""
        self.disconnect()
        for first, second in pairs:
            for node, partner in ((first, second), (second, first)):
                self._known[node] = _centreAndWidth(node)
                tag = node.AddObserver(
                    "ModifiedEvent", lambda caller, _, partner=partner: self._onModified(caller, partner)
                )
                self._observed.append((node, tag))

    def disconnect(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._known = [], {}

    @contextmanager
    def paused(self):
        """Slices do not move each other meanwhile."""
        self._isMoving = True
        try:
            yield
        finally:
            self._isMoving = False
            self._known = {node: _centreAndWidth(node) for node in self._known}

    def _onModified(self, node, partner) -> None:
        if self._isMoving:
            return
        (before, wideBefore), (centre, wide) = self._known[node], _centreAndWidth(node)
        self._known[node] = centre, wide
        moved, zoom = centre - before, wide / wideBefore if wideBefore else 1.0
        if np.allclose(moved, 0) and np.isclose(zoom, 1):
            return
        with self.paused():
            if not np.allclose(moved, 0):
                matrix = partner.GetSliceToRAS()
                for axis in range(3):
                    matrix.SetElement(axis, 3, matrix.GetElement(axis, 3) + moved[axis])
                partner.UpdateMatrices()
            if not np.isclose(zoom, 1):
                width, height, depth = partner.GetFieldOfView()
                partner.SetFieldOfView(width * zoom, height * zoom, depth)


def _centreAndWidth(node) -> tuple[np.ndarray, float]:
    """Centre in RAS mm and width in mm of what a slice node shows."""
    matrix = node.GetSliceToRAS()
    return np.array([matrix.GetElement(axis, 3) for axis in range(3)]), node.GetFieldOfView()[0]
