"""How long somebody at a user interface waits for the worker: at first, and again in the same pair.

    python Testing/Benchmarks/waiting.py [--rounds 5] [--output waiting.json]

A new worker is asked for all landmarks of brain 1000 in brain 1001, then `--rounds` times for one of them, as somebody
does who moves a point and places it again. Prints the seconds from the request to its answer, what of them was spent in
the matcher, and the ratio of both requests. The first holds the worker's start, too.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

from cases import data_folder, read_case

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.client import WorkerClient
from deepfeatures.service.protocol import VolumeArray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    template, target = (read_case(data_folder() / "brain" / f"{name}.nii.gz") for name in ("1000", "1001"))
    volumes, client = [as_array(case.volume) for case in (template, target)], WorkerClient()

    def ask(landmarks: LandmarkSet) -> tuple[float, float]:
        """Seconds until the answer, and those of the matcher."""
        started = time.perf_counter()
        event = client.wait(client.match(volumes[0], landmarks, volumes[1], MatchSettings()))
        seconds = time.perf_counter() - started
        if event.kind != "result":
            raise SystemExit(event.text)
        return seconds, sum(event.content["report"]["seconds"].values())

    first = ask(template.landmarks)
    again = [ask(LandmarkSet(template.landmarks.landmarks[:1])) for _ in range(arguments.rounds)]
    client.close()
    later = tuple(map(median, zip(*again, strict=True)))
    print(f"first, {len(template.landmarks)} landmarks: {first[0]:.1f} s, {first[1]:.1f} s of it in the matcher")
    print(f"again, one landmark: {later[0]:.2f} s, {later[1]:.2f} s of it in the matcher (medians of {len(again)})")
    print(f"first / again: {first[0] / later[0]:.0f}")
    if arguments.output:
        figures = {"first_s": first[0], "again_s": later[0], "ratio": first[0] / later[0]}
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def as_array(volume: Volume) -> VolumeArray:
    return VolumeArray(volume.voxels.numpy(), volume.origin, volume.spacing, volume.direction, volume.name)


if __name__ == "__main__":
    main()
