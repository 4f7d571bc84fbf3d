"""An anatomy-like head made by formulas, and a second scan of it whose landmarks are known exactly."""

from deepfeatures.phantom.dataset import make_pair

__all__ = ["make_pair"]
