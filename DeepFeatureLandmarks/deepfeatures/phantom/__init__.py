"""Anatomy made by formulas, so that landmarks are known exactly: a pair of heads, and people with other anatomies."""

from deepfeatures.phantom.dataset import make_pair

__all__ = ["make_pair"]
