"""What the tests of the Logic read from a scene."""

from __future__ import annotations

import numpy as np

MISSING = 3  # status of a control point


def world(node, name):
    return np.array(node.GetNthControlPointPositionWorld(index_of(node, name)))


def index_of(node, name):
    return next(i for i in range(node.GetNumberOfControlPoints()) if node.GetNthControlPointLabel(i) == name)


def statuses(logic, node):
    return {row.name: row.status for row in logic.reviewRows(node)}


def shifted(x=0.0, y=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix
