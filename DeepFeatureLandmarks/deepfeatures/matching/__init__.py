"""Finding the landmarks of a template in a target."""

from deepfeatures.matching.distance import distance_map, distance_maps
from deepfeatures.matching.matcher import Matcher, MatchSettings

__all__ = ["MatchSettings", "Matcher", "distance_map", "distance_maps"]
