"""Groupwise refinement: what the other targets show around a point, too, tells where it lies in each.

A template is one person's anatomy, with noise of its own. Where it has been found in several targets, their blocks,
averaged point by point, show what is common to them. Each target is then matched once more to a blend of the template's
blocks and those of the others. Population templates are built so, but here the template stays the reference: it says
what a landmark is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from types import MappingProxyType

import torch

# Of the template in the blend; fixed on hippocampi 033, 101 and 251, on brains and mice. With less, points drift.
TEMPLATE_SHARE = 1 / 3
FEWEST = 2  # other targets that show a point; fewer are no better a picture of it than the template


@dataclass(frozen=True, eq=False)
class RegistrationState:
    """How a target was matched, so that its finest level can be repeated.

    Args:
        pose: Template millimetres to target millimetres, `(4, 4)`.
        before_mm: Displacements in template millimetres through which the finest level saw the target, `(N, 3)`.
        found: Those found at the finest level, in its voxels, `(N, 3)`.
        shown: Which points lie in the target, `(N,)`.
        kind: Blocks of another kind, of other points, another spacing or size, cannot be averaged with these.
    """

    pose: torch.Tensor
    before_mm: torch.Tensor
    found: torch.Tensor
    shown: torch.Tensor
    kind: tuple

    def on(self, device: str | torch.device) -> RegistrationState:
        """The same on another device."""
        tensors = {name: getattr(self, name).to(device) for name in ("pose", "before_mm", "found", "shown")}
        return replace(self, **tensors)


class GroupwiseModel:
    """Running mean of the blocks that the targets of one template show around its points. Safe between threads.

    Args:
        sums: By kind the sum of the blocks of all targets, `(N, K, C)`, and how many of them show each point, `(N,)`.
    """

    def __init__(self, sums: Mapping[tuple, tuple[torch.Tensor, torch.Tensor]] | None = None):
        self._sums = dict(sums or {})
        self._lock = Lock()

    def __reduce__(self) -> tuple[type, tuple]:
        """For other processes, which cannot take a lock."""
        return GroupwiseModel, (self._sums,)

    @property
    def sums(self) -> Mapping[tuple, tuple[torch.Tensor, torch.Tensor]]:
        return MappingProxyType(self._sums)

    def on(self, device: str | torch.device) -> GroupwiseModel:
        """The same on another device."""
        moved = {kind: (total.to(device), count.to(device)) for kind, (total, count) in self._sums.items()}
        return GroupwiseModel(moved)

    def add(self, state: RegistrationState, blocks: torch.Tensor) -> None:
        """Add a target that shows the template's anatomy, with its blocks `(N, K, C)`."""
        shown = state.shown.to(blocks.dtype)
        self.merge(GroupwiseModel({state.kind: (blocks * shown[:, None, None], shown)}))

    def merge(self, other: GroupwiseModel) -> None:
        """Add all targets of another model."""
        with self._lock:
            for kind, (total, count) in other.sums.items():
                known = self._sums.get(kind, (0.0, 0.0))
                self._sums[kind] = known[0] + total, known[1] + count

    def count_others(self, state: RegistrationState) -> int:
        """How many other targets show a point of one that has been added: the point that most of them show."""
        if state.kind not in self._sums:
            return 0
        _, count = self._sums[state.kind]
        return int((count - state.shown.to(count.dtype)).max())

    def is_sufficient(self, state: RegistrationState) -> bool:
        """Whether it is large enough for a target that has been added."""
        return self.count_others(state) >= FEWEST

    def blend(self, state: RegistrationState, blocks: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """What to match in a target that has been added, `(N, K, C)`; the template where too few others show a point.

        Its own blocks are left out: they would keep every point where it is.

        Args:
            blocks: The target's, those that were added, `(N, K, C)`.
            template: Those of the template.
        """
        shown = state.shown.to(blocks.dtype)
        total, count = self._sums[state.kind]
        others = count - shown
        mean = (total - blocks * shown[:, None, None]) / others.clamp(min=1)[:, None, None]
        share = torch.where(others >= FEWEST, TEMPLATE_SHARE, 1.0)[:, None, None]
        return share * template + (1 - share) * mean
