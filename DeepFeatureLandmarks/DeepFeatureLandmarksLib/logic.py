"""The former name, in version 0.1, of `DeepFeatureLandmarksLib.scene.logic`; it works for one version."""

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic  # noqa: F401
from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest as Placement  # noqa: F401
from deepfeatures.deprecation import warn_renamed

warn_renamed("DeepFeatureLandmarksLib.logic", "DeepFeatureLandmarksLib.scene.logic")
