"""What learning costs: seconds to place a scan with what was learnt and without, to teach it, and to fit.

    python Testing/Benchmarks/learning_time.py brain 1000 --people 5
    python Testing/Benchmarks/learning_time.py hippocampus hippocampus_001 --people 10

The first people teach; the next three scans are placed eight times with and without what they taught, by turns. CPU
seconds of the process count for the ratio, so that other programs matter less.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median

from cases import Case, data_folder, read_case

from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol import begin_protocol
from deepfeatures.matching.teaching import teach

TARGETS, ROUNDS = 3, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("template")
    parser.add_argument("--people", type=int, default=5)
    arguments = parser.parse_args()
    folder, alone = data_folder() / arguments.set, Matcher()
    template = read_case(folder / f"{arguments.template}.nii.gz")
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if path.name != f"{arguments.template}.nii.gz"]
    teachers, targets = paths[: arguments.people], paths[arguments.people : arguments.people + TARGETS]
    protocol = begin_protocol(template.volume, template.landmarks, alone.features_key)
    scans, teaching = [], []
    for case in map(read_case, teachers):
        alone.match(template.volume, template.landmarks, case.volume)
        begun = time.perf_counter()
        scans.append(teach(alone, protocol, case.volume, case.landmarks))
        teaching.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    learnt = protocol.with_scans(scans)
    fitting = time.perf_counter() - begun
    taught, cpu = Matcher(taught=learnt), {"without": [], "with": []}

    def place(matcher: Matcher, case: Case) -> None:
        matcher.match(template.volume, template.landmarks, replace(case.volume))  # a volume that it has not seen

    place(taught, read_case(targets[0]))  # what is known of the template is kept from then on
    for case in [read_case(path) for path in targets] * ROUNDS:
        for name, matcher in (("without", alone), ("with", taught)):
            begun = time.process_time()
            place(matcher, case)
            cpu[name].append(time.process_time() - begun)
    print(
        f"{arguments.set} {arguments.template}, {len(scans)} people: teaching a scan that was just placed"
        f" {median(teaching):.2f} s, fitting and judging {fitting:.2f} s; placing {median(cpu['without']):.1f}"
        f" CPU seconds without and {median(cpu['with']):.1f} with, ratio"
        f" {sum(cpu['with']) / sum(cpu['without']):.2f}"
    )


if __name__ == "__main__":
    main()
