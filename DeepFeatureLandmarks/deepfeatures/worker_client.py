"""Former name of `deepfeatures.service.client`; works for one version."""

from deepfeatures.deprecation import warn_renamed
from deepfeatures.service.client import WorkerClient

__all__ = ["WorkerClient"]

warn_renamed("deepfeatures.worker_client", "deepfeatures.service.client")
