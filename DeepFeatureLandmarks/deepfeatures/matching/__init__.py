"""Finding the landmarks of a template in a target."""

from deepfeatures.matching.greedy.distance import distance_map, distance_maps
from deepfeatures.matching.guided.groupwise import Company
from deepfeatures.matching.matcher import Matcher
from deepfeatures.matching.multi_template import Panel
from deepfeatures.matching.settings import MatchSettings

__all__ = ["Company", "MatchSettings", "Matcher", "Panel", "distance_map", "distance_maps"]
