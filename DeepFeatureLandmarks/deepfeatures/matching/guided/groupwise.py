"""Targets that are placed together: what the others show around a point, too, tells where it lies in each.

A template is one person's anatomy, with noise of its own. Where it has been found in several targets, their blocks,
averaged point by point, show what is common to them, and each target is settled once more by a mixture of the
template's blocks and those of the others. So population templates are built, but here the template stays the measure:
it says what a landmark is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

# Of the template in the mixture; fixed on hippocampi 033, 101 and 251, on brains and mice. With less, places drift.
TEMPLATE_SHARE = 1 / 3
FEWEST = 2  # other targets that show a point; fewer are no better a picture of it than the template


@dataclass(frozen=True, eq=False)
class Course:
    """How a target was matched, so that its finest level can be gone once more.

    Args:
        pose: Template millimetres to target millimetres, `(4, 4)`.
        before_mm: Displacements in the template's frame by which the finest level bent the target, `(N, 3)`.
        found: Those in the bent target in its voxels, `(N, 3)`.
        shown: Which points lie in the target, `(N,)`.
        kind: Blocks of another kind, of other points, another spacing or size, cannot be averaged with these.
    """

    pose: torch.Tensor
    before_mm: torch.Tensor
    found: torch.Tensor
    shown: torch.Tensor
    kind: tuple

    def on(self, device: str | torch.device) -> Course:
        """The same on another device."""
        tensors = {name: getattr(self, name).to(device) for name in ("pose", "before_mm", "found", "shown")}
        return replace(self, **tensors)


class Company:
    """The targets of one template and its landmarks.

    Args:
        sums: By kind the sum of the blocks of all targets, `(N, K, C)`, and how many of them show each point, `(N,)`.
    """

    def __init__(self, sums: Mapping[tuple, tuple[torch.Tensor, torch.Tensor]] | None = None):
        self._sums = dict(sums or {})

    @property
    def sums(self) -> Mapping[tuple, tuple[torch.Tensor, torch.Tensor]]:
        return MappingProxyType(self._sums)

    def on(self, device: str | torch.device) -> Company:
        """The same on another device."""
        return Company({kind: (total.to(device), count.to(device)) for kind, (total, count) in self._sums.items()})

    def join(self, course: Course, blocks: torch.Tensor) -> None:
        """Take in a target that shows the template's anatomy, with its blocks `(N, K, C)`."""
        shown = course.shown.to(blocks.dtype)
        self.take_in(Company({course.kind: (blocks * shown[:, None, None], shown)}))

    def take_in(self, other: Company) -> None:
        """All targets of another company."""
        for kind, (total, count) in other.sums.items():
            known = self._sums.get(kind, (0.0, 0.0))
            self._sums[kind] = known[0] + total, known[1] + count

    def others(self, course: Course) -> int:
        """How many other targets show a point of one that has joined, the point that most of them show."""
        if course.kind not in self._sums:
            return 0
        _, count = self._sums[course.kind]
        return int((count - course.shown.to(count.dtype)).max())

    def tells(self, course: Course) -> bool:
        """Whether it is large enough for a target that has joined."""
        return self.others(course) >= FEWEST

    def mixture(self, course: Course, blocks: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """What to look for in a target that has joined, `(N, K, C)`: where too few others show a point, the template.

        Its own blocks are left out: they would keep every point where it is.

        Args:
            blocks: Its own, those that it joined with, `(N, K, C)`.
            template: Those of the template.
        """
        shown = course.shown.to(blocks.dtype)
        total, count = self._sums[course.kind]
        others = count - shown
        mean = (total - blocks * shown[:, None, None]) / others.clamp(min=1)[:, None, None]
        share = torch.where(others >= FEWEST, TEMPLATE_SHARE, 1.0)[:, None, None]
        return share * template + (1 - share) * mean
