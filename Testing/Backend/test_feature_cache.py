"""Features kept on disk: the same results with and without, and no file or folder that can do harm."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io import feature_cache
from deepfeatures.io.feature_cache import SUFFIX, cache_folder, cached, content_hash
from deepfeatures.matching import Matcher

CPU = torch.device("cpu")


class Encoding:
    """Counts how often it was needed."""

    def __init__(self, value: float = 1.0, count: int = 1000):
        self.calls, self.value, self.count = 0, value, count

    def __call__(self) -> torch.Tensor:
        self.calls += 1
        return torch.full((2, self.count // 2), float(self.value))


@pytest.fixture(autouse=True)
def everything_is_worth_keeping(monkeypatch):
    monkeypatch.setattr(feature_cache, "MIN_SECONDS", 0.0)


def files() -> list[Path]:
    return sorted(cache_folder().glob(f"*{SUFFIX}"))


def test_what_was_encoded_once_is_read_afterwards():
    encoding = Encoding(0.1)
    first, second = (cached({"layer": "a"}, encoding, CPU) for _ in range(2))
    assert encoding.calls == 1
    assert torch.equal(first, second)
    cached({"layer": "b"}, encoding, CPU)
    assert encoding.calls == 2


def test_what_is_quickly_encoded_is_not_kept(monkeypatch):
    monkeypatch.setattr(feature_cache, "MIN_SECONDS", 60.0)
    cached({}, Encoding(), CPU)
    assert not files()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 0x40]) + content[-2:]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"hello" * 99])
def test_a_damaged_file_is_encoded_and_written_again(damage):
    encoding = Encoding(0.3)
    cached({}, encoding, CPU)
    (file,) = files()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert torch.equal(cached({}, encoding, CPU), encoding())
    assert file.read_bytes() == whole


def test_the_folder_keeps_to_its_limit_and_loses_the_longest_unused(monkeypatch):
    monkeypatch.setattr(feature_cache, "MAX_BYTES", 3 * 4200)
    for value in range(3):
        cached({"value": value}, Encoding(value), CPU)
    written = files()
    assert len(written) == 3
    for age, value in enumerate((2, 1, 0)):  # value 2 was written last but used first
        (file,) = [file for file in written if feature_cache._read(file)[0, 0] == value]
        os.utime(file, (1000 + age, 1000 + age))
    refused = Encoding()
    cached({"value": 2}, refused, CPU)  # using it makes it young again
    assert refused.calls == 0
    cached({"value": 3}, Encoding(3), CPU)
    assert sorted(float(feature_cache._read(file)[0, 0]) for file in files()) == [0, 2, 3]


def test_what_is_larger_than_the_folder_is_not_kept(monkeypatch):
    monkeypatch.setattr(feature_cache, "MAX_BYTES", 1000)
    assert cached({}, Encoding(), CPU).numel() == 1000
    assert not files()


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPFEATURES_CACHE", str(tmp_path / "file" / "folder"))
    encoding = Encoding()
    assert torch.equal(cached({}, encoding, CPU), cached({}, encoding, CPU))
    assert encoding.calls == 2


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX matter")
def test_a_full_disk_costs_nothing_but_time(small_files):
    encoding = Encoding()
    with small_files(1000):
        assert torch.equal(cached({}, encoding, CPU), encoding())
    assert not list(cache_folder().iterdir())


def test_content_counts_and_names_do_not(scan):
    assert content_hash(scan) == content_hash(replace(scan, name="other", voxels=scan.voxels.clone()))
    assert content_hash(scan) != content_hash(replace(scan, spacing=scan.spacing * 2))
    assert content_hash(scan) != content_hash(scan.with_voxels(scan.voxels + 1))
    assert content_hash(scan) != content_hash(scan.with_voxels(scan.voxels.permute(0, 2, 1)))


@pytest.mark.parametrize("search", ["dense", "patch"])
def test_a_match_is_the_same_with_kept_features(search):
    random = torch.Generator().manual_seed(0)
    template, target = (Volume(torch.rand(16, 17, 18, generator=random) * 100) for _ in range(2))
    landmarks = LandmarkSet(tuple(Landmark(str(k), (7.0 + k, 8.0, 8.0)) for k in range(3)))
    options = {
        "network": "vgg19-3d-random",
        "layer": "conv1_2",
        "patch_size": 6,
        "search": search,
        "device": "cpu",
        "precision": "float32",
    }

    def match(**changed) -> LandmarkSet:
        return Matcher(**{**options, **changed}, search_radius_mm=2.0).match(template, landmarks, target).landmarks

    cold = match()
    assert len(files()) == 1
    before = files()[0].read_bytes()
    warm = match()
    assert files()[0].read_bytes() == before
    np.testing.assert_array_equal(warm.positions, cold.positions)
    assert [landmark.feature_distance for landmark in warm] == [landmark.feature_distance for landmark in cold]
    for number, changed in enumerate(({"seed": 1}, {"patch_size": 8}, {"precision": "bfloat16"}), 2):
        match(**changed)
        assert len(files()) == number
