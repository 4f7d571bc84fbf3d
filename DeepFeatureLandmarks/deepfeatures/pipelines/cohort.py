"""The landmarks of one template in thousands of scans, on the processes of one machine or of a cluster.

Every scan is a task of dask.distributed. A result is a file that appears whole, so the folder of results is the state
of the run: what is there is not done again, whoever died. Each attempt leaves a mark before it begins; more than one
mark is a scan that was retried. Before the first of them a few scans are looked at, whose company helps to place all.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import ensure_folder, write_text
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.pipelines import cohort_template
from deepfeatures.pipelines import place as place_pipeline

if TYPE_CHECKING:
    import pandas as pd
    from dask.distributed import Client, Future

    from deepfeatures.pipelines.cohort_template import MatchedAlone

RETRIES = 2  # of a scan that failed; one whose worker died is given to another as often as dask allows
SETTINGS, SUMMARY, ATTEMPTS = "cohort.json", "summary.csv", "attempts"
AT_WORK = Lock()  # dask gives a process several threads; they share what it keeps, which is of one scan at a time
MEAN_ERROR = "mean_inverse_consistency_error_mm"
REPORTED = ("group_size", "worker", "seconds", "note")  # what a worker tells of a scan


@dataclass(frozen=True)
class Cohort:
    """What is to be placed where.

    Args:
        template: Volume in which the landmarks lie; like all paths, one that every worker can open.
        landmarks: Its landmark file.
        scans: Volumes by name.
        output_dir: For one landmark file a scan and the summary.
        device: Where the matcher computes.
        alone: Whether each scan is placed without regard to the others.
    """

    template: Path
    landmarks: Path
    scans: Mapping[str, Path]
    output_dir: Path
    device: str = "auto"
    alone: bool = False

    def output_of(self, scan: str) -> Path:
        return self.output_dir / f"{scan}{place_pipeline.OUTPUT_SUFFIX}"

    @property
    def to_do(self) -> list[str]:
        """Scans that have no result yet."""
        return [scan for scan in self.scans if not self.output_of(scan).exists()]

    @property
    def company(self) -> Path:
        """Where it lies what some of the scans show, see `cohort_template`."""
        return self.output_dir / cohort_template.FILE

    @property
    def to_look_at(self) -> list[str]:
        """Scans whose company is still wanted: none where it is there, or nothing is to do."""
        if self.alone or self.company.exists() or not self.to_do:
            return []
        return cohort_template.chosen_members(list(self.scans))


def prepare(cohort: Cohort) -> None:
    """Check what can be checked quickly, and that the folder's results, if any, are of the same template.

    Raises:
        InputError: The template or its landmarks cannot be used, or the folder holds results of another run.
    """
    place_pipeline.prepare(place_pipeline.Job(cohort.template, cohort.landmarks, (), cohort.output_dir))
    clash = [scan for scan, path in cohort.scans.items() if cohort.output_of(scan).resolve() == path.resolve()]
    given = {cohort.landmarks.resolve()}
    clash += [scan for scan in cohort.scans if cohort.output_of(scan).resolve() in given]
    if clash:
        raise InputError(f"the result of {clash[0]} would replace a file that was given; choose another --output-dir")
    landmarks = read_landmarks(cohort.landmarks)
    content = {
        "template": str(cohort.template.resolve()),
        "names": [landmark.name for landmark in landmarks],
        "landmarks": np.round(landmarks.positions, 4).tolist(),
        "alone": cohort.alone,
    }
    text = json.dumps(content, indent=1).replace("NaN", "null") + "\n"
    known = cohort.output_dir / SETTINGS
    if known.exists() and known.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{cohort.output_dir} holds results of another template or other landmarks, or placed alone where these are"
            " to be placed together, or the other way around; choose another --output-dir"
        )
    write_text(known, text)
    ensure_folder(cohort.output_dir / ATTEMPTS)


def run(cohort: Cohort, client: Client, progress: Callable[[float], None] = lambda _: None) -> pd.DataFrame:
    """Place the landmarks in every scan that has no result yet; returns the summary, which is also written.

    Args:
        cohort: That `prepare` has checked.
        client: Of the scheduler that has the workers.
        progress: Called with the fraction done, from 0 to 1.
    """
    to_look_at, to_do = cohort.to_look_at, cohort.to_do
    steps, done = len(to_look_at) + len(cohort.scans), itertools.count(len(cohort.scans) - len(to_do))

    def step() -> None:
        progress(next(done) / steps)

    step()
    looked_at = {
        scan: future for scan, future in _ended(client, look_at_one, cohort, to_look_at, step) if not future.exception()
    }
    if looked_at:
        found = ((scan, future.result()) for scan, future in looked_at.items())
        cohort_template.write(cohort.company, cohort_template.gather(found))
    reports, failures = {}, {}
    for scan, future in _ended(client, place_one, cohort, to_do, step, looked_at):
        error = future.exception()
        if error is None:
            reports[scan] = future.result()
        else:
            failures[scan] = _reason(error)
    summary = _summary(cohort, reports, failures)
    write_text(cohort.output_dir / SUMMARY, summary.to_csv(index=False, lineterminator="\n"))
    return summary


def _ended(
    client: Client,
    work: Callable,
    cohort: Cohort,
    scans: list[str],
    step: Callable[[], None],
    known: Mapping[str, Future] = MappingProxyType({}),
) -> Iterator[tuple[str, Future]]:
    """Tasks of scans, each as it ends and with what is known of the scan; `step` is called after each."""
    from dask.distributed import as_completed

    futures = {}
    for scan in scans:
        arguments = [cohort, scan, *([known[scan]] if scan in known else [])]
        key = ascii(f"{work.__name__}-{scan}-{cohort.output_dir}")
        futures[client.submit(work, *arguments, key=key, retries=RETRIES)] = scan
    for future in as_completed(futures):
        yield futures[future], future
        step()


def place_one(cohort: Cohort, scan: str, looked_at: MatchedAlone | None = None) -> dict:
    """What a worker does: place one scan's landmarks and write them; returns who did it and how long it took."""
    import os
    import socket
    import time

    start = time.perf_counter()
    _mark_attempt(cohort.output_dir / ATTEMPTS, scan)
    memory = _memory_of_worker()
    template, landmarks, matcher = _tools(cohort.template, cohort.landmarks, cohort.device, memory)
    given = cohort.template, cohort.landmarks, (cohort.scans[scan],), cohort.output_dir
    job = place_pipeline.Job(*given, memory_bytes=memory)
    if cohort.company.exists():
        gathered = _gathered(cohort.company, cohort.company.stat().st_mtime_ns, matcher.settings.device)
        matcher = cohort_template.CohortMatcher(matcher, gathered, scan, looked_at)
    with AT_WORK:
        (outcome,) = place_pipeline.place(job, template, landmarks, None, matcher, lambda *_: None)
    if outcome.failure:
        raise RuntimeError(outcome.failure)
    who = f"{socket.gethostname()}:{os.getpid()}"
    note = "; ".join(filter(None, (template.note, outcome.note)))
    return {
        "worker": who,
        "seconds": round(time.perf_counter() - start, 2),
        "group_size": outcome.report.get("group_size", 0),
        "note": note,
    }


def look_at_one(cohort: Cohort, scan: str) -> MatchedAlone:
    """What a worker does before: find what one scan shows around the template's points."""
    from deepfeatures.io.downsampled_reading import read_within_memory

    memory = _memory_of_worker()
    template, landmarks, matcher = _tools(cohort.template, cohort.landmarks, cohort.device, memory)
    with suppress_native_output():
        target = read_within_memory(cohort.scans[scan], memory)
    with AT_WORK:
        return cohort_template.match_alone(matcher, template, landmarks, target)


@lru_cache(maxsize=1)
def _gathered(path: Path, written_ns: int, device: str) -> cohort_template.CohortModel:
    """Kept by each worker between scans; `written_ns` tells a file from one that was there before."""
    return cohort_template.read(path, device)


@lru_cache(maxsize=1)
def _tools(template: Path, landmarks: Path, device: str, memory: int | None):
    """The template, its landmarks and a matcher: kept by each worker between scans."""
    from deepfeatures.io.downsampled_reading import read_within_memory
    from deepfeatures.matching import Matcher

    return read_within_memory(template, memory), read_landmarks(landmarks), Matcher(device=_own_device(device))


def _own_device(device: str) -> str:
    """Where this worker computes: where dask numbers workers, as on one machine, each takes the next GPU."""
    import torch
    from distributed import get_worker

    name, count = get_worker().name, torch.cuda.device_count()
    return f"cuda:{name % count}" if device in ("auto", "cuda") and isinstance(name, int) and count > 1 else device


def _memory_of_worker() -> int | None:
    """Bytes that dask allows a task here, `None` for no limit: the same for all scans, whatever came before them."""
    from distributed import get_worker

    worker = get_worker()
    limit = worker.memory_manager.memory_limit
    return limit // worker.state.nthreads if limit else None


def _mark_attempt(folder: Path, scan: str) -> None:
    number = 1
    while True:
        try:
            (folder / f"{scan}.{number}").touch(exist_ok=False)
            return
        except FileExistsError:
            number += 1


def _reason(error: BaseException) -> str:
    from dask.distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return "every worker that took it died; give workers more memory, or look into the scan"
    return " ".join(str(error).split()) or type(error).__name__


def _summary(cohort: Cohort, reports: Mapping[str, dict], failures: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    counts = Counter(file.name.rsplit(".", 1)[0] for file in (cohort.output_dir / ATTEMPTS).iterdir())
    told, failures, rows = {**_told_before(cohort), **reports}, dict(failures), []
    for scan, path in cohort.scans.items():
        row = {"scan": scan, "status": "failed", "attempts": counts[scan], "placed": 0, "missing": ""}
        if scan not in failures:
            try:
                row |= _found_in(cohort.output_of(scan)) | told.get(scan, {})
            except InputError:  # somebody else's doing: ours appear whole
                failures[scan] = f"{cohort.output_of(scan)} is damaged; delete it and run again"
        rows.append({**row, "failure": failures.get(scan, ""), "file": str(path)})
    columns = ["scan", "status", "attempts", "placed", "missing", MEAN_ERROR, *REPORTED]
    # as objects: Arrow, where it is installed, takes no name that is not UTF-8
    summary = pd.DataFrame(rows, dtype=object).reindex(columns=[*columns, "failure", "file"])
    return summary.astype({"attempts": int, "placed": int, MEAN_ERROR: float, "group_size": "Int64", "seconds": float})


def _found_in(result: Path) -> dict:
    """What the summary says of a result."""
    placed = read_landmarks(result)
    errors = [error for one in placed if (error := one.inverse_consistency_error_mm) is not None]
    return {
        "status": "some landmarks missing" if placed.missing else "placed",
        "placed": len(placed) - len(placed.missing),
        "missing": "; ".join(placed.missing),
        MEAN_ERROR: np.mean(errors).round(3) if errors else None,
    }


def _told_before(cohort: Cohort) -> dict[str, dict]:
    """What workers told of scans in an earlier run, by the summary that it left."""
    import pandas as pd

    try:
        summary = pd.read_csv(cohort.output_dir / SUMMARY, dtype={"scan": str}).set_index("scan")
        return summary[list(REPORTED)].to_dict("index")
    except (OSError, ValueError, KeyError):  # none, or somebody has changed it
        return {}
