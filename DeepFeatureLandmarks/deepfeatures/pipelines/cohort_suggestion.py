"""Which scans of a cohort a person should review next, so that a protocol learns most from little work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.matching.learning.suggestion import order_of_review
from deepfeatures.pipelines import cohort as cohorts

if TYPE_CHECKING:
    import torch
    from dask.distributed import Client

SUGGESTIONS = "suggestions.csv"
MOST_SCANS = 300  # that are looked at: of larger cohorts so many, evenly spread over the list


@dataclass(frozen=True)
class Suggestion:
    """A scan to review.

    Args:
        target: Its name.
        file: The volume.
        expected_error_mm: Of its landmarks, the mean; NaN where nobody has calibrated the features.
    """

    target: str
    file: Path
    expected_error_mm: float


def suggest(
    cohort: cohorts.Cohort, client: Client, count: int, progress: Callable[[float], None] = lambda _: None
) -> list[Suggestion]:
    """The scans whose review teaches most, the most telling first; they are also written to `suggestions.csv`.

    Scans that the cohort's protocol has learnt already are not named again.

    Args:
        cohort: That `cohort.prepare` has checked.
        client: Of the scheduler that has the workers.
        count: How many to name, fewer where the cohort has fewer.
        progress: Called with the fraction done, from 0 to 1.

    Raises:
        InputError: The search is greedy, or no scan of the cohort shows the anatomy.
    """
    import torch

    check(cohort)
    names, done = list(cohort.targets), itertools.count(1)
    chosen = [names[index] for index in np.linspace(0, len(names) - 1, min(MOST_SCANS, len(names))).round().astype(int)]
    ended = cohorts.ended(client, observe_one, cohort, chosen, lambda: progress(next(done) / len(chosen)))
    observed = {target: future.result() for target, future in ended if not future.exception()}
    teachers = read_protocol(cohort.settings.protocol).scans if cohort.settings.protocol else ()
    taught = {scan.key for scan in teachers}
    pool = {name: observed[name] for name in chosen if name in observed and observed[name].key not in taught}
    if not pool:
        raise InputError("No scan of the cohort is left that shows the template's anatomy and has not taught already.")
    jets = torch.stack([one.jets for one in pool.values()])
    known = torch.stack([scan.near for scan in teachers]) if teachers else jets[:0]
    doubts = torch.tensor([one.expected_error_mm for one in pool.values()]).nan_to_num(1.0)
    order = [list(pool)[index] for index in order_of_review(jets, doubts, known, count)]
    found = [Suggestion(name, cohort.targets[name], pool[name].expected_error_mm) for name in order]
    _write(found, cohort.output_dir / SUGGESTIONS)
    return found


def check(cohort: cohorts.Cohort) -> None:
    """Raise `InputError` where the search is greedy, which cannot learn."""
    if not cohort.settings.is_guided:
        raise InputError("Only a guided search learns; leave out search, network, layer and radius, or --suggest.")


@dataclass(frozen=True, eq=False)
class Observation:
    """What a target shows around its landmarks.

    Args:
        key: Of the scan, see `teaching.scan_key`.
        jets: See `TaughtScan.near`.
        expected_error_mm: See `Suggestion`.
    """

    key: str
    jets: torch.Tensor
    expected_error_mm: float


def observe_one(cohort: cohorts.Cohort, name: str) -> Observation:
    """What a worker does: look at one target."""
    from deepfeatures.matching.learning.protocol import begin_protocol
    from deepfeatures.matching.teaching import observe

    template, landmarks, matcher, target = cohorts.opened(cohort, name)
    protocol = matcher.protocol or begin_protocol(template, landmarks, matcher.features_key)
    scan, model = observe(matcher, protocol, target), matcher.error_model
    errors = [math.nan] if model is None else model.errors_mm(scan.evidence.double(), float(scan.spacing_mm)).tolist()
    return Observation(scan.key, scan.near, float(np.mean(errors)))


def _write(found: list[Suggestion], path: Path) -> None:
    import pandas as pd

    columns = ["order", "target", "expected_error_mm", "file"]
    rows = [(number, one.target, round(one.expected_error_mm, 3), str(one.file)) for number, one in enumerate(found, 1)]
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
