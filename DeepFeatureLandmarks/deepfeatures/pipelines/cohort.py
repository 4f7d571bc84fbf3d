"""The landmarks of one template in thousands of targets, on the processes of one machine or of a cluster.

Every target is a task of dask.distributed. A result is a file that appears whole, so the folder of results is the state
of the run: what is there is not done again. Each attempt leaves a mark before it begins, which names the version of
this package and the date; more than one mark is a target that was retried. Before the first of them a few targets are
matched first; their groupwise model helps to place all.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from deepfeatures import __version__
from deepfeatures.data.notes import joined
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import atomic_write, ensure_folder, write_text
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.native_output import suppress_native_output
from deepfeatures.io.provenance import command_line, content_hash, now, rounded_positions, versions
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.pipelines import cohort_template
from deepfeatures.pipelines import place as place_pipeline
from deepfeatures.pipelines.cohort_summary import ATTEMPTS, SUMMARY, attempts_of, made_by, mark_attempt, summary_of

if TYPE_CHECKING:
    import pandas as pd
    from dask.distributed import Client, Future

    from deepfeatures.data.landmarks import LandmarkSet
    from deepfeatures.data.volume import Volume
    from deepfeatures.matching.matcher import Matcher
    from deepfeatures.pipelines.cohort_template import MatchedAlone

RETRIES = 2  # of a target that failed; one whose worker died is given to another as often as dask allows
SETTINGS, PROTOCOL = "cohort.json", "protocol.dflp"
FILES = "calibration", "protocol"  # settings that name one


@dataclass(frozen=True)
class Cohort:
    """What is to be placed where.

    Args:
        template: Volume in which the landmarks lie, or a protocol; like all paths, one that every worker can open.
        landmarks: Its landmark file; `None` for a protocol, which holds both.
        targets: Volumes by name.
        output_dir: For one landmark file a target and the summary.
        settings: How landmarks are searched.
        independent: Whether each target is placed without regard to the others.
        series: Number, UID or description of the series to read of every folder of DICOM files.
        label_maps: Masks and segmentations beside the targets, which are noted and passed over.
    """

    template: Path
    landmarks: Path | None
    targets: Mapping[str, Path]
    output_dir: Path
    settings: MatchSettings = field(default_factory=MatchSettings)
    independent: bool = False
    series: str | None = None
    label_maps: tuple[Path, ...] = ()

    def output_of(self, target: str) -> Path:
        return self.output_dir / f"{target}{place_pipeline.OUTPUT_SUFFIX}"

    @property
    def to_do(self) -> list[str]:
        """Targets that have no result yet."""
        return [target for target in self.targets if not self.output_of(target).exists()]

    @property
    def model_file(self) -> Path:
        """Where the groupwise model of some targets lies, see `cohort_template`."""
        return self.output_dir / cohort_template.FILE

    @property
    def to_match_first(self) -> list[str]:
        """Targets to match first for the groupwise model; none where it is there, or nothing is to do."""
        if self.independent or not self.settings.is_guided or self.model_file.exists() or not self.to_do:
            return []
        return cohort_template.chosen_members(list(self.targets))


def prepare(cohort: Cohort, arguments: Sequence[str] = ()) -> Cohort:
    """Check what can be checked quickly, and that the folder's results, if any, are of the same template.

    A protocol may learn while targets are placed. So all are placed by a copy of it in the folder.

    Args:
        cohort: What is to be placed where.
        arguments: What was typed after the program's name.

    Returns:
        What to run: the same, with the copy of a protocol.

    Raises:
        InputError: The template or its landmarks cannot be used, or the folder holds results of another run.
    """
    given = cohort.template, cohort.landmarks, (), cohort.output_dir
    _, landmarks, _ = place_pipeline.prepare(place_pipeline.Job(*given, series=cohort.series))
    clash = [target for target, path in cohort.targets.items() if cohort.output_of(target).resolve() == path.resolve()]
    given = {path.resolve() for path in (cohort.template, cohort.landmarks) if path is not None}
    clash += [target for target in cohort.targets if cohort.output_of(target).resolve() in given]
    if clash:
        raise InputError(f"the result of {clash[0]} would replace a file that was given; choose another --output-dir")
    path, facts = cohort.output_dir / SETTINGS, _facts(cohort, landmarks)
    known = _read_settings(path)
    if any(known.get(name, fact) != fact for name, fact in facts.items()):
        if _but_for_protocol({**facts, **known}, facts).items() >= facts.items():
            raise InputError(
                f"{cohort.output_dir} was placed before the protocol changed; go on with its copy, --protocol"
                f" {cohort.output_dir / PROTOCOL}, or choose another --output-dir"
            )
        raise InputError(
            f"{cohort.output_dir} holds results of another template, other landmarks or other settings, or of targets"
            " that were placed independently where these are not, or the other way around; choose another --output-dir"
        )
    run = {
        "date": now(),
        "command": command_line(arguments),
        "device": cohort.settings.device,
        "passed_over": [str(path) for path in cohort.label_maps],
        "versions": versions(),
    }
    content = {**facts, "template": str(cohort.template.resolve()), "runs": [*known.get("runs", []), run]}
    write_text(path, json.dumps(content, indent=1) + "\n")
    ensure_folder(cohort.output_dir / ATTEMPTS)
    return cohort if cohort.settings.protocol is None else _with_copy_of_protocol(cohort)


def _but_for_protocol(facts: dict, of: dict) -> dict:
    """Facts of another run, as if it had been given the same state of a protocol as this one."""
    if of["settings"]["protocol"] is None or facts["settings"].get("protocol") is None:
        return facts
    settings = facts["settings"] | {"protocol": of["settings"]["protocol"]}
    return facts | {"template_sha256": of["template_sha256"], "settings": settings}


def _with_copy_of_protocol(cohort: Cohort) -> Cohort:
    copy = cohort.output_dir / PROTOCOL
    if not copy.exists():
        with atomic_write(copy) as draft:
            shutil.copyfile(cohort.template, draft)
    independent = cohort.independent or read_protocol(copy).learnt is not None  # they help more than a groupwise model
    settings = replace(cohort.settings, protocol=str(copy))
    return replace(cohort, template=copy, settings=settings, independent=independent)


def _facts(cohort: Cohort, landmarks: LandmarkSet) -> dict:
    """All that results follow from but the targets themselves."""
    return {
        "template_sha256": content_hash(cohort.template),
        "names": [landmark.name for landmark in landmarks],
        "landmarks": rounded_positions(landmarks),
        "independent": cohort.independent,
        "series": cohort.series,
        "settings": _settings_facts(cohort.settings),
    }


def _settings_facts(settings: MatchSettings) -> dict:
    """Everything chosen but the device, which may change between runs; of files what they hold."""
    facts = {name: value for name, value in asdict(settings.chosen()).items() if name != "device"}
    return facts | {name: facts[name] and content_hash(Path(facts[name])) for name in FILES}


def _read_settings(path: Path) -> dict:
    """What an earlier run noted, empty where there was none; notes of version 0.1.0 are read as those of today."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path} cannot be read; choose another --output-dir, or delete this file") from error
    if "alone" in known:
        known |= {"independent": known.pop("alone"), "settings": _settings_facts(MatchSettings())}
        known["landmarks"] = [None if None in position else position for position in known["landmarks"]]
    if "settings" in known:  # of a version without one of today's settings
        known["settings"] = _settings_facts(MatchSettings()) | known["settings"]
    return known


def results_of_other_versions(cohort: Cohort) -> dict[str, int]:
    """Number of results that other versions of this package have left, by version."""
    marks = attempts_of(cohort)
    done = set(cohort.targets) - set(cohort.to_do)
    return dict(Counter(made for name in done if (made := made_by(marks.get(name, []))["version"]) != __version__))


def run(cohort: Cohort, client: Client, progress: Callable[[float], None] = lambda _: None) -> pd.DataFrame:
    """Place the landmarks in every target that has no result yet; returns the summary, which is also written.

    Args:
        cohort: That `prepare` has checked.
        client: Of the scheduler that has the workers.
        progress: Called with the fraction done, from 0 to 1.
    """
    to_match_first, to_do = cohort.to_match_first, cohort.to_do
    steps, done = len(to_match_first) + len(cohort.targets), itertools.count(len(cohort.targets) - len(to_do))

    def step() -> None:
        progress(next(done) / steps)

    step()
    matched = {
        target: future
        for target, future in ended(client, match_one_first, cohort, to_match_first, step)
        if not future.exception()
    }
    if matched:
        found = ((target, future.result()) for target, future in matched.items())
        cohort_template.write(cohort.model_file, cohort_template.gather(found))
    reports, failures = {}, {}
    for target, future in ended(client, place_one, cohort, to_do, step, matched):
        error = future.exception()
        if error is None:
            reports[target] = future.result()
        else:
            failures[target] = _reason(error)
    summary = summary_of(cohort, reports, failures)
    write_text(cohort.output_dir / SUMMARY, summary.to_csv(index=False, lineterminator="\n"))
    return summary


def ended(
    client: Client,
    work: Callable,
    cohort: Cohort,
    targets: list[str],
    step: Callable[[], None],
    known: Mapping[str, Future] = MappingProxyType({}),
) -> Iterator[tuple[str, Future]]:
    """Tasks of targets, each as it ends and with what is known of the target; `step` is called after each.

    Args:
        client: Of the scheduler that has the workers.
        work: Takes the cohort, the name of a target and, where it is there, what is known of it.
        cohort: Of the targets.
        targets: Their names.
        step: See above.
        known: By name.
    """
    from dask.distributed import as_completed

    futures = {}
    for target in targets:
        arguments = [cohort, target, *([known[target]] if target in known else [])]
        key = ascii(f"{work.__name__}-{target}-{cohort.output_dir}")
        futures[client.submit(work, *arguments, key=key, retries=RETRIES)] = target
    for future in as_completed(futures):
        yield futures[future], future
        step()


def place_one(cohort: Cohort, target: str, matched: MatchedAlone | None = None) -> dict:
    """What a worker does: place one target's landmarks and write them; returns who did it and how long it took."""
    import os
    import socket
    import time

    start = time.perf_counter()
    mark_attempt(cohort.output_dir / ATTEMPTS, target)
    memory = _memory_of_worker()
    template, landmarks, matcher = _tools(cohort.template, cohort.landmarks, cohort.settings, memory, cohort.series)
    given = cohort.template, cohort.landmarks, (cohort.targets[target],), cohort.output_dir
    job = place_pipeline.Job(*given, memory_bytes=memory, series=cohort.series)
    if cohort.model_file.exists():
        model = _cohort_model(cohort.model_file, cohort.model_file.stat().st_mtime_ns, matcher.settings.device)
        matcher = cohort_template.CohortMatcher(matcher, model, target, matched)
    (outcome,) = place_pipeline.place(job, template, landmarks, None, matcher, lambda *_: None)
    if outcome.failure:
        raise RuntimeError(outcome.failure)
    who = f"{socket.gethostname()}:{os.getpid()}"
    return {
        "worker": who,
        "seconds": round(time.perf_counter() - start, 2),
        "alternative_probability": _probability_of_alternatives(outcome.report),
        "group_size": outcome.report.get("group_size", 0),
        "note": joined(outcome.notes) or "",
    }


def _probability_of_alternatives(report: dict) -> float | None:
    """That all landmarks lie in another place where the template fits, too; `None` where there is none."""
    alternatives = report.get("alternatives", ())
    return round(sum(one["probability"] for one in alternatives), 4) if alternatives else None


def match_one_first(cohort: Cohort, name: str) -> MatchedAlone:
    """What a worker does before: match one target on its own, for the groupwise model."""
    template, landmarks, matcher, target = opened(cohort, name)
    return cohort_template.match_alone(matcher, template, landmarks, target)


def opened(cohort: Cohort, name: str) -> tuple[Volume, LandmarkSet, Matcher, Volume]:
    """The template, its landmarks, a matcher and a target, for a worker."""
    from deepfeatures.io.downsampled_reading import read_within_memory

    memory = _memory_of_worker()
    template, landmarks, matcher = _tools(cohort.template, cohort.landmarks, cohort.settings, memory, cohort.series)
    with suppress_native_output():
        target = read_within_memory(cohort.targets[name], memory, cohort.series)
    return template, landmarks, matcher, target


@lru_cache(maxsize=1)
def _cohort_model(path: Path, written_ns: int, device: str) -> cohort_template.CohortModel:
    """Kept by each worker between targets; `written_ns` tells a file from one that was there before."""
    return cohort_template.read(path, device)


@lru_cache(maxsize=1)
def _tools(template: Path, landmarks: Path | None, settings: MatchSettings, memory: int | None, series: str | None):
    """The template, its landmarks and a matcher: kept by each worker between targets."""
    from deepfeatures.io.downsampled_reading import read_within_memory
    from deepfeatures.matching import Matcher

    matcher = Matcher(replace(settings, device=_own_device(settings.device)))
    if matcher.protocol is not None:
        return matcher.protocol.template, matcher.protocol.landmarks, matcher
    volume, points = read_within_memory(template, memory, series), read_landmarks(landmarks)
    return replace(volume, notes=(*volume.notes, *points.notes)), points, matcher


def _own_device(device: str) -> str:
    """Where this worker computes: where dask numbers workers, as on one machine, each takes the next GPU."""
    import torch
    from distributed import get_worker

    name, count = get_worker().name, torch.cuda.device_count()
    return f"cuda:{name % count}" if device in ("auto", "cuda") and isinstance(name, int) and count > 1 else device


def _memory_of_worker() -> int | None:
    """Bytes that dask allows a task here, `None` for no limit: the same for all targets, whatever came before them."""
    from distributed import get_worker

    worker = get_worker()
    limit = worker.memory_manager.memory_limit
    return limit // worker.state.nthreads if limit else None


def _reason(error: BaseException) -> str:
    from dask.distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return "every worker that took it died; give workers more memory, or look into the target"
    return " ".join(str(error).split()) or type(error).__name__
