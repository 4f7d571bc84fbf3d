"""The other end of the worker: sends requests, never blocks, survives the worker's death.

client = WorkerClient()
request = client.match(template, landmarks, target, PlaceSettings())
event = client.wait(request)            # or: for event in client.poll(), from a timer
client.close()
"""

from __future__ import annotations

from collections.abc import Sequence

from deepfeatures.landmarks import Landmark, LandmarkSet
from deepfeatures.worker_protocol import Event, PlaceSettings, VolumeArray


class WorkerClient:
    """Talks to one `python -m deepfeatures.worker`, which is started with the first request.

    Every request returns its number at once; what becomes of it is told by `poll`. Requests are served one after the
    other. Volumes may be `VolumeArray` or `deepfeatures.Volume`.

    Args:
        python: Interpreter that has PyTorch; in Slicer `PythonSlicer`. By default the running one.
    """

    def __init__(self, python: str | Sequence[str] | None = None):
        raise NotImplementedError

    def hello(self) -> int:
        """Ask for versions, devices and networks."""

    def encode(self, template: VolumeArray, target: VolumeArray, settings: PlaceSettings) -> int:
        """Let the worker read the pair and warm up ahead of the first `match`."""

    def match(self, template: VolumeArray, landmarks: LandmarkSet, target: VolumeArray, settings: PlaceSettings) -> int:
        """Place landmarks of the template in the target."""

    def activations(self, volume: VolumeArray, landmark: Landmark, settings: PlaceSettings, patch_size: int) -> int:
        """All channels of a layer for the patch around a landmark."""

    def distances(self, template: VolumeArray, landmark: Landmark, target: VolumeArray, settings: PlaceSettings) -> int:
        """Feature distance of a template's landmark to every place in the target."""

    def poll(self) -> list[Event]:
        """What has happened since the last call, in order; returns at once."""

    def wait(self, request: int, timeout_s: float | None = None) -> Event:
        """Block until the request has its result or error; `TimeoutError` where that takes longer."""

    def cancel(self) -> None:
        """End whatever is running or waiting, within 1 s: kills the worker and all that it started.

        Each request that was open gets an error event whose cause is `"cancelled"`. The next request starts anew.
        """

    def close(self) -> None:
        """End the worker and remove the private folder. The client can not be used afterwards."""
