"""What a study has computed: a file a configuration, a line a template and target.

A line holds the key of what it was computed from. Only lines with the key of the present study count: another scan,
other landmarks, other settings or another version of the package have another key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from deepfeatures.evaluation.baselines import BASELINES
from deepfeatures.evaluation.cases import Case
from deepfeatures.evaluation.configurations import Configuration
from deepfeatures.io.provenance import (
    append_line,
    content_hash,
    landmarks_hash,
    package_version,
    read_lines,
    result_key,
)
from deepfeatures.matching.devices import choose_device
from deepfeatures.networks import catalog, weights

FOLDER = "configurations"
Names = tuple[str, str]  # of template and target


@dataclass(frozen=True)
class Study:
    """What is compared on what.

    Args:
        configurations: Ways to place landmarks; those that are not available are left out.
        templates: Where the landmarks come from, one after the other.
        targets: Where they are placed from every template but themselves.
        output_dir: For one file a configuration.
        search_radius_mm: Of the grid's greedy configurations; `None` for the whole target.
        device: Where to compute.
        protocol: File by which the default method places; the only template is that of the file.
    """

    configurations: tuple[Configuration, ...]
    templates: tuple[Case, ...]
    targets: tuple[Case, ...]
    output_dir: Path
    search_radius_mm: float | None = None
    device: str = "auto"
    protocol: str | None = None

    @property
    def cases(self) -> tuple[Case, ...]:
        """Templates and targets, each once."""
        return tuple(dict.fromkeys((*self.templates, *self.targets)))

    @property
    def pairs(self) -> list[tuple[Case, Case]]:
        """Template and target, the targets of a template one after the other."""
        return [(one, other) for one in self.templates for other in self.targets if one.name != other.name]


@dataclass(frozen=True, eq=False)
class Results:
    """The results of one configuration.

    Args:
        study: Whose results.
        configuration: One of its own.
    """

    study: Study
    configuration: Configuration

    @property
    def path(self) -> Path:
        """The file."""
        return self.study.output_dir / FOLDER / f"{self.configuration.name}.jsonl"

    @cached_property
    def keys(self) -> Mapping[Names, str]:
        """For each pair of the study the key of all that its result follows from."""
        method, network = self.configuration.method, self.configuration.settings.network
        weight_key = catalog.weight_key_of(network) if network else None
        facts = {
            "configuration": asdict(self.configuration),
            "search_radius_mm": self.study.search_radius_mm,
            "device": choose_device(self.study.device).type,
            "weights": weights.record(weight_key).get("sha256") if weight_key else None,
            "package": package_version(BASELINES[method].package) if method in BASELINES else None,
        }
        return {
            (template.name, target.name): result_key(
                template=content_hash(template.image),
                landmarks=_landmarks_of(template, content_hash(template.landmarks or template.image)),
                target=content_hash(target.image),
                **facts,
            )
            for template, target in self.study.pairs
        }

    @property
    def stored(self) -> list[dict]:
        """The lines that were computed from what the study now has, one a pair, and those alone."""
        lines = {}
        for line in read_lines(self.path):
            names = line["template"], line["target"]
            if line.get("key", "") == self.keys.get(names):
                lines[names] = line
        return list(lines.values())

    @property
    def outdated(self) -> int:
        """Number of the study's pairs of which there are results, but none that count."""
        there = {(line["template"], line["target"]) for line in read_lines(self.path)}
        return len((there & set(self.keys)) - {(line["template"], line["target"]) for line in self.stored})

    def add(self, pair: tuple[Case, Case], positions: np.ndarray, seconds: float) -> None:
        """Keep where the landmarks are in the target of a pair, LPS mm, shape `(L, 3)`, NaN where they are missing."""
        names = pair[0].name, pair[1].name
        points = [point.tolist() if np.isfinite(point).all() else None for point in positions]
        line = {"template": names[0], "target": names[1], "key": self.keys[names], "seconds": round(seconds, 4)}
        append_line(self.path, line | {"positions": points})


@lru_cache(maxsize=1024)
def _landmarks_of(case: Case, content: str) -> str:
    """Kept as long as the file has this content."""
    return landmarks_hash(case.read_landmarks())
