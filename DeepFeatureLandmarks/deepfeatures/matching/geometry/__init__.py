"""Grids, blocks and fields on which the searches are built."""
