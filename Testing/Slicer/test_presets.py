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


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_the_tolerance_counts_with_every_preset(preset):
    assert presets.settingsFor(preset, device="cpu", **OWN).tolerance_mm is None
    assert presets.settingsFor(preset, device="cpu", **OWN, tolerance_mm=2.5).tolerance_mm == 2.5


@pytest.mark.parametrize(
    ("text", "mm"), [("2.5", 2.5), (" 5 ", 5.0), ("0,5", 0.5), ("", None), ("0", None), ("-1", None), ("nan", None),
                     ("inf", None), ("1001", None), ("three", None)],
)  # fmt: skip
def test_a_tolerance_is_read_as_people_type_it(text, mm):
    assert presets.toleranceOf(text) == mm
