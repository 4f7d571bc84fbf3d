"""The template's landmarks: mark, name, move, delete."""

from __future__ import annotations

from slicer import vtkMRMLInteractionNode, vtkMRMLMarkupsNode

from DeepFeatureLandmarksWeb.session_context import TEMPLATE_COLOUR, Desk
from DeepFeatureLandmarksWeb.views.appearance import style_markups

CHANGES = (
    vtkMRMLMarkupsNode.PointPositionDefinedEvent,
    vtkMRMLMarkupsNode.PointPositionUndefinedEvent,
    vtkMRMLMarkupsNode.PointEndInteractionEvent,
    vtkMRMLMarkupsNode.PointRemovedEvent,
)


class Marking:
    """Keeps the page's list and the markups node of the template alike."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._watched = None
        self._observations: list[int] = []
        desk.changed.append(self._list)
        interaction = desk.slicer.markups_logic.interaction_node
        interaction.AddObserver(vtkMRMLInteractionNode.InteractionModeChangedEvent, self._on_mode)

    def toggle(self) -> None:
        """Start or stop marking: each click into the template then adds a landmark."""
        desk = self._desk
        if desk.state.is_marking:
            desk.stop_marking()
            return
        if desk.template_landmarks is None:
            desk.template_landmarks = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
            desk.template_landmarks.SetControlPointLabelFormat("L%d")
            style_markups(desk.template_landmarks, TEMPLATE_COLOUR, desk.template.view_ids)
            desk.refresh()
        desk.slicer.markups_logic.place_node(desk.template_landmarks, persistent=True)

    def rename(self, index: int, name: str) -> None:
        """Give a landmark another name; names must differ, since results are told apart by them."""
        node, name = self._desk.template_landmarks, name.strip()
        taken = {
            node.GetNthControlPointLabel(other) for other in range(node.GetNumberOfControlPoints()) if other != index
        }
        if not name or name in taken:
            self._desk.warn("a landmark needs a name of its own; choose another")
        else:
            node.SetNthControlPointLabel(index, name)
        self._desk.refresh()

    def delete(self, index: int) -> None:
        self._desk.template_landmarks.RemoveNthControlPoint(index)

    def _on_mode(self, interaction, _event) -> None:
        with self._desk.server.state:
            self._desk.state.is_marking = interaction.GetCurrentInteractionMode() == vtkMRMLInteractionNode.Place
            self._desk.state.is_windowing = (
                interaction.GetCurrentInteractionMode() == vtkMRMLInteractionNode.AdjustWindowLevel
            )

    def _list(self) -> None:
        self._watch(self._desk.template_landmarks)
        node = self._desk.template_landmarks
        self._desk.state.landmarks = [
            {"index": index, "name": node.GetNthControlPointLabel(index)}
            for index in range(node.GetNumberOfControlPoints() if node else 0)
            if node.GetNthControlPointPositionStatus(index) == vtkMRMLMarkupsNode.PositionDefined
        ]

    def _watch(self, node) -> None:
        if node is self._watched:
            return
        for observation in self._observations if self._watched else ():
            self._watched.RemoveObserver(observation)
        self._desk.stop_marking()  # clicks would go to the old node
        self._watched = node
        self._observations = [node.AddObserver(event, self._on_change) for event in CHANGES] if node else []

    def _on_change(self, *_) -> None:
        with self._desk.server.state:
            self._desk.refresh()
