"""Place the landmarks of all pairs of `doubt_sets.py`, and keep what speaks for them beside the truth.

    python Testing/Benchmarks/collect.py FOLDER                  # all sets; a file a set, those that exist are kept
    python Testing/Benchmarks/collect.py FOLDER --sets brain "spine T1" [--network cifl/fine_ssc]

Nothing is refused here: every landmark in every way in which the template fits has a row, so that what is refused, and
how sure a match is, can be decided from it. `calibrate.py` reads the files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from contrasts import guided
from doubt_sets import RIGHT, SPOILT, WRONG, Pair

from deepfeatures.data.geometry import mean_edge_mm
from deepfeatures.matching import Matcher
from deepfeatures.matching.guided.alternatives import Fit
from deepfeatures.matching.settings import BEST_GUIDED

SETS = {**RIGHT, **SPOILT, **WRONG}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    parser.add_argument("--network", metavar="NETWORK/LAYER", default="/".join(BEST_GUIDED[:2]))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        path = arguments.folder / f"{name}.npz"
        begun = path.with_suffix(".begun")
        if path.exists() or begun.exists():  # so that several processes may share the work
            continue
        begun.touch()
        rows = [row for number, pair in enumerate(SETS[name]()) for row in placed(pair, number, arguments.network)]
        save(rows, path)
        begun.unlink()


def save(rows: Sequence[dict], path: Path) -> None:
    np.savez(path, **{key: np.array([row[key] for row in rows]) for key in rows[0]} if rows else {})


_matchers: dict[str, tuple[object, Matcher]] = {}


def placed(pair: Pair, number: int, network: str) -> list[dict]:
    """A row for each landmark in each way in which the template fits."""
    started = time.perf_counter()
    known = _matchers.get(network)
    if known is None or known[0] is not pair.template.volume:  # the next target of the same template is quicker
        known = _matchers[network] = pair.template.volume, guided(network)
    matcher, template, target = known[1], pair.template, pair.target
    ways = matcher.ways(template.volume, template.landmarks, target.volume)
    truth = target.landmarks.positions if len(target.landmarks) == len(template.landmarks) else None
    rows = [row for way_number, way in enumerate(ways) for row in _rows(pair, way, way_number, truth)]
    size = mean_edge_mm(template.volume.size, template.volume.spacing)
    seconds = time.perf_counter() - started
    for row in rows:
        row |= {"pair": number, "template": pair.people[0], "target": pair.people[1], "size_mm": size}
    if truth is not None and rows:
        error = np.nanmedian([np.linalg.norm(row["found"] - row["true"]) for row in rows if row["way"] == 0])
        print(f"{pair.people}: {error:.2f} mm, {len(ways)} ways, {seconds:.1f} s", flush=True)
    return rows


def _rows(pair: Pair, way: Fit, number: int, truth: np.ndarray | None) -> list[dict]:
    volume = pair.target.volume
    shares = -1.0 if way.found.consistent_share is None else way.found.consistent_share
    return [
        {
            "way": number,
            "probability": way.probability,
            "landmark": index,
            "found": place,
            "true": np.full(3, np.nan) if truth is None else truth[index],
            "inside": truth is None or bool(volume.contains(truth[index : index + 1])[0]),
            "evidence": way.found.evidence[index].cpu().numpy(),
            "spacing_mm": way.found.spacing_mm,
            "similarity": way.pose.similarity,
            "searched": way.pose.is_searched,
            "consistent_share": shares,
            "inverse_consistency_mm": float(way.found.inverse_consistency_error_mm[index]),
            "telling": float(1 - way.found.match.distances[index] / way.found.match.typical[index].clamp(min=1e-9)),
        }
        for index, place in enumerate(way.places)
    ]


if __name__ == "__main__":
    main()
