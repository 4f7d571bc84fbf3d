"""What several tests need: small volumes, with awkward geometry or of one family, DICOM series, interrupts."""

from __future__ import annotations

import locale
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import OUTSIDE
from deepfeatures.data.volume import Volume, notes_of
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching.geometry.sampling import smooth
from deepfeatures.matching.result import MatchResult
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.service.client import WorkerClient
from deepfeatures.transforms.samplers import sample, voxel_coordinates


@pytest.fixture(scope="module")
def client():
    """A client with a worker of its own, for the tests of one file."""
    client = WorkerClient()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tests neither read nor fill the user's cache."""
    monkeypatch.setenv("DEEPFEATURES_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def small_files():
    """A context in which no file may grow beyond so many bytes, as on a full disk; POSIX only."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


LPS_AXES = [
    {"name": name, "type": "space", "unit": "millimeter", "orientation": {"type": "anatomical", "value": way}}
    for name, way in (("z", "inferior-to-superior"), ("y", "anterior-to-posterior"), ("x", "right-to-left"))
]


@pytest.fixture
def write_zarr(tmp_path):
    """A function that writes levels `(D, H, W)` or more as an OME-Zarr folder and returns its path."""
    zarr = pytest.importorskip("zarr", minversion="3")

    def write(
        *levels: np.ndarray,
        name: str = "scan.ome.zarr",
        axes=LPS_AXES,
        scale=(1.0, 1.0, 1.0),
        translation=None,
        version: int = 3,
        **changes,
    ):
        path = tmp_path / name
        group = zarr.open_group(str(path), mode="w", zarr_format=version)
        datasets = []
        for number, voxels in enumerate(levels):
            array = group.create_array(str(number), shape=voxels.shape, chunks=(16,) * voxels.ndim, dtype=voxels.dtype)
            array[:] = voxels
            ratio = np.array(levels[0].shape) / voxels.shape
            own = np.array(scale) * ratio
            shift = np.zeros(voxels.ndim) if translation is None else np.array(translation)
            shift = shift + np.array(scale) * (ratio - 1) / 2
            transformations = [
                {"type": "scale", "scale": own.tolist()},
                {"type": "translation", "translation": shift.tolist()},
            ]
            datasets.append({"path": str(number), "coordinateTransformations": transformations})
        scales = [{"axes": list(axes), "datasets": datasets, **changes}]
        attributes = {"multiscales": scales} if version == 2 else {"ome": {"version": "0.5", "multiscales": scales}}
        group.attrs.update(attributes)
        return path

    return write


@pytest.fixture
def scan() -> Volume:
    """A small oblique, left-handed volume in which every voxel has a value of its own."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    rotation[:, 0] *= -np.sign(np.linalg.det(rotation))
    voxels = torch.arange(6 * 7 * 8, dtype=torch.float32).reshape(6, 7, 8)
    return Volume(voxels, np.array([-12.5, 30.25, 7.0]), np.array([0.9, 1.1, 2.5]), rotation, name="scan")


@pytest.fixture
def dicom_series(tmp_path):
    """A function that writes slices as DICOM files into a new folder and returns it."""

    def write(
        name: str = "series",
        positions=tuple((0.0, 0.0, 2.5 * k) for k in range(5)),
        orientation=(1, 0, 0, 0, 1, 0),
        uid: str = "1.2.826.0.1.3680043.2.1125.1",
        folder: Path | None = None,
        size: int = 8,
        components: int = 1,
        **tags: str,
    ) -> Path:
        import SimpleITK as sitk

        before = locale.setlocale(locale.LC_ALL)
        folder = folder or tmp_path / name
        folder.mkdir(exist_ok=True)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for number, position in enumerate(positions):
            shape = (size, size, 3)[: 2 + (components > 1)]
            voxels = np.full(shape, number, np.uint8 if components > 1 else np.int16)
            image = sitk.GetImageFromArray(voxels[None], isVector=components > 1)
            image.SetSpacing((0.5, 0.5, 1.0))
            values = {
                "0008|0060": "CT",
                "0008|103e": name,
                "0008|0018": f"{uid}.{number + 1}",
                "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
                "0020|000e": uid,
                "0020|0013": str(number),
                "0020|0032": "\\".join(str(value) for value in position),
                "0020|0037": "\\".join(str(value) for value in orientation),
                **tags,
            }
            for key, value in values.items():
                image.SetMetaData(key, value)
            # file names in another order than the slices lie
            writer.SetFileName(str(folder / f"{name}{(number * 7) % 11:02d}.dcm"))
            writer.Execute(image)
        locale.setlocale(locale.LC_ALL, before)  # ITK's DICOM writer changes it, and with it how Python reads text
        return folder

    return write


class FakeMatcher:
    """Moves every landmark by 1 mm along x; what it was given is kept for tests to look at."""

    made: ClassVar[list[FakeMatcher]] = []
    missing: ClassVar[tuple[str, ...]] = ()
    failures: ClassVar[dict[str, BaseException]] = {}  # by name of the target

    def __init__(self, settings=None):
        self.settings = settings or MatchSettings()
        self.calls = []
        FakeMatcher.made.append(self)

    def match(self, template, landmarks, target, *, mask=None, progress=None, group=None):
        self.calls.append((template, landmarks, target, mask))
        if target.name in self.failures:
            raise self.failures[target.name]
        if progress:
            progress(0.5)
        moved = LandmarkSet(
            tuple(
                replace(landmark, position=None, status="missing", reason=OUTSIDE)
                if landmark.name in self.missing or not landmark.is_defined
                else replace(landmark, position=tuple(np.add(landmark.position, (1, 0, 0))), feature_distance=2.0)
                for landmark in landmarks
            ),
            target.name,
        )
        settings = replace(self.settings.chosen(), network="fake", device="cpu")
        notes = notes_of(template, target)
        return MatchResult(moved, template.name, target.name, settings, seconds={"match": 0.0}, notes=notes)


@pytest.fixture
def fake_matcher(monkeypatch):
    """The command line with a matcher that needs no network and no time."""
    import deepfeatures.matching

    monkeypatch.setattr(deepfeatures.matching, "Matcher", FakeMatcher, raising=False)
    for name, value in (("made", []), ("missing", ()), ("failures", {})):
        monkeypatch.setattr(FakeMatcher, name, value)
    return FakeMatcher


@pytest.fixture
def case(tmp_path, scan) -> Path:
    """A folder with `template.nii.gz`, `template.mrk.json` (AC, PC) and the targets `a.nii.gz` and `b.nrrd`."""
    for name in ("template.nii.gz", "a.nii.gz", "b.nrrd"):
        write_volume(scan, tmp_path / name)
    first, second = scan.to_world(np.array([[2, 3, 3], [4.5, 2.25, 1]]))
    points = LandmarkSet((Landmark("AC", tuple(first), description="expert"), Landmark("PC", tuple(second))))
    write_landmarks(points, tmp_path / "template.mrk.json")
    return tmp_path


@pytest.fixture
def place(case, monkeypatch):
    """A function that runs `deepfeatures place` in the folder of `case` and returns the exit code."""
    monkeypatch.chdir(case)

    def run(*arguments: str) -> int:
        given = {"--template": "template.nii.gz", "--landmarks": "template.mrk.json", "--output-dir": "out"}
        given = {option: value for option, value in given.items() if option not in arguments}
        return main(["place", *(word for pair in given.items() for word in pair), *arguments])

    return run


@pytest.fixture(scope="session")
def family():
    """A very noisy template, its landmarks, and seven smooth deformations of the same texture with less noise, each of
    its own; with the true landmarks of each."""

    def noisy(image: torch.Tensor, seed: int, share: float = 0.35) -> torch.Tensor:
        return image + share * image.std() * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))

    edge, points = 32, torch.cartesian_prod(*[torch.tensor([10.0, 15.3, 21.7])] * 3)
    texture = smooth(torch.rand(1, edge, edge, edge, generator=torch.Generator().manual_seed(1)), 1.5)
    template = Volume(noisy(texture[0], 1, 1.5), name="template")
    voxels = voxel_coordinates((edge,) * 3)
    targets, truths = [], []
    for seed in range(7):
        phase = 6.28 * torch.rand(3, generator=torch.Generator().manual_seed(seed))

        def source(places: torch.Tensor, phase: torch.Tensor = phase) -> torch.Tensor:
            return places + 1.5 * torch.sin(places.roll(1, -1) / 7 + phase)

        image = sample(texture, source(voxels)).reshape(edge, edge, edge)
        truth = points.clone()
        for _ in range(60):
            truth = truth - 0.5 * (source(truth) - points)
        targets.append(Volume(noisy(image, 50 + seed), name=f"target{seed}"))
        truths.append(truth.numpy())
    landmarks = LandmarkSet(tuple(Landmark(f"p{k}", tuple(p)) for k, p in enumerate(points.tolist())))
    return template, landmarks, targets, np.stack(truths)


@pytest.fixture
def family_folder(family, tmp_path, monkeypatch):
    """The working folder, with the family's template and its landmarks as files `template`."""
    template, landmarks, _, _ = family
    monkeypatch.chdir(tmp_path)
    write_volume(template, tmp_path / "template.nii.gz")
    write_landmarks(landmarks, tmp_path / "template.mrk.json")
    return tmp_path


@pytest.fixture
def interrupted():
    """A function that runs `deepfeatures` in a folder and, once it has begun, interrupts it and all its processes, as
    Ctrl+C in a terminal does; returns exit code and standard error."""
    if sys.platform == "win32":
        pytest.skip("SIGINT is sent as POSIX does it")

    def run(arguments: list[str], folder: Path, has_begun: Callable[[], bool]) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepfeatures", *arguments],
            cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), start_new_session=True,
        )  # fmt: skip
        while not has_begun() and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)  # ends only once no process holds the pipe
        return process.returncode, said

    return run
