"""Transforms in files: what ITK, 3D Slicer, ANTs, elastix and nitransforms read and write, in LPS mm.

A file that is written maps points of the template to points of the target, as ITK's resampling transforms do.
"""

from deepfeatures.io.transform_files.reading import read_transform
from deepfeatures.io.transform_files.writing import is_transform_file, write_transform

__all__ = ["is_transform_file", "read_transform", "write_transform"]
