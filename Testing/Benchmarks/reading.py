"""How long reading takes and how much memory it needs, compared with another build.

    python Testing/Benchmarks/reading.py --build FOLDER [--rounds 5] [--slices 400] [--output reading.json]

FOLDER is a checkout of the other build. Read are 20 hippocampi, 5 brains and 5 spines of the development data, and a
DICOM series of 512 × 512 × 400 voxels that is made for it. Each set is read by a process of its own, of one build and
then of the other, so that changes of the machine's speed meet both. Prints median seconds and the largest memory of the
process, without the import of the package, and their ratios, this build to the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from cases import data_folder

ROOT = Path(__file__).parents[2]
SETS = {"hippocampus": 20, "brain": 5, "spine": 5}
READ = """
import resource, sys, time
import torch, SimpleITK
from deepfeatures.io.volume_files import read_volume
start = time.perf_counter()
for path in sys.argv[1:]:
    read_volume(path)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="checkout of the other build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=400, help="of the DICOM series")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    builds = {"other": arguments.build, "this": ROOT}
    with TemporaryDirectory() as folder:
        sets = {name: sorted((data_folder() / name).glob("*.nii.gz"))[:count] for name, count in SETS.items()}
        sets[f"DICOM, 512 × 512 × {arguments.slices}"] = [write_series(Path(folder), arguments.slices)]
        figures = {name: compared(paths, builds, arguments.rounds) for name, paths in sets.items()}
    print(f"{'':28}{'other s':>9}{'this s':>9}{'ratio':>7}{'other MB':>10}{'this MB':>9}{'ratio':>7}")
    for name, row in figures.items():
        seconds, megabytes = row["seconds"], row["megabytes"]
        print(
            f"{name:28}{seconds['other']:9.2f}{seconds['this']:9.2f}{row['seconds_ratio']:7.2f}"
            f"{megabytes['other']:10.0f}{megabytes['this']:9.0f}{row['megabytes_ratio']:7.2f}"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def compared(paths: list[Path], builds: dict[str, Path], rounds: int) -> dict:
    """Medians over the rounds, and the ratios of this build to the other."""
    found = {name: [] for name in builds}
    for number in range(rounds + 1):
        for name, build in builds.items():
            measured = read_by(build, paths)
            if number:  # in the first round, files come from the disk
                found[name].append(measured)
    seconds, megabytes = ({name: median(run[k] for run in runs) for name, runs in found.items()} for k in (0, 1))
    ratios = {
        "seconds_ratio": seconds["this"] / seconds["other"],
        "megabytes_ratio": megabytes["this"] / megabytes["other"],
    }
    return {"seconds": seconds, "megabytes": megabytes, **ratios}


def read_by(build: Path, paths: list[Path]) -> tuple[float, float]:
    """Seconds and peak megabytes of a process that reads the volumes one after the other."""
    environment = {**os.environ, "PYTHONPATH": str(build / "DeepFeatureLandmarks")}
    command = [sys.executable, "-c", READ, *map(str, paths)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    seconds, megabytes = map(float, output.split())
    return seconds, megabytes


def write_series(folder: Path, slices: int) -> Path:
    """A CT series of noise, 512 × 512 pixels of int16 a slice, not compressed."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    random = np.random.default_rng(0)
    series, frame_of_reference = generate_uid(), generate_uid()
    for number in range(slices):
        image = pydicom.Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = CTImageStorage, generate_uid(), series
        image.StudyInstanceUID, image.FrameOfReferenceUID = series, frame_of_reference
        image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, number + 1
        image.ImagePositionPatient, image.ImageOrientationPatient = [-200, -200, 0.7 * number], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.RescaleSlope, image.RescaleIntercept = [0.8, 0.8], 1, -1024
        image.Rows = image.Columns = 512
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.PixelData = random.integers(0, 2000, (512, 512), np.int16).tobytes()
        image.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return folder


if __name__ == "__main__":
    main()
