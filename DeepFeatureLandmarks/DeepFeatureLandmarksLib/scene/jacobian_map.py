"""The Jacobian determinant of a transform as a volume node: where the target is larger, smaller, or folded."""

from __future__ import annotations

import numpy as np
import slicer

from DeepFeatureLandmarksLib.scene import nodes, transform_nodes
from deepfeatures.service.protocol import VolumeArray

COLOURS = "DeepFeatureLandmarks.jacobianColours"
NAME = "Jacobian determinant"
FOLDED, SMALLER, SAME, LARGER = (0.9, 0.0, 0.9), (0.13, 0.40, 0.67), (0.97, 0.97, 0.97), (0.70, 0.09, 0.17)
STEPS = 255  # between 0 and 2
LEGEND = "White: the same size. Red: larger in the target. Blue: smaller. Magenta: folded."


def jacobianNode(determinant: VolumeArray, transform):
    """A scalar volume node beneath the template: white at 1, red above, blue below, magenta where space folds.

    Args:
        determinant: On the template's grid.
        transform: Its node, which keeps one such map; it is filled again.
    """
    template, target = transform_nodes.requirePair(transform)
    name = f"{NAME} of {target.GetName()}"
    known = transform.GetNodeReference(transform_nodes.JACOBIAN)
    node = nodes.mapToNode(determinant, template.GetScene(), name, template, known)
    transform.SetNodeReferenceID(transform_nodes.JACOBIAN, node.GetID())
    node.SetDescription(LEGEND)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colours(template.GetScene()).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 2.0)
    return node


def colours(scene):
    """The colour table of such maps, one a scene."""
    known = scene.GetFirstNodeByName(NAME)
    if known is not None and known.GetAttribute(COLOURS):
        return known
    table = scene.AddNode(_table())
    table.SetAttribute(COLOURS, "1")
    return table


def _table():
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(NAME)
    table.SetNumberOfColors(STEPS + 1)
    table.SetColor(0, NAME, *FOLDED)
    for index in range(1, STEPS + 1):
        table.SetColor(index, f"{2 * index / STEPS:.2f}", *_shade(2 * index / STEPS))
    return table


def _shade(determinant: float) -> np.ndarray:
    """Red, green and blue."""
    end = LARGER if determinant > 1 else SMALLER
    share = min(abs(determinant - 1), 1.0)
    return (1 - share) * np.array(SAME) + share * np.array(end)
