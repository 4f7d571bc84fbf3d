"""The table of asymmetries for the terminal."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from deepfeatures.data.asymmetry import Asymmetry, PairAsymmetry


def asymmetry_table(name: str, found: Asymmetry) -> Table:
    """Every pair of a target, one row each: its vector, its length, and the same of the template."""
    table = Table(title=f"Asymmetry in {name}: mirror image of the left one minus the right one, mm")
    table.add_column("pair")
    for column in ("left", "posterior", "superior", "length", "expected error", "length in the template"):
        table.add_column(column, justify="right")
    table.add_column("")
    for pair in found.pairs:
        table.add_row(*_cells(pair))
    return table


def _cells(pair: PairAsymmetry) -> list[str]:
    error = "" if pair.expected_error_mm is None else f"{pair.expected_error_mm:.1f}"
    template = "" if pair.template_mm is None else f"{np.linalg.norm(pair.template_mm):.1f}"
    within = "within its expected error" if pair.is_within_error else ""
    vector = [f"{value:+.1f}" for value in pair.vector_mm]
    return [f"{pair.left} / {pair.right}", *vector, f"{pair.length_mm:.1f}", error, template, within]
