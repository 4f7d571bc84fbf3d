"""Runs a study: a file a cell, a line a target, so that a killed run continues where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.evaluation.cases import Case
from deepfeatures.evaluation.cells import Cell
from deepfeatures.evaluation.peers import TRANSFORMS, ants_positions
from deepfeatures.files import ensure_folder, write_text
from deepfeatures.landmarks import LandmarkSet
from deepfeatures.volume import Volume

CELLS, SETTINGS = "cells", "study.json"
Place = Callable[[Volume, LandmarkSet, Volume], np.ndarray]


@dataclass(frozen=True)
class Study:
    """What is compared on what.

    Args:
        cells: Ways to place landmarks; those that are not available are left out.
        template: Where the landmarks come from.
        targets: Where they are placed.
        output_dir: For one file a cell.
        search_radius_mm: Of the grid's cells; `None` for the whole target.
        device: Where to compute.
    """

    cells: tuple[Cell, ...]
    template: Case
    targets: tuple[Case, ...]
    output_dir: Path
    search_radius_mm: float | None = None
    device: str = "auto"

    def file_of(self, cell: Cell) -> Path:
        return self.output_dir / CELLS / f"{cell.name}.jsonl"


def prepare(study: Study) -> None:
    """Make the folder, and see that what it holds is of the same study.

    Raises:
        InputError: The folder cannot be written to or holds another study's results.
    """
    ensure_folder(study.output_dir / CELLS)
    settings = {"template": str(study.template.image.resolve()), "search_radius_mm": study.search_radius_mm}
    text, path = json.dumps(settings, indent=1) + "\n", study.output_dir / SETTINGS
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{study.output_dir} holds a study with another template or radius; choose another folder")
    write_text(path, text)


def run(study: Study, workers: int = 1, progress: Callable[[float], None] = lambda _: None) -> None:
    """Compute what is not there yet.

    Args:
        study: That `prepare` has checked.
        workers: Processes, a cell each at a time.
        progress: Called with the fraction done, from 0 to 1.
    """
    cells = [cell for cell in study.cells if not cell.unavailable]
    if workers == 1:
        for number, cell in enumerate(cells):
            for done in run_cell(study, cell):
                progress((number + done) / len(cells))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_whole_cell, study, cell) for cell in cells]
        for number, future in enumerate(as_completed(futures)):
            future.result()
            progress((number + 1) / len(cells))


def _whole_cell(study: Study, cell: Cell) -> None:
    for _ in run_cell(study, cell):
        pass


def run_cell(study: Study, cell: Cell) -> Iterator[float]:
    """Add what is missing to the cell's file, a target at a time; yields the fraction done."""
    path = study.file_of(cell)
    known = {line["target"] for line in read_lines(path)}
    todo = [case for case in study.targets if case.name not in known]
    if not todo:
        yield 1.0
        return
    place = _placer(study, cell)
    template, landmarks = study.template.read()
    with path.open("a", encoding="utf-8") as file:
        for number, case in enumerate(todo):
            target, _ = case.read()
            start = time.perf_counter()
            positions = place(template, landmarks, target)
            seconds = time.perf_counter() - start
            points = [point.tolist() if np.isfinite(point).all() else None for point in positions]
            line = {"target": case.name, "seconds": round(seconds, 4), "positions": points}
            # a line that was cut short must not swallow the next one
            file.write("\n" + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
            yield 1 - (len(todo) - number - 1) / len(study.targets)


def read_lines(path: Path) -> list[dict]:
    """The whole lines of a cell's file, one a target; a line that was cut short by the run's end counts for nothing."""
    lines: dict[str, dict] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        lines[line["target"]] = line
    return list(lines.values())


def _placer(study: Study, cell: Cell) -> Place:
    if cell.method in TRANSFORMS:
        return lambda *given: ants_positions(cell.method, *given)
    from deepfeatures.matching import Matcher

    if cell.method == "default":
        matcher = Matcher(device=study.device)
    else:
        matcher = Matcher(
            cell.network, cell.layer, cell.patch_size, cell.search, study.search_radius_mm, device=study.device
        )
    return lambda *given: matcher.match(*given).positions


def cells_of(study: Study) -> Sequence[tuple[Cell, list[dict]]]:
    """Every cell with what has been computed of it for this study's targets."""
    wanted = {case.name for case in study.targets}
    return [
        (cell, [line for line in read_lines(study.file_of(cell)) if line["target"] in wanted]) for cell in study.cells
    ]
