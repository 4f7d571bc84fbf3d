"""What `learning.py` prints and keeps of errors before and after learning."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of one draw: distances from the truth in mm in the same scans, `(scans, L)`, NaN where a landmark is unknown.

    Args:
        before, after: Without and with what was learnt.
        deep: Landmarks far from all faces of their scan.
        expected, radius_90: As stated after learning; `None` where nothing is stated.
    """

    before: np.ndarray
    after: np.ndarray
    deep: np.ndarray
    expected: np.ndarray | None = None
    radius_90: np.ndarray | None = None

    @property
    def ratio(self) -> float:
        return ratio(self.before, self.after)


def ratio(before: np.ndarray, after: np.ndarray) -> float:
    """Mean after by mean before, over the landmarks known in both."""
    known = np.isfinite(before) & np.isfinite(after)
    return float(after[known].mean() / before[known].mean()) if known.any() else float("nan")


def summary(outcomes: Iterable[Outcome]) -> dict[str, float | int]:
    """Of all draws: mean errors, their ratio, that of the worst draw, and how well errors are stated."""
    drawn = list(outcomes)
    ratios = [one.ratio for one in drawn]
    before, after = (np.concatenate([getattr(one, key) for one in drawn]) for key in ("before", "after"))
    known = np.isfinite(before) & np.isfinite(after)
    found: dict[str, float | int] = {
        "draws": len(drawn),
        "before_mm": float(before[known].mean()),
        "after_mm": float(after[known].mean()),
        "p95_before_mm": float(np.percentile(before[known], 95)),
        "p95_after_mm": float(np.percentile(after[known], 95)),
        "ratio": float(np.mean(ratios)),
        "worst_ratio": float(np.max(ratios)),
    }
    deep = np.concatenate([one.deep for one in drawn])
    if deep.any() and not deep.all():
        found |= {
            "ratio_deep": ratio(before[deep], after[deep]),
            "ratio_near_faces": ratio(before[~deep], after[~deep]),
        }
    return found | _stated([one for one in drawn if one.radius_90 is not None])


def _stated(drawn: list[Outcome]) -> dict[str, float | int]:
    """How well errors are stated, where they are."""
    if not drawn:
        return {}
    after, radius, expected = (
        np.concatenate([getattr(one, key) for one in drawn]) for key in ("after", "radius_90", "expected")
    )
    known = np.isfinite(after)
    return {
        "coverage_90": float((after[known] <= radius[known]).mean()),
        "expected_mm": float(expected[known].mean()),
        "true_mm": float(after[known].mean()),
    }


def told(values: dict[str, float | int]) -> str:
    text = (
        f"{values['before_mm']:.2f} to {values['after_mm']:.2f} mm, ratio {values['ratio']:.3f}, worst of"
        f" {values['draws']} draws {values['worst_ratio']:.3f}; p95 {values['p95_before_mm']:.2f} to"
        f" {values['p95_after_mm']:.2f}"
    )
    if "ratio_deep" in values:
        text += f"; far from faces {values['ratio_deep']:.3f}, near {values['ratio_near_faces']:.3f}"
    if "coverage_90" in values:
        text += (
            f"; 90 % radius holds in {values['coverage_90']:.0%}, expected {values['expected_mm']:.2f} mm, true"
            f" {values['true_mm']:.2f}"
        )
    return text


def keep(rows: dict[str, dict], path: Path) -> None:
    """Add rows to a JSON file; those of the same name are replaced."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | rows, indent=1) + "\n")
