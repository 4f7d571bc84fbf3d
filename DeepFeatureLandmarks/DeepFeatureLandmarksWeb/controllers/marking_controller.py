"""The template's landmarks: mark, name, move, delete."""

from __future__ import annotations

from slicer import vtkMRMLInteractionNode, vtkMRMLMarkupsNode

from DeepFeatureLandmarksLib.scene.node_notes import readNotes, sentences
from DeepFeatureLandmarksWeb.session_context import TEMPLATE_COLOUR, SessionContext
from DeepFeatureLandmarksWeb.views.appearance import style_markups

CHANGES = (
    vtkMRMLMarkupsNode.PointPositionDefinedEvent,
    vtkMRMLMarkupsNode.PointPositionUndefinedEvent,
    vtkMRMLMarkupsNode.PointEndInteractionEvent,
    vtkMRMLMarkupsNode.PointRemovedEvent,
)


class MarkingController:
    """Updates the page's list from the template's markups node."""

    def __init__(self, context: SessionContext):
        self._context = context
        self._watched = None
        self._observations: list[int] = []
        context.refreshers.append(self._refresh)
        interaction = context.slicer.markups_logic.interaction_node
        interaction.AddObserver(vtkMRMLInteractionNode.InteractionModeChangedEvent, self._on_mode)

    def toggle(self) -> None:
        """Start or stop marking: each click into the template then adds a landmark."""
        context = self._context
        if context.state.is_marking:
            context.stop_marking()
            return
        if context.template_landmarks is None:
            context.template_landmarks = context.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
            context.template_landmarks.SetControlPointLabelFormat("L%d")
            style_markups(context.template_landmarks, TEMPLATE_COLOUR, context.template.view_ids)
            context.refresh()
        context.slicer.markups_logic.place_node(context.template_landmarks, persistent=True)

    def rename(self, index: int, name: str) -> None:
        """Give a landmark another name; each must have its own, as results are found by name."""
        node, name = self._context.template_landmarks, name.strip()
        taken = {
            node.GetNthControlPointLabel(other) for other in range(node.GetNumberOfControlPoints()) if other != index
        }
        if not name or name in taken:
            self._context.warn("a landmark needs a name of its own; choose another")
        else:
            node.SetNthControlPointLabel(index, name)
        self._context.refresh()

    def delete(self, index: int) -> None:
        self._context.template_landmarks.RemoveNthControlPoint(index)

    def _on_mode(self, interaction, _event) -> None:
        with self._context.server.state:
            self._context.state.is_marking = interaction.GetCurrentInteractionMode() == vtkMRMLInteractionNode.Place
            self._context.state.is_windowing = (
                interaction.GetCurrentInteractionMode() == vtkMRMLInteractionNode.AdjustWindowLevel
            )

    def _refresh(self) -> None:
        self._watch(self._context.template_landmarks)
        node = self._context.template_landmarks
        self._context.state.landmark_notes = sentences(readNotes(node)) if node else []
        self._context.state.landmarks = [
            {"index": index, "name": node.GetNthControlPointLabel(index)}
            for index in range(node.GetNumberOfControlPoints() if node else 0)
            if node.GetNthControlPointPositionStatus(index) == vtkMRMLMarkupsNode.PositionDefined
        ]

    def _watch(self, node) -> None:
        if node is self._watched:
            return
        for observation in self._observations if self._watched else ():
            self._watched.RemoveObserver(observation)
        self._context.stop_marking()  # clicks would go to the old node
        self._watched = node
        self._observations = [node.AddObserver(event, self._on_change) for event in CHANGES] if node else []

    def _on_change(self, *_) -> None:
        with self._context.server.state:
            self._context.refresh()
