"""The process that Slicer and the web app talk to: `python -m deepfeatures.service.server FOLDER`.

Reads requests from standard input and writes events to standard output, one line of JSON each; voxels lie in FOLDER.
Networks, volumes and what was computed of them stay warm between requests. It ends with its parent. `protocol` says
what the messages hold, `client` is the other end.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.errors import InputError, is_out_of_memory
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.process_tree import lower_priority, watch_parent
from deepfeatures.service.protocol import (
    VOLUMES_KEPT,
    alternatives_to_json,
    landmarks_from_json,
    landmarks_to_json,
    volume_from_json,
    voxel_file,
)
from deepfeatures.threads import share_cores

if TYPE_CHECKING:
    from deepfeatures.data.volume import Volume
    from deepfeatures.matching import Matcher, MatchResult
    from deepfeatures.transforms.transform import Transform

MATCHERS_KEPT = MAPPINGS_KEPT = 2
MEMORY = "There was not enough memory; close other programs, or crop the volumes or resample them to larger voxels."
NOT_INSTALLED = "A package cannot be loaded ({}); install it and try again."

Kept = TypeVar("Kept")


class ProgressReporter:
    """Reports what happens while a request is served.

    Args:
        number: Of the request.
        send: Takes an event.
    """

    def __init__(self, number: int, send: Callable[[dict[str, Any]], None]):
        self._number, self._send = number, send

    def progress(self, fraction: float, text: str) -> None:
        self._send({"id": self._number, "event": "progress", "fraction": round(fraction, 4), "text": text})

    def interim(self, landmarks: LandmarkSet) -> None:
        self._send({"id": self._number, "event": "interim", "content": {"landmarks": landmarks_to_json(landmarks)}})


class LRUCache:
    """The `size` things that were asked for last."""

    def __init__(self, size: int):
        self._size = size
        self._things: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        if key not in self._things:
            while len(self._things) >= self._size:  # before the new one is made: memory is short
                self._things.popitem(last=False)
            self._things[key] = make()
        self._things.move_to_end(key)
        return self._things[key]

    def put(self, key: Hashable, thing: Any) -> None:
        """Keep a thing in place of the one of this key."""
        self._things.pop(key, None)
        self.get(key, lambda: thing)


class Worker:
    """Serves requests, one after the other.

    Args:
        folder: Where voxels lie.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._volumes, self._matchers = LRUCache(VOLUMES_KEPT), LRUCache(MATCHERS_KEPT)
        self._mappings = LRUCache(MAPPINGS_KEPT)
        self._requests = {
            "hello": self._hello,
            "encode": self._encode,
            "match": self._match,
            "activations": self._activations,
            "distances": self._distances,
            "check_templates": self._check_templates,
            "protocol": self._protocol,
            "protocol_template": self._protocol_template,
            "learn": self._learn,
            "forget": self._forget,
            "transform": self._transform,
            "write_transform": self._write_transform,
            "warp": self._warp,
            "warp_file": self._warp_file,
            "jacobian": self._jacobian,
        }

    def serve(self, message: dict[str, Any], report: ProgressReporter) -> dict[str, Any]:
        """The content of the result of a request."""
        return self._requests[message["type"]](message, report)

    def _hello(self, _message: dict, _report: ProgressReporter) -> dict:
        from deepfeatures.service import capabilities

        return capabilities.describe()

    def _encode(self, message: dict, report: ProgressReporter) -> dict:
        template, target = self._volume(message["template"]), self._volume(message["target"])
        report.progress(0.1, "Comparing the volumes")
        self._matcher(message).warm_up(template, target)
        return {}

    def _match(self, message: dict, report: ProgressReporter) -> dict:
        result = self._search(message, report)
        self._mappings.put(_pair_key(message), result.mapping)
        return {
            "landmarks": landmarks_to_json(result.landmarks),
            "alternatives": alternatives_to_json(result.alternatives),
            "report": result.report(),
        }

    def _search(self, message: dict, report: ProgressReporter) -> MatchResult:
        report.progress(0.0, "Starting PyTorch")
        matcher = self._matcher(message)
        report.progress(0.0, "Reading the volumes")
        template, target = self._volume(message["template"]), self._volume(message["target"])
        landmarks = landmarks_from_json(message["landmarks"])
        text = f"Placing {len(landmarks)} landmarks" if len(landmarks) != 1 else f"Placing {landmarks[0].name}"
        report.progress(0.0, f"{text}: comparing the volumes")  # the first word of the matcher may take a while
        return matcher.match(
            template, landmarks, target, progress=lambda done: report.progress(done, text), interim=report.interim
        )

    def _activations(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.features.activations import activation_maps

        report.progress(0.0, "Starting PyTorch")
        matcher = self._matcher(message)
        layer = matcher.settings.layer
        maps = activation_maps(
            matcher.encoder,
            layer,
            self._volume(message["volume"]),
            point=np.array(_landmark(message).position),
            patch_size=message["patch_size"],
        )
        voxels = np.stack([channel.voxels.numpy() for channel in maps.channels])
        return {
            "network": matcher.settings.network,
            "layer": layer,
            "complete": maps.complete,
            "source": self._write(maps.source, maps.source.voxels.numpy(), message, "source"),
            "channels": self._write(maps.channels[0], voxels, message, "channels"),
        }

    def _distances(self, message: dict, report: ProgressReporter) -> dict:
        report.progress(0.0, "Starting PyTorch")
        matcher, landmark = self._matcher(message), _landmark(message)
        template, target = self._volume(message["template"]), self._volume(message["target"])
        report.progress(0.1, f"Comparing every place with {landmark.name}")
        distances = matcher.distance_volume(template, landmark, target)
        return {"map": self._write(distances, distances.voxels.cpu().numpy(), message, "map")}

    def _check_templates(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.quality.annotated_scans import read_annotated_scans
        from deepfeatures.quality.template_check import check_templates
        from deepfeatures.quality.template_report import as_json, write_tables

        report.progress(0.0, "Reading the scans")
        folder, output_dir = message["folder"], message["output_dir"]
        scans, matcher, start = read_annotated_scans([folder]), self._matcher(message), time.monotonic()

        def progress(done: float) -> None:
            left = (time.monotonic() - start) * (1 - done) / done / 60
            report.progress(done, f"Placing each scan's landmarks in others, about {left:.0f} minutes left")

        check = check_templates(scans, matcher, Path(output_dir) / "automatic_rater", progress=progress)
        write_tables(check, output_dir, ["quality", folder, "--template-check", "--output-dir", output_dir])
        return as_json(check)

    def _protocol(self, message: dict, _report: ProgressReporter) -> dict:
        from deepfeatures.service import learning

        return learning.describe(Path(message["path"]))

    def _protocol_template(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.matching.learning.protocol_file import read_protocol

        report.progress(0.0, "Reading the template")
        known = read_protocol(message["path"])
        template = self._write(known.template, known.template.voxels.numpy(), message, "volume")
        return {"volume": template, "landmarks": landmarks_to_json(known.landmarks)}

    def _learn(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.service import learning

        report.progress(0.0, f"Learning from {message['name']}")
        volumes = {role: self._volume(message[role]) for role in ("template", "scan")}
        points = {role: landmarks_from_json(message[role]) for role in ("landmarks", "points")}
        chosen = {name: message[name] for name in ("name", "corrected")}
        return learning.learn(Path(message["path"]), self._matcher(message), **volumes, **points, **chosen)

    def _forget(self, message: dict, _report: ProgressReporter) -> dict:
        from deepfeatures.service import learning

        return learning.forget(Path(message["path"]), message["name"])

    def _transform(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.service import transforms

        report.progress(0.0, "Fitting the transform")
        volumes = {role: self._volume(message[role]) for role in ("template", "target")}
        points = {role: landmarks_from_json(message[role]) for role in ("landmarks", "points")}
        path = Path(message["path"])
        return transforms.find(
            message["kind"], **volumes, **points, path=path, mapping=lambda: self._mapping(message, report)
        )

    def _mapping(self, message: dict, report: ProgressReporter) -> Transform:
        """What the last search of the pair has found; it is searched again where that is not known any more."""
        mapping = self._mappings.get(_pair_key(message), lambda: self._search(message, report).mapping)
        if mapping is None:
            raise InputError("A search by patches finds no field; choose another kind, or the best measured settings.")
        return mapping

    def _write_transform(self, message: dict, _report: ProgressReporter) -> dict:
        from deepfeatures.service import transforms

        transform, path = Path(message["transform"]), Path(message["path"])
        return transforms.write_again(transform, self._volume(message["template"]), path, message["description"])

    def _warp(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.service import transforms

        report.progress(0.0, f"Carrying {message['volume']['name']} over")
        volumes = [self._volume(message[role]) for role in ("volume", "like")]
        chosen = {name: message[name] for name in ("inverse", "labels")}
        warped = transforms.warp_volume(Path(message["transform"]), *volumes, **chosen)
        return {
            "volume": self._write(warped.volume, warped.volume.voxels.numpy(), message, "volume"),
            "covered_share": warped.covered_share,
        }

    def _warp_file(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.service import transforms

        transform, path, output = (Path(message[name]) for name in ("transform", "path", "output"))
        report.progress(0.0, f"Carrying {path.name} over")
        return transforms.warp_file(transform, path, output, self._volume(message["like"]), inverse=message["inverse"])

    def _jacobian(self, message: dict, report: ProgressReporter) -> dict:
        from deepfeatures.service import transforms

        report.progress(0.0, "Computing the Jacobian determinant")
        found = transforms.jacobian(Path(message["transform"]), self._volume(message["template"]))
        return {"map": self._write(found, found.voxels.numpy(), message, "map")}

    def _matcher(self, message: dict) -> Matcher:
        from deepfeatures.matching import Matcher

        return self._matchers.get(_matcher_key(message), lambda: Matcher(MatchSettings(**message["settings"])))

    def _volume(self, message: dict) -> Volume:
        import torch

        from deepfeatures.data.volume import Volume

        def read() -> Volume:
            known = volume_from_json(message, self._folder)
            voxels = torch.from_numpy(known.voxels)
            return Volume(voxels, known.origin, known.spacing, known.direction, known.name, known.modality, known.notes)

        return self._volumes.get(message["key"], read)

    def _write(self, geometry: Volume, voxels: np.ndarray, message: dict, what: str) -> dict:
        key = f"result-{message['id']}-{what}"
        np.save(voxel_file(key, self._folder), voxels.astype(np.float32, copy=False), allow_pickle=False)
        numbers = {name: np.asarray(getattr(geometry, name), float).tolist() for name in ("origin", "spacing")}
        direction = np.asarray(geometry.direction, float).tolist()
        return {"key": key, "name": geometry.name, "modality": None, "direction": direction, **numbers}


def _stamp(path: str | None) -> tuple[int, ...] | None:
    """What changes with a file's content; `None` where there is none."""
    if path is None or not Path(path).exists():
        return None
    known = Path(path).stat()
    return known.st_mtime_ns, known.st_size, known.st_ino


def _matcher_key(message: dict) -> tuple[Hashable, ...]:
    settings = MatchSettings(**message["settings"])
    return settings, _stamp(settings.protocol)


def _pair_key(message: dict) -> tuple[Hashable, ...]:
    return message["template"]["key"], message["target"]["key"], *_matcher_key(message)


def _landmark(message: dict) -> Landmark:
    return landmarks_from_json([message["landmark"]])[0]


def handle(worker: Worker, message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Serve one request and send what became of it; whatever fails is told in words and survived."""
    number = message["id"]

    def fail(cause: str, sentence: str) -> None:
        send({"id": number, "event": "error", "cause": cause, "text": sentence})

    send({"id": number, "event": "started"})
    try:
        content = worker.serve(message, ProgressReporter(number, send))
    except InputError as error:
        fail("input", str(error))
    except ImportError as error:
        fail("missing", NOT_INSTALLED.format(error))
    except Exception as error:
        if is_out_of_memory(error):
            fail("memory", MEMORY)
        else:
            traceback.print_exc()
            fail("bug", f"An error in the program ended the work: {type(error).__name__}: {error}.")
    else:
        send({"id": number, "event": "result", "content": content})


def main(folder: Path) -> None:
    """Serve standard input until it ends."""
    share_cores()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not fall between the events
    lower_priority()

    def alone() -> None:
        shutil.rmtree(folder, ignore_errors=True)  # nobody else is left to do it
        os._exit(0)

    watch_parent(alone)
    requests: queue.SimpleQueue[dict] = queue.SimpleQueue()

    def read() -> None:
        try:
            for line in sys.stdin.buffer:
                message = json.loads(line)
                if message["type"] in ("cancel", "shutdown"):
                    os._exit(0)  # PyTorch cannot be interrupted in the middle of an operation, a process can
                requests.put(message)
        finally:
            alone()

    threading.Thread(target=read, name="requests", daemon=True).start()
    worker = Worker(folder)
    while True:
        handle(worker, requests.get(), lambda event: out.write(json.dumps(event) + "\n"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
