"""The module's panel in 3D Slicer."""
