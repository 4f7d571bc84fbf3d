"""The yellow lines beneath the selectors of volumes: what people should know about how the chosen volume was read."""

from __future__ import annotations

from DeepFeatureLandmarksLib.scene.node_notes import sentences
from DeepFeatureLandmarksLib.scene.nodes import volumeNotes
from DeepFeatureLandmarksLib.widgets.parameters import Parameters


class NotesSection:
    """Shows the notes of template and target as long as they are chosen.

    Args:
        ui: The widgets of the .ui file.
    """

    def __init__(self, ui):
        self._labels = {"templateVolume": ui.templateNotesLabel, "targetVolume": ui.targetNotesLabel}
        self._parameters: Parameters | None = None

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self.refresh()

    def refresh(self) -> None:
        """Read the notes again; a line without any is hidden."""
        for name, label in self._labels.items():
            volume = getattr(self._parameters, name) if self._parameters is not None else None
            notes = sentences(volumeNotes(volume)) if volume is not None else []
            label.setText("\n".join(notes))
            label.setVisible(bool(notes))
