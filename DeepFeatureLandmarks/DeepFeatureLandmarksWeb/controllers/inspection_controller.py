"""Why a point was placed where it is: activation maps, a distance map, and both patches side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.run import ActivationMaps, Run
from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
from DeepFeatureLandmarksWeb.page.thumbnails import COLUMNS, cross_hair, data_url, grey, mosaic
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.appearance import heat_table
from DeepFeatureLandmarksWeb.views.volume_views import positions_of
from deepfeatures.pipelines.demo_figure import VIEWS, slice_through

MAX_CHANNELS = 64  # channels in one mosaic
EDGE_PX = 36
PATCH_MM, PATCH_PX = 50.0, 140
COLOURS = {"template": "#56B4E9", "target": "#E69F00"}
MAPS, DISTANCES = "activations", "distances"
SIMILAR_PERCENT = 10  # of the target that is coloured


class InspectionController:
    """Fills the tab Inspect."""

    def __init__(self, context: SessionContext, runs: PlaceController):
        self._context, self._runs = context, runs
        self._maps: ActivationMaps | None = None
        self._distance_landmark = ""
        context.refreshers.append(self._refresh)
        for name, change in (
            ("inspected_landmark", self._draw_patches),
            ("channel", self._show_channel),
            ("overlay_opacity", self._set_opacity),
        ):
            context.server.state.change(getattr(context.typed.name, name))(lambda change=change, **_: change())

    def request_maps(self) -> None:
        """Ask for all channels around the landmark in the target."""
        name = self._context.state.inspected_landmark
        self._runs.request(lambda request: self._context.logic.activationMaps(request, name), "Computing maps …")

    def request_distances(self) -> None:
        """Ask for the feature distance everywhere in the target."""
        name = self._distance_landmark = self._context.state.inspected_landmark
        self._runs.request(lambda request: self._context.logic.distanceMap(request, name), "Computing distances …")

    def finish(self, run: Run) -> None:
        """Show what has arrived."""
        context = self._context
        context.state.is_busy = False
        if run.maps is not None:
            self._maps = run.maps
            context.state.channels, context.state.channel = len(run.maps.channels), 0
            context.state.mosaic_note = (
                f"{run.maps.layer} at {run.maps.landmark}: {len(run.maps.channels)} channels"
                + ("" if run.maps.complete else "; the patch is too small for this layer and was padded")
            )
            self._show_channel()
        else:
            self._overlay(run.node, DISTANCES)
            name = self._distance_landmark
            context.state.overlay_note = (
                f"Coloured: the {SIMILAR_PERCENT} % of the target most similar to the template's {name}. "
                "Brighter is more similar. Several bright spots: the landmark may be placed at the wrong one."
            )

    def pick(self, number: int) -> None:
        """Show the channel of one tile of the mosaic."""
        if number < self._context.state.channels:
            self._context.state.channel = number

    def hide(self) -> None:
        """Take the overlay away."""
        self._context.state.overlay = self._context.state.overlay_note = ""
        self._context.target.set_overlay(None, 0.0)

    def _refresh(self) -> None:
        state = self._context.state
        names = [row["name"] for row in state.rows]
        if state.inspected_landmark not in names:
            state.inspected_landmark = names[0] if names else ""
        if not names:
            state.patches = state.mosaic = ""
            state.channels = 0
            self._maps = None
            self.hide()
        self._draw_patches()

    def _show_channel(self) -> None:
        if self._maps is None:
            return
        channel = int(self._context.state.channel)
        first = channel // MAX_CHANNELS * MAX_CHANNELS
        panels = [
            grey(np.asarray(volume.voxels)[len(volume.voxels) // 2])
            for volume in self._maps.channels[first : first + MAX_CHANNELS]
        ]
        self._context.state.mosaic_first, self._context.state.mosaic_rows = first, -(-len(panels) // COLUMNS)
        self._context.state.mosaic = data_url(mosaic(panels, EDGE_PX, channel - first))
        self._overlay(self._context.logic.activationMap(self._maps, channel), MAPS)

    def _overlay(self, node, kind: str) -> None:
        context = self._context
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        is_distance = kind == DISTANCES
        table = heat_table(context.scene, "Similarity" if is_distance else "Activation", is_low_bright=is_distance)
        display.SetAndObserveColorNodeID(table.GetID())
        display.SetInterpolate(True)
        values = nodes.arrayFromNode(node).voxels
        low, high = (
            float(values.min()),
            float(np.percentile(values, SIMILAR_PERCENT) if is_distance else values.max()),
        )
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(low, high)
        display.SetApplyThreshold(is_distance)
        display.SetThreshold(low, high)
        context.state.overlay, context.state.overlay_note = kind, ""
        context.target.set_overlay(node, context.state.overlay_opacity)
        if name := context.state.inspected_landmark:
            context.show_landmark(name)

    def _set_opacity(self) -> None:
        if self._context.state.overlay:
            for view in self._context.target.slices.values():
                view.set_foreground_opacity(float(self._context.state.overlay_opacity))

    def _draw_patches(self) -> None:
        context, name = self._context, self._context.state.inspected_landmark
        in_template, in_target = (positions_of(node).get(name) for node in (context.template_landmarks, context.output))
        if in_template is None or in_target is None:
            context.state.patches = ""
            return
        sheet = Image.new("RGB", (3 * PATCH_PX, 2 * PATCH_PX))
        for row, (side, ras) in enumerate(((context.template, in_template), (context.target, in_target))):
            volume = nodes.volumeFromNode(side.volume)
            lps = ras * (-1, -1, 1)
            for column, view in enumerate(VIEWS):
                cut = grey(slice_through(volume, lps, view, PATCH_MM, PATCH_PX))
                sheet.paste(cross_hair(Image.fromarray(cut), COLOURS[side.name]), (column * PATCH_PX, row * PATCH_PX))
        context.state.patches = data_url(sheet)
