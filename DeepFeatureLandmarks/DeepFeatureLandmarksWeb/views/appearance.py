"""Colours and sizes of points and of maps, readable on dark images."""

from __future__ import annotations

import numpy as np
from slicer import vtkMRMLMarkupsDisplayNode

GLYPH_PERCENT = 2.6  # of the view
COLOURS = 256
HEAT_STEPS = (0.0, 0.35, 0.7, 1.0)
HEAT = ((0.05, 0.45, 0.93, 1.0), (0.03, 0.10, 0.47, 0.97), (0.15, 0.43, 0.10, 0.65))  # red, green, blue at the steps


def style_markups(node, colour: tuple[float, float, float], view_ids: list[str], *, is_visible: bool = True) -> None:
    """Colour, size and views of a markups node; without names, which would cover each other."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*colour)
    display.SetColor(*colour)
    display.SetActiveColor(1.0, 1.0, 1.0)
    display.SetGlyphType(vtkMRMLMarkupsDisplayNode.ThickCross2D)
    display.SetUseGlyphScale(True)
    display.SetGlyphScale(GLYPH_PERCENT)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetViewNodeIDs(view_ids)
    display.SetVisibility(is_visible)


def heat_table(scene, name: str, *, is_low_bright: bool):
    """A colour table from nearly black over purple and orange to pale yellow: steadily lighter.

    Args:
        scene: Gets the node, once.
        name: Of the node.
        is_low_bright: The other way round, for values of which the small ones matter.
    """
    if known := scene.GetFirstNodeByName(name):
        return known
    steps = np.linspace(1, 0, COLOURS) if is_low_bright else np.linspace(0, 1, COLOURS)
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    table.SetTypeToUser()
    table.SetNumberOfColors(COLOURS)
    for index, step in enumerate(steps):
        table.SetColor(index, str(index), *(float(np.interp(step, HEAT_STEPS, channel)) for channel in HEAT), 1.0)
    table.SetNamesFromColors()
    return table
