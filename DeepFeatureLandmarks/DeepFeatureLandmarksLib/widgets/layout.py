"""The side-by-side layout: the template's slices on the left, the target's on the right, moving together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from DeepFeatureLandmarksLib.widgets.linked_navigation import LinkedNavigation

LAYOUT_ID = 58310  # any number that no other module takes
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


@dataclass(frozen=True)
class ViewColumn:
    """One column of the layout.

    Args:
        name: Beginning of its views' names.
        group: View group, so that Slicer's own linking stays within a column.
        colour: Of the bars above its views.
    """

    name: str
    group: int
    colour: str

    @property
    def viewNames(self) -> tuple[str, ...]:
        return tuple(self.name + orientation for orientation in ORIENTATIONS)


TEMPLATE, TARGET = ViewColumn("Template", 1, "#56B4E9"), ViewColumn("Target", 2, "#E69F00")  # as on the page


def _viewXml(side: ViewColumn, orientation: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{side.name}{orientation}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{side.name} {orientation[:3].lower()}</property>'
        f'<property name="viewcolor" action="default">{side.colour}</property>'
        f'<property name="viewgroup" action="default">{side.group}</property></view></item>'
    )


def layoutXml() -> str:
    """The layout as Slicer's layout manager reads it: two columns, one orientation a row."""
    columns = (
        '<item><layout type="vertical">' + "".join(_viewXml(side, o) for o in ORIENTATIONS) + "</layout></item>"
        for side in (TEMPLATE, TARGET)
    )
    return f'<layout type="horizontal" split="true">{"".join(columns)}</layout>'


def register() -> None:
    """Make the layout known to Slicer, without which a scene that was saved side by side opens without any view."""
    layout = _layoutNode()
    if layout is not None and not layout.IsLayoutDescription(LAYOUT_ID):
        layout.AddLayoutDescription(LAYOUT_ID, layoutXml())


class SideBySideLayout:
    """Arranges the views, and restores the user's own layout.

    Args:
        scene: vtkMRMLScene.
        onClosed: Called where a person has chosen another layout.
    """

    def __init__(self, scene, onClosed: Callable[[], None] = lambda: None):
        self._scene = scene
        self._onClosed = onClosed
        self._previous: int | None = None
        self._restrictedDisplays: list = []
        self._kept: list[tuple[ViewColumn, Any]] = []
        self._link = LinkedNavigation()
        self._layoutObserver: tuple | None = None

    @property
    def isShown(self) -> bool:
        return self._previous is not None

    @property
    def isRestored(self) -> bool:
        """Whether the layout came with a scene that was saved side by side."""
        layout = _layoutNode()
        return not self.isShown and layout is not None and layout.GetViewArrangement() == LAYOUT_ID

    def show(self, template, target, templatePoints=None, targetPoints=None) -> None:
        """Template left and target right, each with its own points only; volumes and points may be `None`."""
        layout = _layoutNode()
        if layout is None:
            return
        register()
        if not self.isShown:
            self._previous = layout.SlicerLayoutFourUpView if self.isRestored else layout.GetViewArrangement()
            tag = layout.AddObserver("ModifiedEvent", lambda caller, _: self._onLayoutChanged(caller))
            self._layoutObserver = layout, tag
        layout.SetViewArrangement(LAYOUT_ID)
        for side, volume in ((TEMPLATE, template), (TARGET, target)):
            self._setVolume(side, volume)
        self._kept = [(side, node) for side, node in self._kept if node.GetScene() is self._scene]
        self._restrict(((TEMPLATE, templatePoints), (TARGET, targetPoints), *self._kept))
        self._link.connect(zip(self._slices(TEMPLATE), self._slices(TARGET), strict=True))

    def hide(self) -> None:
        """The layout that was there before, and all points in all views again."""
        previous = self._previous
        self._disconnect()
        layout = _layoutNode()
        if previous is not None and layout is not None and layout.GetViewArrangement() == LAYOUT_ID:
            layout.SetViewArrangement(previous)

    def jump(self, templatePosition: Sequence[float] | None, targetPosition: Sequence[float] | None) -> None:
        """Centre each side's slices on its own point, RAS mm; a side without one stays."""
        with self._link.paused():
            for side, position in ((TEMPLATE, templatePosition), (TARGET, targetPosition)):
                for node in self._slices(side) if position is not None and self.isShown else ():
                    node.JumpSliceByCentering(*position)

    def overlay(self, side: ViewColumn, volume, opacity: float) -> None:
        """Lay a volume over one side's slices, and take away what lay over the other's.

        Args:
            side: Whose volume the map was computed from; over the other it would mean nothing.
            volume: Volume node.
            opacity: From 0 to 1.
        """
        for each in (TEMPLATE, TARGET):
            for composite in self._composites(each):
                composite.SetForegroundVolumeID(volume.GetID() if each is side else None)
                composite.SetForegroundOpacity(opacity)

    def keepTo(self, side: ViewColumn, node) -> None:
        """Show what was carried over in one side's views only, whenever they are there."""
        self._kept.append((side, node))
        if self.isShown and node.GetDisplayNode() is not None:
            self.restrictTo(node, side)
            self._restrictedDisplays.append(node.GetDisplayNode())

    def restrictTo(self, points, side: ViewColumn) -> None:
        """Show a markups node in one side's views only, while they are there."""
        display = points.GetDisplayNode()
        display.SetViewNodeIDs([view.GetID() for view in self._slices(side)] if self.isShown else [])

    def showInAllViews(self, points) -> None:
        """Show a markups node in all views again where a saved scene restricts it to this layout's views."""
        display = points.GetDisplayNode()
        views = [view.GetID() for side in (TEMPLATE, TARGET) for view in self._slices(side)]
        if display is not None and any(display.IsViewNodeIDPresent(view) for view in views):
            display.RemoveAllViewNodeIDs()

    def _disconnect(self) -> None:
        """Undo what `show` did to views and points; points must not stay hidden in other layouts."""
        self._link.disconnect()
        self._restrict(())
        if self._layoutObserver is not None:
            layout, tag = self._layoutObserver
            layout.RemoveObserver(tag)
        self._layoutObserver = self._previous = None

    def _onLayoutChanged(self, layout) -> None:
        if layout.GetViewArrangement() != LAYOUT_ID:
            self._disconnect()
            self._onClosed()

    def _setVolume(self, side: ViewColumn, volume) -> None:
        for composite in self._composites(side):
            changed = volume is not None and composite.GetBackgroundVolumeID() != volume.GetID()
            composite.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
            composite.SetLinkedControl(1)
            composite.SetHotLinkedControl(1)
            logic = _sliceLogic(composite.GetLayoutName()) if changed else None
            if logic is not None:
                logic.FitSliceToAll()

    def _restrict(self, nodes) -> None:
        """Show points, and what was carried over, in their side only: elsewhere they mean nothing."""
        for display in self._restrictedDisplays:
            display.RemoveAllViewNodeIDs()
        self._restrictedDisplays = []
        for side, node in nodes:
            display = node.GetDisplayNode() if node is not None else None
            if display is None:
                continue
            display.RemoveAllViewNodeIDs()
            for view in self._slices(side):
                display.AddViewNodeID(view.GetID())
            self._restrictedDisplays.append(display)

    def _slices(self, side: ViewColumn) -> list:
        nodes = (self._scene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in side.viewNames)
        return [node for node in nodes if node is not None]

    def _composites(self, side: ViewColumn) -> list:
        found = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene)
        return [node for node in found if node.GetLayoutName() in side.viewNames]


def _layoutNode():
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def _sliceLogic(name: str):
    widget = slicer.app.layoutManager().sliceWidget(name)
    return widget.sliceLogic() if widget is not None else None
