"""Former name of `deepfeatures.io.downsampled_reading`; works for one version."""

from deepfeatures.deprecation import warn_renamed
from deepfeatures.io.downsampled_reading import read_within_memory as read_fitting

__all__ = ["read_fitting"]

warn_renamed("deepfeatures.large.read_fitting", "deepfeatures.io.downsampled_reading.read_within_memory")
