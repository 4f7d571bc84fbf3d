"""All tests of the module: they run in real Slicer (its self-test) and, on stand-ins, in `make test`."""

from __future__ import annotations

from DeepFeatureLandmarksLib.selftest.alternatives_tests import AlternativesTests
from DeepFeatureLandmarksLib.selftest.feature_tests import FeatureTests
from DeepFeatureLandmarksLib.selftest.learning_tests import LearningTests
from DeepFeatureLandmarksLib.selftest.place_tests import PlaceTests
from DeepFeatureLandmarksLib.selftest.review_tests import ReviewTests
from DeepFeatureLandmarksLib.selftest.scene_tests import SceneTests
from DeepFeatureLandmarksLib.selftest.transform_tests import TransformTests


class ModuleTests(PlaceTests, ReviewTests, AlternativesTests, LearningTests, TransformTests, FeatureTests, SceneTests):
    """To be mixed into a `unittest.TestCase`."""

    @classmethod
    def names(cls) -> list[str]:
        return [name for name in dir(cls) if name.startswith("test_")]
