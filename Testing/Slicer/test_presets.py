"""Settings under a name, as both faces ask for them."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")

from DeepFeatureLandmarksLib.scene import presets
from deepfeatures.matching.settings import MatchSettings

OWN = {"network": "vgg19-3d-random", "layer": "conv2_2", "patchSize": 20, "intensity": "hu"}


def test_a_preset_keeps_all_of_its_settings(monkeypatch):
    known = MatchSettings(initialization="world", precision="float32", seed=7)
    monkeypatch.setitem(presets.PRESETS, "best", presets.Preset("Best", known))
    chosen = presets.settingsFor("best", device="cpu", **OWN)
    assert chosen == MatchSettings(initialization="world", precision="float32", seed=7, device="cpu")


def test_where_the_person_chooses_all_that_is_offered_counts():
    assert presets.settingsFor("own", device="cpu", **OWN) == MatchSettings(
        "vgg19-3d-random", "conv2_2", 20, search="dense", intensity="hu", device="cpu"
    )


def test_a_preset_of_a_later_version_stands_for_the_best():
    assert presets.settingsFor("fastest", device="auto", **OWN) == MatchSettings()
