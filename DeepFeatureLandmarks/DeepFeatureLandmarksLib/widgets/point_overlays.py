"""What is drawn around the placed points where it is wanted: circles of 90 % radii, and how each point is turned."""

from __future__ import annotations

from collections.abc import Callable

from DeepFeatureLandmarksLib.scene import orientation_arrows, uncertainty_overlay
from DeepFeatureLandmarksLib.scene.orientation_arrows import OrientationArrows, arrowsOf
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from DeepFeatureLandmarksLib.scene.uncertainty_overlay import UncertaintyOverlay, spheresOf

RADIUS_COLOUR = (0.90, 0.62, 0.00)  # orange of Okabe and Ito, as the points to check


class PointOverlays:
    """Each with its check box, which is there where it has something to show.

    Args:
        ui: The widgets of the .ui file.
        scene: vtkMRMLScene.
        read: Gives the placed points and the target, `None` where there are none, and the rows of the review.
        style: Called with each model node once it is filled, to choose its views.
    """

    def __init__(self, ui, scene, read: Callable[[], tuple], style: Callable):
        self._read = read
        self._overlays = (
            (ui.radiusBox, UncertaintyOverlay(scene, RADIUS_COLOUR, style), _spheres),
            (ui.orientationBox, OrientationArrows(scene, style), _arrows),
        )
        for (box, _, _), words in zip(self._overlays, (uncertainty_overlay, orientation_arrows), strict=True):
            box.setText(words.LABEL)
            box.setToolTip(words.TOOLTIP)
            box.toggled.connect(lambda *_: self.refresh())

    def refresh(self) -> None:
        """Draw what is known and wanted, and take away the rest."""
        output, target, rows = self._read()
        for box, overlay, shapesOf in self._overlays:
            shapes = shapesOf(output, target, rows)
            box.setVisible(bool(shapes))
            if shapes and box.checked:
                overlay.show(shapes)
            else:
                overlay.clear()

    def clear(self) -> None:
        """Take all models out of the scene."""
        for _, overlay, _ in self._overlays:
            overlay.clear()


def _spheres(output, _target, rows: list[ReviewRow]) -> list:
    return spheresOf(output, rows)


def _arrows(output, target, _rows: list[ReviewRow]) -> list:
    return arrowsOf(output, target)
