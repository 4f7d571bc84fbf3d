"""Former name of `deepfeatures.service.protocol`; works for one version."""

from deepfeatures.deprecation import warn_renamed
from deepfeatures.matching.settings import MatchSettings as PlaceSettings
from deepfeatures.service.protocol import Event, VolumeArray

__all__ = ["Event", "PlaceSettings", "VolumeArray"]

warn_renamed("deepfeatures.worker_protocol", "deepfeatures.service.protocol, and its PlaceSettings is df.MatchSettings")
