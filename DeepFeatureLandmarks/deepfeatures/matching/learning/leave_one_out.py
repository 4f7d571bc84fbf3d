"""How well a head does for people whom it does not know: each taught person is left out once.

Errors are predicted anew from this: a landmark that the head has moved is nearer than its evidence says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.matching.learning.landmark_head import Lessons, fit_head
from deepfeatures.matching.uncertainty.error_model import ErrorModel
from deepfeatures.matching.uncertainty.recalibration import recalibrated
from deepfeatures.matching.uncertainty.samples import MatchSamples

LEAST_TRUST = 0.5  # share of its weight that a scan must keep beside the others


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Errors of taught scans, mm, NaN where nothing is taught; rows as the scans.

    Args:
        before_mm: Of the search alone, `(S, L)`.
        after_mm: With a head that did not know the person, `(S, L)`; the same where nothing was learnt without them.
        judged: Where something was, `(S, L)`.
        odd: Scans whose points lie elsewhere than those of the others, mostly, `(S,)`: how far they are off is not told
            by them.
    """

    before_mm: torch.Tensor
    after_mm: torch.Tensor
    judged: torch.Tensor
    odd: torch.Tensor


def leave_one_out(known: Lessons) -> LeftOut:
    """Each person judged by what the others teach."""
    before = torch.stack([scan.errors_mm(scan.found) for scan in known.scans])
    after, judged = before.clone(), torch.zeros_like(before, dtype=torch.bool)
    for person in known.people:
        head = fit_head(known, without=person)
        for index, scan in enumerate(known.scans):
            if scan.person == person:
                after[index] = scan.errors_mm(head.corrected(scan.around_found, scan.found))
                judged[index] = head.people > 0
    return LeftOut(before, after, judged, known.trust < LEAST_TRUST)


def recalibrated_model(
    model: ErrorModel, known: Lessons, left_out: LeftOut, size_mm: float, template: str
) -> ErrorModel:
    """The error model for landmarks that the head has moved.

    Args:
        model: For those of the search alone.
        known: All taught scans.
        left_out: Of these.
        size_mm: Of the template, the cube root of its volume.
        template: Its name.
    """
    taught = (known.taught & ~left_out.odd[:, None]).numpy()
    rows, _ = np.nonzero(taught)
    spacings = np.array([float(scan.spacing_mm) for scan in known.scans])[rows]
    evidence = torch.stack([scan.evidence for scan in known.scans]).double().numpy()[taught]
    people = np.array([scan.person for scan in known.scans])[rows]
    samples = MatchSamples(
        evidence,
        left_out.after_mm.double().numpy()[taught] / spacings,
        spacings,
        np.full(len(rows), size_mm),
        np.full(len(rows), f"template {template}"),
        people,
        name="taught",
    )
    return recalibrated(model, samples)
