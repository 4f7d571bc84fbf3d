"""How points look: readable on dark images, no larger than what they mark."""

from __future__ import annotations

from slicer import vtkMRMLMarkupsDisplayNode

GLYPH_PERCENT = 2.6  # of the view


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
    display.SetOccludedVisibility(True)  # in 3D through the skin
    display.SetOccludedOpacity(0.8)
    display.SetViewNodeIDs(view_ids)
    display.SetVisibility(is_visible)
