"""Templates compared by where their landmarks were placed in annotated scans: tables and advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from deepfeatures.data.landmark_checks import names_text
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.notes import Note
from deepfeatures.errors import InputError
from deepfeatures.quality.annotations import Annotation, landmark_names, stack_positions
from deepfeatures.quality.placed_pairs import PlacedPair
from deepfeatures.quality.template_offsets import CONFIDENCE, Offsets, comparable_means, direction_text, offsets

FEW = 5  # targets; with fewer the intervals are too wide to go by


@dataclass(frozen=True, eq=False)
class TemplateCheck:
    """What was found.

    Args:
        templates: One row a template, the best first. `targets`, `points` and `missing` are counts. `mean_error_mm` and
            `p95_error_mm` are of its own points. `comparable_error_mm` is the mean error as if all templates had been
            tried on the same points. `error_without_offsets_mm` is what is left without the template's own offsets.
            `unlike` names the landmarks labelled unlike the others', the worst first. `behind_best_mm` is by how much
            it is worse than the best one, with its 95 % interval. `advice` is a sentence or two.
        landmarks: One row a template and landmark. `offset_mm` is the length of its offset, with an interval.
            `left_mm`, `back_mm` and `up_mm` are its parts. `scatter_mm` is around it. `unlike` and `sentence` say what
            follows.
        advice: On all of it, one or two sentences.
        notes: What people should know of files and names.
    """

    templates: pd.DataFrame
    landmarks: pd.DataFrame
    advice: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, eq=False)
class _Tried:
    """A template and T targets, of which it was tried on some.

    Args:
        scan: The template's.
        names: Of all landmarks, length L.
        template: Its landmarks, LPS mm, shape `(L, 3)`.
        placed: LPS mm, shape `(T, L, 3)`; NaN where missing or not tried.
        annotated: LPS mm, shape `(T, L, 3)`; NaN where not known or not tried.
    """

    scan: str
    names: tuple[str, ...]
    template: np.ndarray
    placed: np.ndarray
    annotated: np.ndarray

    @cached_property
    def offsets(self) -> Offsets:
        return offsets(self.template, self.placed, self.annotated)

    @property
    def points(self) -> int:
        """That were to be placed, and whose true place is known."""
        return int(np.isfinite(self.annotated + self.template).all(axis=2).sum())

    @property
    def targets(self) -> int:
        """With such points."""
        return int(np.isfinite(self.annotated + self.template).all(axis=2).any(axis=1).sum())


def compare(placed: Sequence[PlacedPair], notes: Sequence[Note] = ()) -> TemplateCheck:
    """What placed pairs tell of their templates; landmarks are compared by name, as they are written.

    Raises:
        InputError: No landmark is known in a template and a target.
    """
    tried = list(_tried(placed))
    errors = np.stack([one.offsets.errors_mm for one in tried])
    if not np.isfinite(errors).any():
        raise InputError("no landmark could be compared; check that landmarks have the same names in all scans")
    means = comparable_means(errors)
    order = [int(row) for row in np.argsort(means)]  # NaN last
    tables = [_landmark_table(tried[row]) for row in order]
    rows = [
        {"rank": rank, **_template_row(tried[row], means[row], table), **_behind(errors[row], errors[order[0]])}
        for rank, (row, table) in enumerate(zip(order, tables, strict=True), 1)
    ]
    templates = pd.DataFrame(rows)
    templates["advice"] = [_advice_on(row, table) for row, table in zip(rows, tables, strict=True)]
    advice = _advice(templates, list(_unlike(tables[0]).landmark))
    return TemplateCheck(templates, pd.concat(tables, ignore_index=True), advice, tuple(notes))


def _tried(placed: Sequence[PlacedPair]) -> Iterator[_Tried]:
    templates = {pair.template.scan: pair.template for pair in placed}
    targets = list({pair.target.scan: pair.target for pair in placed}.values())
    names = landmark_names(list(templates.values()))
    truth = stack_positions(targets, names)
    found = {(pair.template.scan, pair.target.scan): pair.landmarks for pair in placed}
    for scan, template in templates.items():
        was_tried = np.array([(scan, target.scan) in found for target in targets])
        own = [Annotation(target.scan, scan, found.get((scan, target.scan), LandmarkSet(()))) for target in targets]
        annotated = np.where(was_tried[:, None, None], truth, np.nan)
        yield _Tried(scan, names, stack_positions([template], names)[0], stack_positions(own, names), annotated)


def _landmark_table(tried: _Tried) -> pd.DataFrame:
    found = tried.offsets
    errors = np.ma.masked_invalid(found.errors_mm).mean(axis=0).filled(np.nan)
    table = pd.DataFrame(
        {
            "template": tried.scan,
            "landmark": tried.names,
            "targets": found.counts,
            "mean_error_mm": errors,
            "offset_mm": found.lengths_mm,
            "offset_low_mm": found.intervals_mm[:, 0],
            "offset_high_mm": found.intervals_mm[:, 1],
            **dict(zip(("left_mm", "back_mm", "up_mm"), found.mean.T, strict=True)),
            "scatter_mm": found.scatter_mm,
            "unlike": found.is_unlike,
        }
    )
    table["sentence"] = [_sentence(row) for row in table.to_dict("records")]
    return table[np.isfinite(tried.template).all(axis=1)]


def _sentence(row: dict) -> str:
    """What is known of one landmark."""
    if row["targets"] < 2:
        return f"{row['landmark']} is known in too few other scans to tell"
    offset = np.array([row["left_mm"], row["back_mm"], row["up_mm"]])
    low, high = _number(row["offset_low_mm"]), _number(row["offset_high_mm"])
    size = f"{_number(row['offset_mm'])} mm ({low} to {high})"
    if row["offset_low_mm"] == 0:
        return f"{row['landmark']} lies where the other scans have it, as far as they tell: offset {size}"
    return f"{row['landmark']} lies {size} {direction_text(offset)} where the other scans have it"


def _number(mm: float) -> str:
    """For people; two digits where the anatomy is small."""
    return f"{mm:.1f}" if mm >= 1 or mm == 0 else f"{mm:.2g}"


def _template_row(tried: _Tried, comparable: float, table: pd.DataFrame) -> dict:
    known = tried.offsets.errors_mm[np.isfinite(tried.offsets.errors_mm)]
    left = tried.offsets.errors_without_mm
    return {
        "template": tried.scan,
        "targets": tried.targets,
        "points": tried.points,
        "missing": tried.points - len(known),
        "mean_error_mm": float(known.mean()) if len(known) else np.nan,
        "p95_error_mm": float(np.percentile(known, 95)) if len(known) else np.nan,
        "comparable_error_mm": comparable,
        "error_without_offsets_mm": float(np.nanmean(left)) if np.isfinite(left).any() else np.nan,
        "unlike": ", ".join(_unlike(table).landmark),
    }


def _unlike(table: pd.DataFrame) -> pd.DataFrame:
    """The landmarks that are labelled unlike the others', the worst first."""
    return table[table.unlike].sort_values("offset_mm", ascending=False)


def _behind(errors: np.ndarray, best: np.ndarray) -> dict:
    """By how much a template's errors are larger than the best one's on the same points; 95 % interval over targets."""
    from scipy import stats

    both = np.ma.masked_invalid(errors - best).mean(axis=1).compressed()
    mean = float(both.mean()) if len(both) else np.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(both) - 1) * stats.sem(both) if len(both) > 1 else np.nan
    return {"behind_best_mm": mean, "behind_best_low_mm": mean - half, "behind_best_high_mm": mean + half}


def _advice_on(row: dict, table: pd.DataFrame) -> str:
    """One template in a sentence or two."""
    if not np.isfinite(row["mean_error_mm"]):
        return "None of its landmarks was found in the other scans; do not take it."
    lost = f", and {row['missing']} of {row['points']} points were not found" if row["missing"] else ""
    text = f"Its points are {_number(row['mean_error_mm'])} mm off on average in {row['targets']} scans{lost}."
    if len(unlike := _unlike(table)):
        return f"{text} Look first at this: {unlike.sentence.iloc[0]}."
    return f"{text} No landmark is surely labelled unlike the other scans' by more than the scatter."


def _advice(templates: pd.DataFrame, unlike: Sequence[str]) -> str:
    """What to do: which template to take, what to correct in it, and whether the scans are enough to say so."""
    best = templates.iloc[0]
    rivals = templates.iloc[1:]
    equal = rivals[~(rivals.behind_best_low_mm > 0) & rivals.mean_error_mm.notna()]
    if best.targets == 1:
        choice = "One other scan cannot tell which of the two is labelled otherwise; annotate a third"
    elif rivals.empty:
        choice = f"{best.template} is {_number(best.mean_error_mm)} mm off on average"
    elif equal.empty:
        choice = f"Take {best.template} as the template: it is better than every other one"
    else:
        choice = f"Take {best.template} as the template; as far as the scans tell, {names_text(list(equal.template))}"
        choice += f" {'does' if len(equal) == 1 else 'do'} as well"
    correct = f" Before use, look at these points of {best.template}: {names_text(unlike)}." if unlike else ""
    few = (
        f" With {best.targets} other scans this is a first guess; {FEW} or more tell better."
        if (1 < best.targets < FEW)
        else ""
    )
    return f"{choice}.{correct}{few}"
