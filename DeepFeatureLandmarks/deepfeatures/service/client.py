"""The other end of the worker: sends requests, never blocks, survives the worker's death.

client = WorkerClient()
request = client.match(template, landmarks, target, MatchSettings())
event = client.wait(request)            # or: for event in client.poll(), from a timer
client.close()
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.process_tree import end_tree, popen_arguments
from deepfeatures.service.protocol import (
    VOLUMES_KEPT,
    Event,
    VolumeArray,
    alternatives_from_json,
    landmarks_from_json,
    landmarks_to_json,
    volume_from_json,
    volume_to_json,
    voxel_file,
)
from deepfeatures.service.transform_requests import TransformRequests

PACKAGES = Path(__file__).parents[2]
CANCELLED = "Cancelled; nothing was changed."
KILLED = "The system ended the worker, most likely for want of memory; crop the volumes or close other programs."
ENDS = ("result", "error")  # events after which nothing more is heard of a request
TRIES = 2  # workers that a request is sent to before one of them begins with it
LAST_WORDS = 20  # lines of the worker's standard error that are kept


class WorkerClient(TransformRequests):
    """Talks to one `python -m deepfeatures.service.server`, which is started with the first request.

    Every request returns its number at once; what becomes of it is told by `poll`. Requests are served one after the
    other: the next is sent when the one before has ended, so that a worker that dies takes one request with it; one
    that it had not started goes to a new worker. Volumes may be `VolumeArray` or `deepfeatures.Volume`; their voxels
    must not change any more. One that comes again is sent without being read again.

    Args:
        python: Interpreter that has PyTorch, or a command that ends in one; in Slicer `PythonSlicer`. By default the
            running one.
    """

    def __init__(self, python: str | Sequence[str] | None = None):
        self._python = [sys.executable] if python is None else [python] if isinstance(python, str) else list(python)
        self._folder = Path(tempfile.mkdtemp(prefix="deepfeatures-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # at exit, where nobody calls close
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()  # guards what follows
        self._process: subprocess.Popen | None = None
        self._open: dict[int, str] = {}  # requests that have not ended, by number: their type
        self._running: int | None = None
        self._closed = False
        self._files: OrderedDict[str, None] = OrderedDict()  # keys of the volumes on disk, the last used last
        self._messages: weakref.WeakKeyDictionary[VolumeArray, dict[str, Any]] = weakref.WeakKeyDictionary()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._unread: list[Event] = []
        self._outbox: queue.SimpleQueue[tuple[int, dict, dict] | None] = queue.SimpleQueue()
        self._has_started = False  # the worker, with the running request
        self._last_obituary = ""
        self._ended = threading.Condition(self._lock)  # the running request has ended, or its worker
        self._stderr_tail: deque[str] = deque(maxlen=LAST_WORDS)
        threading.Thread(target=self._send_all, name="worker requests", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Of the worker; `None` where none is running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def hello(self) -> int:
        """Ask for versions, devices and networks."""
        return self._request("hello", {}, {})

    def encode(self, template: VolumeArray, target: VolumeArray, settings: MatchSettings) -> int:
        """Let the worker read the pair and warm up ahead of the first `match`."""
        return self._request("encode", {"settings": asdict(settings)}, {"template": template, "target": target})

    def match(self, template: VolumeArray, landmarks: LandmarkSet, target: VolumeArray, settings: MatchSettings) -> int:
        """Place landmarks of the template in the target."""
        message = {"settings": asdict(settings), "landmarks": landmarks_to_json(landmarks)}
        return self._request("match", message, {"template": template, "target": target})

    def activations(self, volume: VolumeArray, landmark: Landmark, settings: MatchSettings, patch_size: int) -> int:
        """All channels of a layer for the patch around a landmark."""
        message = {"settings": asdict(settings), "landmark": asdict(landmark), "patch_size": patch_size}
        return self._request("activations", message, {"volume": volume})

    def distances(self, template: VolumeArray, landmark: Landmark, target: VolumeArray, settings: MatchSettings) -> int:
        """Feature distance of a template's landmark to every place in the target."""
        message = {"settings": asdict(settings), "landmark": asdict(landmark)}
        return self._request("distances", message, {"template": template, "target": target})

    def check_templates(self, folder: Path, output_dir: Path, settings: MatchSettings) -> int:
        """Compare the annotated scans of a folder as templates; tables are written to `output_dir`."""
        message = {"settings": asdict(settings), "folder": str(folder), "output_dir": str(output_dir)}
        return self._request("check_templates", message, {})

    def protocol(self, path: Path) -> int:
        """What people read of the file of a landmark protocol."""
        return self._request("protocol", {"path": str(path)}, {})

    def protocol_template(self, path: Path) -> int:
        """Template and landmarks of a protocol."""
        return self._request("protocol_template", {"path": str(path)}, {})

    def learn(
        self,
        path: Path,
        template: VolumeArray,
        landmarks: LandmarkSet,
        scan: VolumeArray,
        points: LandmarkSet,
        settings: MatchSettings,
        *,
        name: str,
        corrected: Collection[str],
    ) -> int:
        """Teach the protocol of a file a scan; see `learning.learn`. With the settings of `match` it is quickest."""
        message = {
            "path": str(path),
            "settings": asdict(settings),
            "landmarks": landmarks_to_json(landmarks),
            "points": landmarks_to_json(points),
            "name": name,
            "corrected": sorted(corrected),
        }
        return self._request("learn", message, {"template": template, "scan": scan})

    def forget(self, path: Path, name: str) -> int:
        """Let the protocol of a file forget the scan of that name or key."""
        return self._request("forget", {"path": str(path), "name": name}, {})

    def poll(self) -> list[Event]:
        """What has happened since the last call, in order; returns at once."""
        events, self._unread = self._unread, []
        while True:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                return events

    def wait(self, request: int, timeout_s: float | None = None) -> Event:
        """Block until the request has its result or error; `TimeoutError` where that takes longer.

        What happens to other requests meanwhile is told by the next `poll`, or to who waits for them.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        earlier, self._unread = deque(self._unread), []
        while True:
            try:
                left_s = None if end is None else max(end - time.monotonic(), 0)
                event = earlier.popleft() if earlier else self._events.get(timeout=left_s)
            except queue.Empty:
                raise TimeoutError(f"the worker has not answered within {timeout_s:g} s") from None
            if event.request != request:
                self._unread.append(event)
            elif event.kind in ENDS:
                self._unread += earlier
                return event

    def cancel(self) -> None:
        """End whatever is running or waiting, within 1 s: kills the worker and all that it started.

        Each request that was open gets an error event whose cause is `"cancelled"`. The next request starts anew.
        """
        with self._lock:
            for number in list(self._open):
                self._finish(Event(number, "error", text=CANCELLED, cause="cancelled"))
            self._end_process()

    def close(self) -> None:
        """End the worker and remove the private folder. The client can not be used afterwards."""
        with self._lock:
            self._closed = True
            self._open.clear()
            self._running = None
            self._end_process()
            self._ended.notify_all()
        self._outbox.put(None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _request(self, kind: str, message: dict[str, Any], volumes: dict[str, VolumeArray]) -> int:
        number = next(self._numbers)
        with self._lock:
            if self._closed:
                raise RuntimeError("this client has been closed")
            self._open[number] = kind
        self._outbox.put((number, {"id": number, "type": kind, **message}, volumes))
        return number

    def _send_all(self) -> None:
        """The sender's thread: writing voxels of many megabytes must not hold up a user interface."""
        while (item := self._outbox.get()) is not None:
            number, message, volumes = item
            try:
                references = {role: self._store(volume) for role, volume in volumes.items()}
                line = json.dumps({**message, **references}).encode() + b"\n"
                for _ in range(TRIES):
                    self._send(number, line)
                    self._await_end(number)
            except OSError as error:
                self._finish(Event(number, "error", text=f"The worker cannot be started: {error}.", cause="crash"))
            else:
                self._finish(Event(number, "error", text=self._last_obituary, cause="crash"))  # if it is still open

    def _send(self, number: int, line: bytes) -> None:
        """Hand a request to the worker, or to a new one where none is running."""
        with self._lock:
            if number not in self._open:
                return  # cancelled before it was sent, or answered by an earlier try
            process = self._process or self._start()
            self._running, self._has_started = number, False
        try:
            process.stdin.write(line)  # without the lock: it may block, and cancelling must not
            process.stdin.flush()
        except OSError:
            pass  # it has died, which its reader sees as well

    def _await_end(self, number: int) -> None:
        """Wait until the request has ended, or the worker before it had started it."""
        with self._ended:
            self._ended.wait_for(lambda: self._running != number)

    def _store(self, volume: VolumeArray) -> dict[str, Any]:
        """Write the voxels where the worker finds them, unless they lie there already."""
        if volume not in self._messages:  # of the sender's thread alone; a key costs reading all voxels
            self._messages[volume] = volume_to_json(volume)
        message = self._messages[volume]
        key = message["key"]
        with self._lock:
            known = key in self._files
            self._files[key] = None
            self._files.move_to_end(key)
            old = [self._files.popitem(last=False)[0] for _ in range(len(self._files) - VOLUMES_KEPT)]
        for gone in old:
            voxel_file(gone, self._folder).unlink(missing_ok=True)
        if not known:
            np.save(voxel_file(key, self._folder), np.asarray(volume.voxels, np.float32), allow_pickle=False)
        return message

    def _start(self) -> subprocess.Popen:
        path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [*self._python, "-m", "deepfeatures.service.server", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            **popen_arguments(),
        )
        self._process = process
        self._stderr_tail.clear()
        for read in (self._read_events, self._read_words):
            threading.Thread(target=read, args=(process,), name="worker output", daemon=True).start()
        return process

    def _end_process(self) -> None:
        if self._process is not None:
            end_tree(self._process)
            self._process = None

    def _read_words(self, process: subprocess.Popen) -> None:
        for line in process.stderr:
            if process is self._process and line.strip():
                self._stderr_tail.append(line.decode(errors="replace").strip())

    def _read_events(self, process: subprocess.Popen) -> None:
        for line in process.stdout:
            try:
                event = self._event(json.loads(line))
            except (ValueError, OSError) as error:  # cut off by the worker's death, or its files are gone
                self._stderr_tail.append(str(error))
                break
            if event.kind == "started":
                self._has_started = True
            elif event.kind in ENDS:
                self._finish(event)
            elif event.request in self._open:
                self._events.put(event)
        end_tree(process)
        code = process.wait()
        with self._lock:
            if process is not self._process:
                return  # ended by us
            self._process = None
            self._last_obituary = self._crash_message(code)
            number, self._running = self._running, None
            if number is not None and self._has_started:
                self._finish(Event(number, "error", text=self._last_obituary, cause="crash"))
            self._ended.notify_all()

    def _crash_message(self, code: int) -> str:
        if code == -getattr(signal, "SIGKILL", 9):
            return KILLED
        words = self._stderr_tail[-1].rstrip(".") if self._stderr_tail else "it left no word"
        return f"The worker ended unexpectedly (exit code {code}: {words}); try again, or choose the device cpu."

    def _finish(self, event: Event) -> None:
        """Close a request with its last event; a second end, or one after it was cancelled, is not told."""
        with self._lock:
            if self._running == event.request:
                self._running = None
                self._ended.notify_all()
            if self._open.pop(event.request, None) is None:
                return
            self._events.put(event)

    def _event(self, message: dict[str, Any]) -> Event:
        if message["event"] == "progress":
            return Event(message["id"], "progress", message["fraction"], message["text"])
        if message["event"] == "error":
            return Event(message["id"], "error", text=message["text"], cause=message["cause"])
        content = message.get("content", {})
        if "landmarks" in content:
            content["landmarks"] = landmarks_from_json(content["landmarks"])
        if "alternatives" in content:
            content["alternatives"] = alternatives_from_json(content["alternatives"])
        for name in ("map", "source", "volume"):
            if name in content:
                content[name] = self._take(content[name])
        if "channels" in content:
            stack = self._take(content.pop("channels"))
            place = (stack.origin, stack.spacing, stack.direction)
            content["maps"] = tuple(VolumeArray(voxels, *place, name=stack.name) for voxels in stack.voxels)
        return Event(message["id"], message["event"], content=content)

    def _take(self, message: dict[str, Any]) -> VolumeArray:
        volume = volume_from_json(message, self._folder)
        voxel_file(message["key"], self._folder).unlink(missing_ok=True)
        return volume
