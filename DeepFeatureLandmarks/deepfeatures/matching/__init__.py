"""Finding the landmarks of a template in a target."""

from deepfeatures.matching.company import Company
from deepfeatures.matching.distance import distance_map, distance_maps
from deepfeatures.matching.match_settings import MatchSettings
from deepfeatures.matching.matcher import Matcher
from deepfeatures.matching.panel import Panel

__all__ = ["Company", "MatchSettings", "Matcher", "Panel", "distance_map", "distance_maps"]
