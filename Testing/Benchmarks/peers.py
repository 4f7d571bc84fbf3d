"""Our default beside registration on hippocampus and brain: one table of errors and times.

    python Testing/Benchmarks/peers.py OUT [--hippocampi 33] [--brains 11] [--methods default ants-syn …]

A study a set, as `deepfeatures evaluate` runs it: OUT/hippocampus and OUT/brain hold its results and report.html, and a
run that was stopped goes on where it was. Prints mean, median and 95th percentile in mm, landmarks not found, and the
median seconds of a target, and writes OUT/peers.json. Needs the extra `evaluation`. Hours, where there are two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from cases import data_folder

from deepfeatures.cli.progress import progress_bar
from deepfeatures.evaluation import study
from deepfeatures.evaluation.cases import find_cases
from deepfeatures.evaluation.configurations import METHODS, Configuration
from deepfeatures.evaluation.report import write_results
from deepfeatures.evaluation.results import Study
from deepfeatures.evaluation.tables import configuration_table, error_table

TEMPLATES = {"hippocampus": "hippocampus_001", "brain": "1000"}
COLUMNS = ["mean_mm", "median_mm", "p95_mm", "missing", "seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hippocampi", type=int, default=33)
    parser.add_argument("--brains", type=int, default=11)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    tables = {
        name: compare(name, count, arguments.methods, arguments.out)
        for name, count in (("hippocampus", arguments.hippocampi), ("brain", arguments.brains))
    }
    table = pd.concat(tables, axis=1)
    print(table.round(2).to_string())
    table.stack(0, future_stack=True).reset_index(names=["method", "set"]).to_json(
        arguments.out / "peers.json", orient="records", indent=1
    )


def compare(name: str, count: int, methods: list[str], out: Path) -> pd.DataFrame:
    """A row a method, for the first `count` targets of a set."""
    cases = {case.name: case for case in find_cases(data_folder() / name)}
    template = cases.pop(TEMPLATES[name])
    job = Study(tuple(map(Configuration, methods)), (template,), tuple(cases.values())[:count], out / name)
    study.prepare(job)
    with progress_bar(name) as progress:
        study.run(job, progress=progress)
    write_results(job)
    return configuration_table(job, error_table(job)).set_index("method")[COLUMNS]


if __name__ == "__main__":
    main()
