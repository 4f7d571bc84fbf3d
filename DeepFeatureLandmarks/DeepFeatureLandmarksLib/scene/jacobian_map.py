"""The Jacobian determinant of a transform as a volume node: where the target is larger, smaller, or folded."""

from __future__ import annotations

import numpy as np
import slicer

from DeepFeatureLandmarksLib.scene import nodes, transform_nodes
from deepfeatures.service.protocol import VolumeArray

COLOURS = "DeepFeatureLandmarks.jacobianColours"
NAME = "Jacobian determinant"
FOLDED, SMALLER, SAME, LARGER = (0.9, 0.0, 0.9), (0.13, 0.40, 0.80), (0.9, 0.9, 0.9), (0.85, 0.10, 0.15)
STEPS = 255  # between 0 and 2
FULL = 1.5  # times larger or smaller, from where on the colour is full
CLEAR = 1.05  # times larger or smaller, up to where nothing is coloured
PALEST = 0.25  # share of the full colour where colours begin
LEGEND = (
    "Clear: the same size within 5 %. Red: larger in the target, full at 1.5 times. Blue: smaller. Magenta: folded."
)


def jacobianNode(determinant: VolumeArray, transform):
    """A scalar volume node beneath the template: clear at 1, red above, blue below, magenta where space folds.

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
    table.SetColor(0, "folded", *FOLDED, 1.0)
    for index in range(1, STEPS + 1):
        table.SetColor(index, f"{2 * index / STEPS:.2f}", *_shade(2 * index / STEPS))
    return table


def _shade(determinant: float) -> np.ndarray:
    """Red, green, blue and opacity, which slices of Slicer know as seen or not seen alone."""
    change = abs(np.log(determinant))
    share = PALEST + (1 - PALEST) * min(change / np.log(FULL), 1.0)
    end = np.array(LARGER if determinant > 1 else SMALLER)
    return np.append((1 - share) * np.array(SAME) + share * end, float(change > np.log(CLEAR)))
