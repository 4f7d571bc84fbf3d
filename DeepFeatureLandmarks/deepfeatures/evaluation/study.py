"""Runs a study: every configuration on every pair of template and target; a killed run continues where it was."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.evaluation.cases import Case, read_points
from deepfeatures.evaluation.configurations import Configuration
from deepfeatures.evaluation.dense_grid import DenseGrid
from deepfeatures.evaluation.results import FOLDER, Results, Study
from deepfeatures.io.atomic_write import ensure_folder, write_text
from deepfeatures.io.provenance import command_line, now, versions
from deepfeatures.matching import Matcher

SETTINGS = "study.json"
Placed = list[tuple[np.ndarray, float]]  # LPS mm, shape (L, 3), and seconds, one for each configuration of a group
Place = Callable[[Volume, LandmarkSet, Volume], Placed]


def prepare(study: Study, arguments: Sequence[str] = ()) -> int:
    """See that landmarks can be compared by name, make the folder, and note what is computed.

    Args:
        study: What to compute.
        arguments: What was typed after the program's name.

    Returns:
        The number of results in the folder that are computed anew, since scans, landmarks, settings or the version of
        this package have changed.

    Raises:
        InputError: A case's landmarks cannot be used; the folder cannot be written to or holds another study's results.
    """
    points, _ = read_points(study.cases)
    if all(len(points[case.name].missing) == len(points[case.name]) for case in study.templates):
        path = study.templates[0].landmarks or study.templates[0].image
        raise InputError(f"{path} has no landmark with a position; choose another --template")
    ensure_folder(study.output_dir / FOLDER)
    templates = [str(case.image.resolve()) for case in study.templates]
    settings = {"templates": templates, "search_radius_mm": study.search_radius_mm}
    path = study.output_dir / SETTINGS
    if path.exists() and not settings.items() <= _read_settings(path).items():
        raise InputError(f"{study.output_dir} holds a study with another template or radius; choose another folder")
    run = {"command": command_line(arguments), "date": now(), "versions": versions()}
    write_text(path, json.dumps({**settings, **run}, indent=1) + "\n")
    return sum(Results(study, one).outdated for one in study.configurations)


def _read_settings(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} cannot be read; choose another folder, or delete this file") from error


def run(study: Study, workers: int = 1, progress: Callable[[float], None] = lambda _: None) -> None:
    """Compute what is not there yet.

    Args:
        study: That `prepare` has checked.
        workers: Processes, a group of configurations each at a time.
        progress: Called with the fraction done, from 0 to 1.
    """
    groups = groups_of([configuration for configuration in study.configurations if not configuration.unavailable])
    if workers == 1:
        for number, group in enumerate(groups):
            for done in run_group(study, group):
                progress((number + done) / len(groups))
        return
    # Ctrl+C reaches every process of a terminal: only this one is to answer
    deaf = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **deaf) as pool:
        futures = [pool.submit(_whole_group, study, group) for group in groups]
        try:
            for number, future in enumerate(as_completed(futures)):
                future.result()
                progress((number + 1) / len(groups))
        except BaseException:  # an interrupt, or a case that cannot be used: what others compute is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def groups_of(configurations: Iterable[Configuration]) -> list[tuple[Configuration, ...]]:
    """Those that are computed together: dense ones that differ in patch size alone share a target's features."""
    groups: dict[Configuration, list[Configuration]] = {}
    for one in configurations:
        is_dense = one.settings.search == "dense"
        alike = replace(one, settings=replace(one.settings, patch_size=None)) if is_dense else one
        groups.setdefault(alike, []).append(one)
    return [tuple(group) for group in groups.values()]


def _whole_group(study: Study, group: tuple[Configuration, ...]) -> None:
    for _ in run_group(study, group):
        pass


def run_group(study: Study, group: tuple[Configuration, ...]) -> Iterator[float]:
    """Add what is missing to the files of a group of `groups_of`, a target at a time; yields the fraction done."""
    results = [Results(study, configuration) for configuration in group]
    known = [{(line["template"], line["target"]) for line in own.stored} for own in results]
    todo = [pair for pair in study.pairs if any(_names(pair) not in own for own in known)]
    place = _placer(study, group) if todo else None
    read_template = lru_cache(maxsize=1)(Case.read)  # one object for all its targets: matchers keep what they know
    for number, pair in enumerate(todo):
        template, landmarks = read_template(pair[0])
        target, _ = pair[1].read()
        placed = place(template, landmarks, target)
        for own, own_known, (positions, seconds) in zip(results, known, placed, strict=True):
            if _names(pair) not in own_known:
                own.add(pair, positions, seconds)
        yield 1 - (len(todo) - number - 1) / len(study.pairs)
    yield 1.0


def _names(pair: tuple[Case, Case]) -> tuple[str, str]:
    return pair[0].name, pair[1].name


def _placer(study: Study, group: tuple[Configuration, ...]) -> Place:
    method, chosen = group[0].method, group[0].settings
    if method in BASELINES:
        return lambda *given: [_timed(partial(_by_baseline, method), *given)]
    radius_mm = None if chosen.is_guided else study.search_radius_mm
    protocol = study.protocol if method == "default" else None
    settings = replace(chosen, device=study.device, search_radius_mm=radius_mm, protocol=protocol)
    if settings.search == "dense":
        return DenseGrid(settings, [one.settings.patch_size for one in group]).place
    matcher = Matcher(settings)
    return lambda *given: [_timed(lambda *pair: matcher.match(*pair).landmarks.positions, *given)]


def _by_baseline(method: str, template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """Positions of a method of `BASELINES`, all missing where it gave up, as elastix does where too little overlaps."""
    try:
        return BASELINES[method].place(template, landmarks, target)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        logging.getLogger(__name__).warning("%s found nothing in %s: %s", method, target.name, reason)
        return np.full_like(landmarks.positions, np.nan)


def _timed(place: Callable[..., np.ndarray], *given) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    positions = place(*given)
    return positions, time.perf_counter() - start
