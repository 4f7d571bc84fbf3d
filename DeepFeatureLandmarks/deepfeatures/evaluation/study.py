"""Runs a study: a file a cell, a line a template and target, so that a killed run continues where it was."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.evaluation.baselines import PEERS
from deepfeatures.evaluation.cases import Case
from deepfeatures.evaluation.configurations import Cell
from deepfeatures.evaluation.dense_grid import DenseGrid
from deepfeatures.io.atomic_write import ensure_folder, write_text
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.matching import Matcher

CELLS, SETTINGS = "cells", "study.json"
Placed = list[tuple[np.ndarray, float]]  # LPS mm, shape (L, 3), and seconds, one for each cell of a group
Place = Callable[[Volume, LandmarkSet, Volume], Placed]


@dataclass(frozen=True)
class Study:
    """What is compared on what.

    Args:
        cells: Ways to place landmarks; those that are not available are left out.
        templates: Where the landmarks come from, one after the other.
        targets: Where they are placed from every template but themselves.
        output_dir: For one file a cell.
        search_radius_mm: Of the grid's greedy cells; `None` for the whole target.
        device: Where to compute.
    """

    cells: tuple[Cell, ...]
    templates: tuple[Case, ...]
    targets: tuple[Case, ...]
    output_dir: Path
    search_radius_mm: float | None = None
    device: str = "auto"

    def file_of(self, cell: Cell) -> Path:
        return self.output_dir / CELLS / f"{cell.name}.jsonl"

    @property
    def pairs(self) -> list[tuple[Case, Case]]:
        """Template and target, the targets of a template one after the other."""
        return [(one, other) for one in self.templates for other in self.targets if one.name != other.name]


def prepare(study: Study) -> None:
    """See that landmarks can be compared by name, make the folder, and see that what it holds is of the same study.

    Raises:
        InputError: A case's landmarks cannot be used; the folder cannot be written to or holds another study's results.
    """
    points = {case: read_landmarks(case.landmarks) for case in (*study.templates, *study.targets)}
    for case, landmarks in points.items():
        if landmarks.duplicate_names:
            raise InputError(f"{case.landmarks} has several landmarks {landmarks.duplicate_names[0]}; rename them")
    if all(len(points[case].missing) == len(points[case]) for case in study.templates):
        path = study.templates[0].landmarks
        raise InputError(f"{path} has no landmark with a position; choose another --template")
    ensure_folder(study.output_dir / CELLS)
    templates = [str(case.image.resolve()) for case in study.templates]
    settings = {"templates": templates, "search_radius_mm": study.search_radius_mm}
    text, path = json.dumps(settings, indent=1) + "\n", study.output_dir / SETTINGS
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{study.output_dir} holds a study with another template or radius; choose another folder")
    write_text(path, text)


def run(study: Study, workers: int = 1, progress: Callable[[float], None] = lambda _: None) -> None:
    """Compute what is not there yet.

    Args:
        study: That `prepare` has checked.
        workers: Processes, a group of cells each at a time.
        progress: Called with the fraction done, from 0 to 1.
    """
    groups = groups_of([cell for cell in study.cells if not cell.unavailable])
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


def groups_of(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    """Cells that are computed together: dense ones that differ in patch size alone share a target's features."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(replace(cell, patch_size=0) if cell.search == "dense" else cell, []).append(cell)
    return [tuple(group) for group in groups.values()]


def _whole_group(study: Study, group: tuple[Cell, ...]) -> None:
    for _ in run_group(study, group):
        pass


def run_group(study: Study, group: tuple[Cell, ...]) -> Iterator[float]:
    """Add what is missing to the files of a group of `groups_of`, a target at a time; yields the fraction done."""
    known = {cell: {_pair(line) for line in read_lines(study.file_of(cell))} for cell in group}
    todo = [pair for pair in study.pairs if any(_names(pair) not in known[cell] for cell in group)]
    place = _placer(study, group) if todo else None
    read_template = lru_cache(maxsize=1)(
        Case.read
    )  # one object for all its targets: matchers keep what they know of it
    for number, pair in enumerate(todo):
        template, landmarks = read_template(pair[0])
        target, _ = pair[1].read()
        for cell, (positions, seconds) in zip(group, place(template, landmarks, target), strict=True):
            if _names(pair) in known[cell]:
                continue
            points = [point.tolist() if np.isfinite(point).all() else None for point in positions]
            names = dict(zip(("template", "target"), _names(pair), strict=True))
            _append(study.file_of(cell), names | {"seconds": round(seconds, 4), "positions": points})
        yield 1 - (len(todo) - number - 1) / len(study.pairs)
    yield 1.0


def _names(pair: tuple[Case, Case]) -> tuple[str, str]:
    return pair[0].name, pair[1].name


def _pair(line: dict) -> tuple[str, str]:
    return line["template"], line["target"]


def _append(path: Path, line: dict) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(line) + "\n")  # a line that was cut short must not swallow this one
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict]:
    """The whole lines of a cell's file, one a template and target; one that was cut short does not count."""
    lines: dict[tuple[str, str], dict] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        lines[_pair(line)] = line
    return list(lines.values())


def _placer(study: Study, group: tuple[Cell, ...]) -> Place:
    cell = group[0]
    if cell.search == "dense":
        sizes = [one.patch_size for one in group]
        return DenseGrid(
            cell.network, cell.layer, sizes, study.search_radius_mm, cell.intensity, device=study.device
        ).place
    if cell.method in PEERS:
        return lambda *given: [_timed(partial(_by_peer, cell.method), *given)]
    if cell.method == "default":
        matcher = Matcher(device=study.device)
    else:
        matcher = Matcher(
            network=cell.network,
            layer=cell.layer,
            patch_size=cell.patch_size,
            search=cell.search,
            search_radius_mm=study.search_radius_mm if cell.search == "patch" else None,
            device=study.device,
            initialization=cell.pose,
            intensity=cell.intensity,
        )
    return lambda *given: [_timed(lambda *pair: matcher.match(*pair).landmarks.positions, *given)]


def _by_peer(method: str, template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """Positions of a method of `PEERS`, all missing where it gave up, as elastix does where too little overlaps."""
    try:
        return PEERS[method](template, landmarks, target)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        logging.getLogger(__name__).warning("%s found nothing in %s: %s", method, target.name, reason)
        return np.full_like(landmarks.positions, np.nan)


def _timed(place: Callable[..., np.ndarray], *given) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    positions = place(*given)
    return positions, time.perf_counter() - start


def cells_of(study: Study) -> Sequence[tuple[Cell, list[dict]]]:
    """Every cell with what has been computed of it for this study's pairs."""
    wanted = {_names(pair) for pair in study.pairs}
    return [(cell, [line for line in read_lines(study.file_of(cell)) if _pair(line) in wanted]) for cell in study.cells]
