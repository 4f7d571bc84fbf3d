"""The landmark protocol in use: opening its file, learning from the reviewed scan, forgetting it, definitions."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.logic import BUSY
from DeepFeatureLandmarksLib.scene.presets import PRESETS
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.taught_protocol import FEWEST_PEOPLE, SUFFIX, LandmarkDefinition, TaughtProtocol
from DeepFeatureLandmarksLib.scene.taught_scans import refusal, taughtKey
from DeepFeatureLandmarksWeb.controllers.loading_controller import LoadingController
from DeepFeatureLandmarksWeb.controllers.place_controller import BEST, PlaceController
from DeepFeatureLandmarksWeb.controllers.taking_time import reading
from DeepFeatureLandmarksWeb.controllers.uploads import safe_name
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.volume_views import TEMPLATE
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.matching.learning.protocol import Protocol
from deepfeatures.matching.learning.protocol_file import read_protocol

UNUSED = f"The present search does not use it; choose {PRESETS[BEST].label} below."
NOTHING = LandmarkDefinition()


class LearningController:
    """Teaches a protocol, and shows what it holds. The worker reads and writes its file.

    Args:
        context: Of the session.
        loading: Shows the template and the landmarks of a protocol.
        runs: Sends requests and shows their progress.
    """

    def __init__(self, context: SessionContext, loading: LoadingController, runs: PlaceController):
        self._context, self._loading, self._runs = context, loading, runs
        self._protocol: Protocol | None = None  # as read, for template and landmarks
        self._told: TaughtProtocol | None = None  # by the worker, last
        self._compared, self._unlike = None, ""  # the template's node, and why it is not that of the protocol
        context.refreshers.append(self._refresh)
        name = context.typed.name
        context.server.state.change(name.preset)(lambda **_: self._refresh())
        context.server.state.change(name.current)(lambda **_: self._define())

    async def open(self, path: Path) -> None:
        """Use the protocol of a file. What is missing of its template and landmarks is shown, too."""
        context = self._context
        if context.logic.isBusy:
            context.warn(BUSY)
            return
        async with reading(context, path):
            self._use(path, await asyncio.to_thread(read_protocol, path))
            context.state.protocol.is_downloaded = True
            context.logic.readProtocol(path)
            if context.template.volume is None:
                self._loading.show_volume(TEMPLATE, self._protocol.template)
            if context.template_landmarks is None and not self._misfit():
                self._loading.show_landmarks("landmarks", self._protocol.landmarks)
            context.refresh()

    def close(self) -> None:
        """Place without a protocol from here on."""
        self._use(None, None)
        self._context.state.protocol.is_downloaded = True
        self._context.refresh()

    def take_template(self) -> None:
        """Replace what is open as the template by template and landmarks of the protocol."""
        if self._unlike:
            self._loading.show_volume(TEMPLATE, self._protocol.template)
        self._loading.show_landmarks("landmarks", self._protocol.landmarks)

    def learn(self) -> None:
        """Teach the protocol what a person has decided in this scan; without one, begin one."""
        path = self._context.protocol or self._new_file()
        self._runs.request(lambda request: self._context.logic.learn(request, path), "Learning …")

    def forget(self) -> None:
        """Undo `learn`."""
        path, key = self._context.protocol, self._taught_key
        if key is not None:
            self._runs.request(lambda _: self._context.logic.forget(path, key), "Forgetting …")

    def finish(self, run: Run) -> None:
        """Show what a file holds now; one that was just begun is used from here on."""
        context, path = self._context, run.protocol.path
        if run.kind != "protocol":
            context.state.is_busy = context.state.protocol.is_downloaded = False
            context.inform(run.summary)
            self._runs.prepare_again()
        if run.kind == "learn" and path != context.protocol:
            self._use(path, read_protocol(path))
        if path == context.protocol:
            self._told = run.protocol
        context.refresh()

    def file(self) -> Path:
        """The protocol, to be kept by a person.

        Raises:
            InputError: There is none.
        """
        path = self._context.protocol
        if path is None:
            raise InputError("no protocol is open; open one, or learn from a scan first")
        with self._context.server.state:
            self._context.state.protocol.is_downloaded = True
        return path

    @property
    def _taught_key(self) -> str | None:
        """The key of this scan, where it is among those that have taught the protocol."""
        key = taughtKey(self._context.output)
        return key if self._told is not None and self._told.hasScan(key) else None

    def _use(self, path: Path | None, protocol: Protocol | None) -> None:
        self._context.protocol, self._protocol, self._told = path, protocol, None
        self._compared, self._unlike = None, ""
        self._runs.prepare_again()

    def _new_file(self) -> Path:
        """Where a protocol that is begun will lie; it is named after the template."""
        folder = Path(tempfile.mkdtemp(prefix="protocol-", dir=self._context.folder))
        return folder / safe_name(f"{self._context.state.template.title}{SUFFIX}")

    def _refresh(self) -> None:
        context, told = self._context, self._told
        state, path = context.state.protocol, context.protocol
        state.title = path.name if path else ""
        state.content = _content(self._protocol) if self._protocol else ""
        state.misfit = self._misfit()
        state.unused = UNUSED if path and self._runs.settings.protocol is None else ""
        state.taught = told.taughtText if told else ""
        state.errors = told.errorText if told else ""
        state.doubts = told.doubtText if told else ""
        state.landmarks = _landmark_rows(told) if told else []
        state.scans = sorted(told.scanLines) if told else []
        state.is_scan_taught = self._taught_key is not None
        rows = context.logic.reviewRows(context.output) if context.output else []
        state.refusal = state.misfit or refusal(context.place_request(self._runs.settings), rows)
        self._define()

    def _define(self) -> None:
        """Say what the current landmark is."""
        name = self._context.state.current
        known = self._told.definitions.get(name, NOTHING) if self._told else NOTHING
        self._context.state.protocol.definition = {
            "name": name,
            "text": known.text,
            "picture": known.pictureUrl,
            "link": known.webLink,
        }

    def _misfit(self) -> str:
        """Why the protocol is not for what is open as the template, one sentence; empty where it is."""
        protocol, volume = self._protocol, self._context.template.volume
        landmarks = self._context.template_landmarks
        if protocol is None or volume is None:
            return ""
        if volume is not self._compared:  # all voxels are compared, once
            self._compared = volume
            self._unlike = _reason(lambda: protocol.numbers_of(nodes.volumeFromNode(volume), LandmarkSet(())))
        if self._unlike or landmarks is None:
            return self._unlike
        return _reason(lambda: protocol.numbers_of(protocol.template, nodes.landmarkSetFromNode(landmarks)))


def _reason(check: Callable[[], object]) -> str:
    """What a check says against it, empty where nothing."""
    try:
        check()
    except InputError as error:
        return str(error)
    return ""


def _content(protocol: Protocol) -> str:
    count = len(protocol.landmarks)
    return f"Template {protocol.template.name}, {count} landmark{'' if count == 1 else 's'}."


def _landmark_rows(told: TaughtProtocol) -> list[dict]:
    """Of the landmarks that were taught, errors in mm as text. With one person out, too few may be left."""
    return [
        {
            "name": known["name"],
            "taught": known["taught"],
            "before": _mm(known["error_before_mm"]),
            "after": _mm(known["error_after_mm"] if known["taught"] > FEWEST_PEOPLE else None),
            "doubtful": known["doubtful"],
        }
        for known in told.summary.get("landmarks", ())
        if known["taught"]
    ]


def _mm(error: float | None) -> str:
    return "–" if error is None else f"{error:.2f}"
