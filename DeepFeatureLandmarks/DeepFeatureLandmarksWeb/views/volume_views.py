"""The views of the template on the left and of the target on the right, and what they show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from slicer import vtkMRMLAbstractViewNode, vtkMRMLMarkupsNode, vtkMRMLSliceNode
from trame_slicer.core import SlicerApp
from trame_slicer.views import SliceView, ThreeDView, ViewLayoutDefinition, ViewProps, ViewType
from vtkmodules.vtkCommonCore import vtkCommand

from DeepFeatureLandmarksWeb.views.crosshair import Crosshair, pixel_to_ras

TEMPLATE, TARGET = "template", "target"
PLANES = {"Axial": "#F34A33", "Coronal": "#6DAD4A", "Sagittal": "#EFD64D"}  # Slicer's own colours of the planes
THREE_D = "3D"
STILL_PX = 3  # a press that moves less is a click
SAME_MM = 1e-3
FOLLOW_S = 0.08  # time for the scrolled view's own picture on a busy machine, too
MARGIN = 1.06
TRANSLUCENCY = 0.06
SAME_SCALE = 0.02


def view_tag(side: str, plane: str) -> str:
    """The name of a view, for the scene and the page."""
    return f"{side}{plane.replace('3D', 'ThreeD')}"


class VolumeViews:
    """The views of one volume.

    Args:
        app: Holds scene and views.
        name: `TEMPLATE` or `TARGET`.
        group: Number that these views share.
        on_moved: Called with these views after a click into a slice, or a scroll; `position` is then where the
            crosshair is.
    """

    def __init__(self, app: SlicerApp, name: str, group: int, on_moved: Callable[[VolumeViews], None]):
        self.name = name
        self._on_moved = on_moved
        self.volume = None
        self.shown = None  # instead of it, while places are compared
        self.position: np.ndarray | None = None
        self._app = app
        self._group = group
        self._follows = True
        self._is_following = False
        self._offsets: dict[str, float] = {}
        self._scales: dict[str, float] = {}
        self._press = (0, 0)
        self.slices: dict[str, SliceView] = {
            plane: self._create_slice(plane, colour) for plane, colour in PLANES.items()
        }
        self._crosshairs = [Crosshair(view) for view in self.slices.values()]

    def _create_slice(self, plane: str, colour: str) -> SliceView:
        view = self._app.view_manager.create_view(
            ViewLayoutDefinition(
                view_tag(self.name, plane),
                ViewType.SLICE_VIEW,
                ViewProps(orientation=plane, label=plane[0], color=colour, group=self._group),
            )
        )
        view.render_window().SetMultiSamples(
            0
        )  # smoothing changes nothing here, but takes ten times as long without a GPU
        view.set_background_color_from_string("#000000")
        view.set_ruler(vtkMRMLAbstractViewNode.RulerTypeThin, vtkMRMLAbstractViewNode.RulerColorWhite)
        view.interactor().AddObserver(vtkCommand.LeftButtonPressEvent, self._on_press)
        view.interactor().AddObserver(vtkCommand.LeftButtonReleaseEvent, lambda *_: self._on_release(view))
        view.interactor().AddObserver(vtkCommand.WindowResizeEvent, lambda *_: self._on_resized(plane, view))
        view.modified.connect(lambda *_: self._on_modified(plane, view))
        return view

    def show_3d(self) -> ThreeDView:
        """The 3D view, made when it is first asked for: it costs more than the slices together."""
        tag = view_tag(self.name, THREE_D)
        is_new = not self._app.view_manager.is_view_created(tag)
        view = self._app.view_manager.create_view(
            ViewLayoutDefinition(
                tag,
                ViewType.THREE_D_VIEW,
                ViewProps(label="3D", group=self._group, background_color=("#101214", "#101214"), box_visible=False),
            )
        )
        view.renderer().SetUseDepthPeelingForVolumes(False)  # without a GPU it hides the volume behind points
        if is_new and self.volume is not None:
            self._show_volume_in_3d(view)
        return view

    @property
    def three_d(self) -> ThreeDView | None:
        return self._app.view_manager.get_view(view_tag(self.name, THREE_D))

    @property
    def view_ids(self) -> list[str]:
        """Of all views of this side, for display nodes."""
        return [*self.slice_ids, *([self.three_d.get_view_node_id()] if self.three_d else [])]

    @property
    def slice_ids(self) -> list[str]:
        """Of the slice views, for display nodes."""
        return [view.get_view_node_id() for view in self.slices.values()]

    def show_volume(self, node) -> None:
        """Show a volume node in all views, or nothing where it is `None`; the views are fitted to it."""
        self.volume = node
        if node is not None and self.three_d:
            self._show_volume_in_3d(self.three_d)
        self._show_in_slices(node)

    def show_instead(self, node) -> None:
        """Show another volume node in the slices for a while; `None` brings the own one back."""
        node = node or self.volume
        if node is not self.shown:
            self._show_in_slices(node)

    def _show_in_slices(self, node) -> None:
        self.shown = node
        for view in self.slices.values():
            view.set_background_volume_id(node.GetID() if node else None)
            view.set_foreground_volume_id(None)
        if node is None:
            self.set_crosshair(None)
        else:
            self.fit()

    def fit(self) -> None:
        """Rotate the slices to the volume's axes, show all of it, and put the crosshair at its centre."""
        if self.shown is None:
            return
        self._follows = False
        for plane, view in self.slices.items():
            view.reset_view()
            self._scales[plane] = _show_all(view, self.shown)
        if self.three_d:
            self.three_d.reset_view()
        self._follows = True
        self.jump(centre_of(self.shown))

    def jump(self, ras: np.ndarray, name: str = "") -> None:
        """Show the slices through `ras`, mm, and put the crosshair there, with the name of the landmark there."""
        self._follows = False
        for plane, view in self.slices.items():
            view.get_view_node().JumpSliceByOffsetting(*ras)
            self._offsets[plane] = view.get_slice_value()
        self._follows = True
        self.set_crosshair(ras, name)

    def centre_on(self, ras: np.ndarray, name: str) -> None:
        """As `jump`, and move `ras` to the centre of a view that would not show it."""
        for view in self.slices.values():
            node: vtkMRMLSliceNode = view.get_view_node()
            half = np.array(node.GetFieldOfView()[:2]) / 2
            to_ras = node.GetSliceToRAS()
            axes = np.array([[to_ras.GetElement(row, column) for row in range(3)] for column in range(2)])
            origin = np.array([to_ras.GetElement(row, 3) for row in range(3)])
            if (np.abs(axes @ (ras - origin)) > 0.9 * half).any():
                node.JumpSliceByCentering(*ras)
        self.jump(ras, name)

    def set_crosshair(self, ras: np.ndarray | None, name: str = "") -> None:
        self.position = None if ras is None else np.asarray(ras, float)
        for crosshair in self._crosshairs:
            crosshair.set_position(self.position, name)

    def set_overlay(self, node, opacity: float) -> None:
        """Lay a volume node over the slices; `None` takes it away."""
        for view in self.slices.values():
            view.set_foreground_volume_id(node.GetID() if node else None)
            view.set_foreground_opacity(opacity if node else 0.0)

    def _show_volume_in_3d(self, view: ThreeDView) -> None:
        rendering = self._app.volume_rendering
        if rendering.has_vr_display_node(self.volume):
            display = rendering.get_vr_display_node(self.volume)
        else:
            display = rendering.create_display_node(self.volume, "MR-Default")
            _make_translucent(display.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity())
        display.SetViewNodeIDs([view.get_view_node_id()])
        display.SetVisibility(True)
        view.reset_view()

    def _on_press(self, interactor, _event) -> None:
        self._press = interactor.GetEventPosition()

    def _on_release(self, view: SliceView) -> None:
        position = view.interactor().GetEventPosition()
        moved = max(abs(now - then) for now, then in zip(position, self._press, strict=True))
        if moved <= STILL_PX and self.shown is not None:
            self.jump(pixel_to_ras(view, *position))
            self._on_moved(self)

    def _on_resized(self, plane: str, view: SliceView) -> None:
        """Show all of the volume in the new size too, unless the user has zoomed."""
        scale = view.get_view_node().GetFieldOfView()[0] / max(view.render_window().GetSize()[0], 1)
        if self.shown is not None and abs(scale / self._scales.get(plane, np.inf) - 1) < SAME_SCALE:
            self._scales[plane] = _show_all(view, self.shown)

    def _on_modified(self, plane: str, view: SliceView) -> None:
        if not self._follows or self.position is None:
            return
        offset = view.get_slice_value()
        if abs(offset - self._offsets.get(plane, offset + 1)) < SAME_MM:
            return
        self._offsets[plane] = offset
        normal = np.array([view.get_view_node().GetSliceToRAS().GetElement(row, 2) for row in range(3)])
        self.position = self.position + normal * (offset - normal @ self.position)
        if not self._is_following:
            self._is_following = True
            asyncio.get_running_loop().call_later(FOLLOW_S, self._follow)

    def _follow(self) -> None:
        """Move the crosshair and the other side, after the scrolled view itself has been sent."""
        self._is_following = False
        if self.position is not None:
            self.set_crosshair(self.position)
            self._on_moved(self)


def _make_translucent(opacity) -> None:
    """Lower a volume's opacity function, so that the points inside are visible."""
    for index in range(opacity.GetSize()):
        point = [0.0] * 4
        opacity.GetNodeValue(index, point)
        point[1] *= TRANSLUCENCY
        opacity.SetNodeValue(index, point)


def _show_all(view: SliceView, volume) -> float:
    """Widen the field of view to the whole volume: Slicer's own fit cuts what is wider than the view is.

    Returns:
        mm that a pixel now shows.
    """
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    node = view.get_view_node()
    axes = np.array([[node.GetSliceToRAS().GetElement(row, column) for row in range(3)] for column in range(2)])
    extent = np.abs(axes) @ (bounds[1::2] - bounds[::2])
    width, height = (max(pixels, 1) for pixels in view.render_window().GetSize())
    mm_per_pixel = MARGIN * max(extent[0] / width, extent[1] / height)
    node.SetFieldOfView(width * mm_per_pixel, height * mm_per_pixel, node.GetFieldOfView()[2])
    return mm_per_pixel


def centre_of(volume) -> np.ndarray:
    """The centre of a volume node, RAS mm."""
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    return (bounds[::2] + bounds[1::2]) / 2


def positions_of(markups) -> dict[str, np.ndarray]:
    """World RAS mm of every control point that has a position, by label; of equal labels the first."""
    found: dict[str, np.ndarray] = {}
    for index in range(markups.GetNumberOfControlPoints() if markups else 0):
        if markups.GetNthControlPointPositionStatus(index) == vtkMRMLMarkupsNode.PositionDefined:
            found.setdefault(
                markups.GetNthControlPointLabel(index), np.array(markups.GetNthControlPointPositionWorld(index))
            )
    return found
