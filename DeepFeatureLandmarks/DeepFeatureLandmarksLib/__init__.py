"""Landmarks of a Slicer scene through `deepfeatures`: nodes, runs, review, and the Logic that both faces use."""
