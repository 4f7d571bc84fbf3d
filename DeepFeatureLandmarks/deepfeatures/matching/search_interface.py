"""The one interface of all searches: what is asked of a search, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deepfeatures.data.volume import Volume
from deepfeatures.matching.result import LandmarkMatch
from deepfeatures.matching.timing import Timer

if TYPE_CHECKING:
    from deepfeatures.matching.geometry.mapping import PointMapping
    from deepfeatures.matching.groupwise import GroupwiseModel, RegistrationState
    from deepfeatures.matching.learning.landmark_head import LandmarkHead
    from deepfeatures.matching.pose.estimation import Pose

Progress = Callable[[float], None]  # takes the fraction done, 0 to 1
Positions = Sequence[Sequence[float] | None]  # LPS mm of each landmark, `None` where nothing was found so far


def ignore(_: object) -> None:
    """For progress and interim positions that nobody wants."""


@dataclass(frozen=True, eq=False)
class SearchRequest:
    """What is to be found.

    Args:
        template: Where the landmarks lie.
        positions: Of the landmarks, LPS mm, `(N, 3)`.
        target: Where they are searched.
        intensity: The policy by which voxels are scaled; `None` where each patch is scaled by itself.
        timer: Counts seconds by stage.
        mask: Not zero where the target may be searched; `None` for everywhere.
        progress: Called with the fraction done.
        interim: Called with the positions so far.
        group: Targets of the same template and landmarks, to which a guided search adds the target.
        tolerance_mm: Distance from the true place that a person takes as near enough.
        head: Learnt about these landmarks; a guided search moves them by it, and does without a group.
    """

    template: Volume
    positions: np.ndarray
    target: Volume
    intensity: str | None
    timer: Timer
    mask: Volume | None = None
    progress: Progress = ignore
    interim: Callable[[Positions], None] = ignore
    group: GroupwiseModel | None = None
    tolerance_mm: float = 3.0
    head: LandmarkHead | None = None


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What was found; all but the matches are a guided search's, see `MatchResult`.

    Args:
        matches: One for each landmark, in order.
        alternatives: Other ways in which the template fits.
    """

    matches: tuple[LandmarkMatch, ...]
    pose: Pose | None = None
    consistent_share: float | None = None
    mapping: PointMapping | None = None
    state: RegistrationState | None = None
    spacing_mm: float | None = None
    alternatives: tuple[AlternativeMatches, ...] = ()


@dataclass(frozen=True, eq=False)
class AlternativeMatches:
    """See `Alternative`.

    Args:
        matches: One for each landmark, in order.
    """

    matches: tuple[LandmarkMatch, ...]
    probability: float
    text: str


class Search(Protocol):
    """Finds landmarks. Holds nothing of a request but caches, so that threads may share it."""

    def find(self, request: SearchRequest) -> SearchResult:
        """Find the landmarks of a request.

        Raises:
            InputError: The request cannot be served: a mask that is empty or not taken, too little memory.
        """
        ...

    def warm_up(self, request: SearchRequest) -> None:
        """Do ahead what `find` needs of this pair, whatever its landmarks."""
        ...
