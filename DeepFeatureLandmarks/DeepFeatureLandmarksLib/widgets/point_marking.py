"""Marking template points by clicks in the slice views."""

from __future__ import annotations

from collections.abc import Callable

import slicer


class PointMarking:
    """Slicer's place mode, for one list of points.

    Args:
        onStopped: Called when the mode ends by itself: by Escape, the toolbar or another module.
    """

    def __init__(self, onStopped: Callable[[], None]):
        self._onStopped = onStopped
        self._observed: tuple | None = None

    def start(self, points) -> None:
        """Each click in a view adds a point to `points`, a markups node, until `stop`."""
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(points)
        logic.StartPlaceMode(True)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        tag = interaction.AddObserver(interaction.InteractionModeChangedEvent, lambda *_: self._onModeChanged())
        self._observed = interaction, tag

    def stop(self) -> None:
        """End the mode: clicks in the views add no more points."""
        if self._observed is None:
            return
        interaction = self._removeObserver()
        interaction.SwitchToViewTransformMode()

    def _onModeChanged(self) -> None:
        interaction, _ = self._observed
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            self._removeObserver()
            self._onStopped()

    def _removeObserver(self):
        interaction, tag = self._observed
        interaction.RemoveObserver(tag)
        self._observed = None
        return interaction
