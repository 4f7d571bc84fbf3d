"""A study's tables as CSV and its figures on one self-contained HTML page."""

from __future__ import annotations

import base64
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from deepfeatures.errors import InputError
from deepfeatures.evaluation import figures, tables
from deepfeatures.evaluation.results import Study
from deepfeatures.io.atomic_write import atomic_write, write_text


def write_results(study: Study) -> Path:
    """Write the tables `errors`, `configurations` and `landmarks`, and `report.html`; returns the page.

    Tables are CSV and, where pyarrow is installed, Parquet too.

    Raises:
        InputError: Nothing has been computed.
    """
    errors = tables.error_table(study)
    if not len(errors):
        raise InputError(
            "none of the configurations can be computed; choose networks that have weights, or import them"
        )
    configurations = tables.configuration_table(study, errors)
    for name, table in {
        "errors": errors,
        "configurations": configurations,
        "landmarks": tables.landmark_table(errors),
    }.items():
        write_text(study.output_dir / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        if find_spec("pyarrow"):
            with atomic_write(study.output_dir / f"{name}.parquet") as draft:
                table.to_parquet(draft, index=False)
    page = study.output_dir / "report.html"
    write_text(page, render(study, configurations, errors))
    return page


def render(study: Study, configurations: pd.DataFrame, errors: pd.DataFrame) -> str:
    """The page."""
    from jinja2 import Environment

    shown = []
    if (configurations.method == "grid").any():
        shown += [
            (
                "t-statistics",
                "As the paper's figure 5. ×: cannot be computed; –: has not been.",
                figures.heat_map(configurations),
            ),
            ("Error against patch size and depth", "", figures.by_patch_size(configurations)),
        ]
    shown += [
        ("Cumulative error", "The configurations that do best.", figures.cumulative(configurations, errors)),
        ("Each landmark", "With the configuration that does best.", figures.by_landmark(configurations, errors)),
        ("Error against time", "Squares: whole methods.", figures.by_time(configurations)),
    ]
    template = Environment(autoescape=True).from_string(
        files("deepfeatures.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    )
    return template.render(
        template=study.templates[0].name if len(study.templates) == 1 else "each case in turn",
        targets=len(study.targets),
        configurations=len(configurations),
        computed=int(configurations.mean_mm.notna().sum()),
        unavailable=int((configurations.unavailable != "").sum()),
        initial=errors.drop_duplicates(["template", "target", "landmark"]).initial_mm.mean(),
        figures=[
            {"title": title, "note": note, "png": base64.b64encode(png).decode("ascii")} for title, note, png in shown
        ],
        columns=[column.replace("_", " ") for column in configurations.columns],
        rows=configurations.to_numpy(object).tolist(),
    )
