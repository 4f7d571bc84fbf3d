"""The side-by-side layout: the template's slices on the left, the target's on the right, moving together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import slicer

LAYOUT_ID = 58310  # any number that no other module takes
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


@dataclass(frozen=True)
class Side:
    """One half of the layout.

    Args:
        name: Beginning of its views' names.
        group: View group, so that Slicer's own linking stays within a side.
        colour: Of the bars above its views.
    """

    name: str
    group: int
    colour: str

    @property
    def viewNames(self) -> tuple[str, ...]:
        return tuple(self.name + orientation for orientation in ORIENTATIONS)


TEMPLATE, TARGET = Side("Template", 1, "#56B4E9"), Side("Target", 2, "#E69F00")  # as on the page


def _viewXml(side: Side, orientation: str) -> str:
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


class SideBySide:
    """Arranges the views, and gives the user's own layout back.

    Args:
        scene: vtkMRMLScene.
        onLeft: Called where a person has chosen another layout.
    """

    def __init__(self, scene, onLeft: Callable[[], None] = lambda: None):
        self._scene = scene
        self._onLeft = onLeft
        self._previous: int | None = None
        self._restricted: list = []
        self._link = ViewLink()
        self._layoutObserver: tuple | None = None

    @property
    def isShown(self) -> bool:
        return self._previous is not None

    @property
    def isLeftOver(self) -> bool:
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
            self._previous = layout.SlicerLayoutFourUpView if self.isLeftOver else layout.GetViewArrangement()
            tag = layout.AddObserver("ModifiedEvent", lambda caller, _: self._onLayoutChanged(caller))
            self._layoutObserver = layout, tag
        layout.SetViewArrangement(LAYOUT_ID)
        for side, volume in ((TEMPLATE, template), (TARGET, target)):
            self._setVolume(side, volume)
        self._restrict(((TEMPLATE, templatePoints), (TARGET, targetPoints)))
        self._link.connect(zip(self._slices(TEMPLATE), self._slices(TARGET), strict=True))

    def hide(self) -> None:
        """The layout that was there before, and all points in all views again."""
        previous = self._previous
        self._release()
        layout = _layoutNode()
        if previous is not None and layout is not None and layout.GetViewArrangement() == LAYOUT_ID:
            layout.SetViewArrangement(previous)

    def jump(self, templatePosition: Sequence[float] | None, targetPosition: Sequence[float] | None) -> None:
        """Centre each side's slices on its own point, RAS mm; a side without one stays."""
        with self._link.paused():
            for side, position in ((TEMPLATE, templatePosition), (TARGET, targetPosition)):
                for node in self._slices(side) if position is not None and self.isShown else ():
                    node.JumpSliceByCentering(*position)

    def overlay(self, side: Side, volume, opacity: float) -> None:
        """Lay a volume over one side's slices, and take away what lay over the other's.

        Args:
            side: Whose scan the volume was computed from; over the other it would mean nothing.
            volume: Volume node.
            opacity: From 0 to 1.
        """
        for each in (TEMPLATE, TARGET):
            for composite in self._composites(each):
                composite.SetForegroundVolumeID(volume.GetID() if each is side else None)
                composite.SetForegroundOpacity(opacity)

    def confine(self, points, side: Side) -> None:
        """Show a markups node in one side's views only, while they are there; it need not be given back."""
        display = points.GetDisplayNode()
        display.SetViewNodeIDs([view.GetID() for view in self._slices(side)] if self.isShown else [])

    def free(self, points) -> None:
        """Show a markups node in all views again where a scene that was saved side by side confines it to ours."""
        display = points.GetDisplayNode()
        views = [view.GetID() for side in (TEMPLATE, TARGET) for view in self._slices(side)]
        if display is not None and any(display.IsViewNodeIDPresent(view) for view in views):
            display.RemoveAllViewNodeIDs()

    def _release(self) -> None:
        """Let go of views and points; points must not stay hidden in layouts that lack our views."""
        self._link.disconnect()
        self._restrict(())
        if self._layoutObserver is not None:
            layout, tag = self._layoutObserver
            layout.RemoveObserver(tag)
        self._layoutObserver = self._previous = None

    def _onLayoutChanged(self, layout) -> None:
        if layout.GetViewArrangement() != LAYOUT_ID:
            self._release()
            self._onLeft()

    def _setVolume(self, side: Side, volume) -> None:
        for composite in self._composites(side):
            changed = volume is not None and composite.GetBackgroundVolumeID() != volume.GetID()
            composite.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
            composite.SetLinkedControl(1)
            composite.SetHotLinkedControl(1)
            logic = _sliceLogic(composite.GetLayoutName()) if changed else None
            if logic is not None:
                logic.FitSliceToAll()

    def _restrict(self, points) -> None:
        """Show points in their own side only: the template's mean nothing in the target's millimetres."""
        for display in self._restricted:
            display.RemoveAllViewNodeIDs()
        self._restricted = []
        for side, node in points:
            display = node.GetDisplayNode() if node is not None else None
            if display is None:
                continue
            display.RemoveAllViewNodeIDs()
            for view in self._slices(side):
                display.AddViewNodeID(view.GetID())
            self._restricted.append(display)

    def _slices(self, side: Side) -> list:
        nodes = (self._scene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in side.viewNames)
        return [node for node in nodes if node is not None]

    def _composites(self, side: Side) -> list:
        found = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene)
        return [node for node in found if node.GetLayoutName() in side.viewNames]


class ViewLink:
    """Scrolling and zooming a slice moves its partner on the other side by as many millimetres.

    Slicer's own linking would put both at the same place in space, where the same anatomy is not.
    """

    def __init__(self):
        self._observed: list = []
        self._seen: dict = {}
        self._isMoving = False

    def connect(self, pairs) -> None:
        """Follow pairs of slice nodes."""
        self.disconnect()
        for first, second in pairs:
            for node, partner in ((first, second), (second, first)):
                self._seen[node] = _view(node)
                tag = node.AddObserver(
                    "ModifiedEvent", lambda caller, _, partner=partner: self._follow(caller, partner)
                )
                self._observed.append((node, tag))

    def disconnect(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._seen = [], {}

    @contextmanager
    def paused(self):
        """Slices move on their own meanwhile."""
        self._isMoving = True
        try:
            yield
        finally:
            self._isMoving = False
            self._seen = {node: _view(node) for node in self._seen}

    def _follow(self, node, partner) -> None:
        if self._isMoving:
            return
        (before, wideBefore), (centre, wide) = self._seen[node], _view(node)
        self._seen[node] = centre, wide
        moved, zoom = centre - before, wide / wideBefore if wideBefore else 1.0
        if np.allclose(moved, 0) and np.isclose(zoom, 1):
            return
        with self.paused():
            if not np.allclose(moved, 0):
                matrix = partner.GetSliceToRAS()
                for axis in range(3):
                    matrix.SetElement(axis, 3, matrix.GetElement(axis, 3) + moved[axis])
                partner.UpdateMatrices()
            if not np.isclose(zoom, 1):
                width, height, depth = partner.GetFieldOfView()
                partner.SetFieldOfView(width * zoom, height * zoom, depth)


def _view(node) -> tuple[np.ndarray, float]:
    """Centre in RAS mm and width in mm of what a slice node shows."""
    matrix = node.GetSliceToRAS()
    return np.array([matrix.GetElement(axis, 3) for axis in range(3)]), node.GetFieldOfView()[0]


def _layoutNode():
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def _sliceLogic(name: str):
    widget = slicer.app.layoutManager().sliceWidget(name)
    return widget.sliceLogic() if widget is not None else None
