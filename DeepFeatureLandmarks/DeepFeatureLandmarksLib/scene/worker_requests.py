"""The request that the worker is computing, and what its events become: progress, a run, an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from DeepFeatureLandmarksLib.scene.run import Run
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import Event

BUSY = "Landmarks are being placed; wait until that is done, or cancel it."


@dataclass(frozen=True, eq=False)
class PendingRequest:
    """A request that is being computed.

    Args:
        number: Of the worker's client.
        request: As given; `None` where no node is concerned.
        apply: Turns the result into a `Run`, changing the scene.
        grid: Voxel index to world of the target as it was sent, `None` under a transform that is not linear.
        size: Its number of voxels along i, j and k.
        others: Nodes on which it depends beyond those of the request.
        since: Monotonic seconds.
    """

    number: int
    request: PlaceRequest | None
    apply: Callable[[PendingRequest, Event], Run]
    grid: np.ndarray | None = None
    size: tuple[int, ...] = ()
    others: tuple = ()
    since: float = field(default_factory=time.monotonic)

    @property
    def nodes(self) -> tuple:
        """On which it depends."""
        return (*(self.request.nodes if self.request is not None else ()), *self.others)

    def inTargetNow(self, landmarks: LandmarkSet) -> LandmarkSet:
        """Found landmarks, moved where the target was moved since the request; not where it was cropped."""
        target = self.request.targetVolume
        isSameGrid = nodes.sizeOf(target) == self.size
        return nodes.movedWithGrid(landmarks, self.grid, nodes.gridToWorld(target)) if isSameGrid else landmarks


@dataclass(frozen=True, eq=False)
class Question:
    """A request that changes no node and may wait behind a run.

    Args:
        ask: Sends it and returns its number; called again where it was cancelled with a run.
        apply: Turns its last event into a `Run`; raises `InputError` where that is to be reported.
    """

    ask: Callable[[], int]
    apply: Callable[[Event], Run]


class WorkerRequests:
    """Sends one request after the other to the worker. What the worker answers arrives at four callbacks.

    Args:
        client: A `WorkerClient`, or what behaves like one.

    Attributes:
        onProgress: Called with `(fraction, text)`.
        onInterim: Called with a `LandmarkSet`, world LPS: where the landmarks are so far. The scene is unchanged.
        onFinished: Called with a `Run`.
        onError: Called with a sentence. A cancelled run ends here too, with "cancelled" in words.
        catalog: `None` until the worker has answered `requestCatalog`; then what `service.capabilities.describe`
            returns: versions, devices, networks with their layers, and the best settings.
    """

    def __init__(self, client: WorkerClient):
        self._client = client
        self.onProgress: Callable[[float, str], None] = lambda fraction, text: None
        self.onInterim: Callable[[LandmarkSet], None] = lambda landmarks: None
        self.onFinished: Callable[[Run], None] = lambda run: None
        self.onError: Callable[[str], None] = lambda sentence: None
        self.catalog: dict | None = None
        self._pending: PendingRequest | None = None
        self._preparation: int | None = None  # number of the last request to read a pair ahead
        self._questions: dict[int, Question] = {}  # by number

    @property
    def isBusy(self) -> bool:
        """Whether landmarks or maps are being computed."""
        return self._pending is not None

    def requestCatalog(self) -> None:
        """Ask the worker for `catalog`; `onFinished` is called with a run of kind `"catalog"`."""

        def apply(event: Event) -> Run:
            if event.kind == "error":
                raise InputError(event.text)
            self.catalog = event.content
            return Run("catalog")

        self._askWorker(Question(self._client.hello, apply))

    def cancel(self) -> None:
        """End the running request within 1 s; the scene is unchanged. Ends in `onError`, at the next `poll`."""
        if self.isBusy:
            self._client.cancel()

    def poll(self) -> None:
        """Apply what the worker has sent to the scene. Call it often, from the thread that owns the scene."""
        for event in self._client.poll():
            if event.request in self._questions:
                self._onAnswer(event)
            elif event.request == self._preparation:
                if self._pending is not None and event.kind == "progress":  # it waits for the preparation
                    self.onProgress(0.0, event.text)
            elif self._pending is not None and event.request == self._pending.number:
                self._onEvent(self._pending, event)

    def _begin(self, pending: PendingRequest) -> None:
        self._pending = pending
        self.onProgress(0.0, "Starting")

    def _abandon(self) -> None:
        """Cancel the running request; its answer is ignored."""
        self.cancel()
        self._pending = None

    def _onEvent(self, pending: PendingRequest, event: Event) -> None:
        if event.kind == "progress":
            self.onProgress(event.fraction, event.text)
            return
        if event.kind == "interim":
            self.onInterim(pending.inTargetNow(event.content["landmarks"]))
            return
        self._pending = None
        if event.kind == "error":
            self.onError(event.text)
            return
        try:
            run = pending.apply(pending, event)
        except InputError as error:
            self.onError(str(error))
        else:
            self.onFinished(replace(run, seconds=time.monotonic() - pending.since))

    def _askWorker(self, question: Question) -> None:
        self._questions[question.ask()] = question

    def _onAnswer(self, event: Event) -> None:
        if event.kind == "progress":
            return
        question = self._questions.pop(event.request)
        if event.cause == "cancelled":  # with whatever else was under way
            self._askWorker(question)
            return
        try:
            run = question.apply(event)
        except InputError as error:
            self.onError(str(error))
        else:
            self.onFinished(run)
