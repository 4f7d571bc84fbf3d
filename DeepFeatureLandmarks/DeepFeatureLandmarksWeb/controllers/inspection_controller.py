"""Looking inside: what a layer makes of a landmark, where the target is alike, both patches side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.logic import ActivationMaps, Run
from DeepFeatureLandmarksWeb.controllers.place_controller import Placing
from DeepFeatureLandmarksWeb.page.thumbnails import COLUMNS, cross_hair, data_url, grey, mosaic
from DeepFeatureLandmarksWeb.session_context import Desk
from DeepFeatureLandmarksWeb.views.appearance import heat_table
from DeepFeatureLandmarksWeb.views.sides import positions_of
from deepfeatures.pipelines.demo_figure import VIEWS, slice_through

MOST_SHOWN = 64  # channels in one mosaic
EDGE_PX = 36
PATCH_MM, PATCH_PX = 50.0, 140
COLOURS = {"template": "#56B4E9", "target": "#E69F00"}
MAPS, DISTANCES = "activations", "distances"
MOST_ALIKE_PERCENT = 10  # of the target is coloured; the rest is of no interest


class Looking:
    """Fills the part of the page that explains a placed point."""

    def __init__(self, desk: Desk, placing: Placing):
        self._desk, self._placing = desk, placing
        self._maps: ActivationMaps | None = None
        self._asked = ""  # landmark of the distance map
        desk.changed.append(self._tell)
        for name, change in (
            ("inside_landmark", self._draw_patches),
            ("channel", self._show_channel),
            ("overlay_opacity", self._set_opacity),
        ):
            desk.server.state.change(getattr(desk.typed.name, name))(lambda change=change, **_: change())

    def ask_maps(self) -> None:
        """Ask for all channels around the landmark in the target."""
        name = self._desk.state.inside_landmark
        self._placing.request(lambda placement: self._desk.logic.activationMaps(placement, name), "Computing maps …")

    def ask_distances(self) -> None:
        """Ask for the feature distance everywhere in the target."""
        name = self._asked = self._desk.state.inside_landmark
        self._placing.request(lambda placement: self._desk.logic.distanceMap(placement, name), "Computing distances …")

    def finish(self, run: Run) -> None:
        """Show what has arrived."""
        desk = self._desk
        desk.state.is_busy = False
        if run.maps is not None:
            self._maps = run.maps
            desk.state.channels, desk.state.channel = len(run.maps.channels), 0
            desk.state.mosaic_note = f"{run.maps.layer} at {run.maps.landmark}: {len(run.maps.channels)} channels" + (
                "" if run.maps.complete else "; the patch is too small for this layer and was padded"
            )
            self._show_channel()
        else:
            self._overlay(run.node, DISTANCES)
            desk.state.overlay_note = (
                f"Coloured: the {MOST_ALIKE_PERCENT} % of the target most like the template's {self._asked}; "
                "the brighter, the more alike. Two bright spots: it may have been mixed up."
            )

    def pick(self, number: int) -> None:
        """Show the channel of one tile of the mosaic."""
        if number < self._desk.state.channels:
            self._desk.state.channel = number

    def hide(self) -> None:
        """Take the overlay away."""
        self._desk.state.overlay = self._desk.state.overlay_note = ""
        self._desk.target.set_overlay(None, 0.0)

    def _tell(self) -> None:
        state = self._desk.state
        names = [row["name"] for row in state.rows]
        if state.inside_landmark not in names:
            state.inside_landmark = names[0] if names else ""
        if not names:
            state.patches = state.mosaic = ""
            state.channels = 0
            self._maps = None
            self.hide()
        self._draw_patches()

    def _show_channel(self) -> None:
        if self._maps is None:
            return
        channel = int(self._desk.state.channel)
        first = channel // MOST_SHOWN * MOST_SHOWN
        panels = [
            grey(np.asarray(volume.voxels)[len(volume.voxels) // 2])
            for volume in self._maps.channels[first : first + MOST_SHOWN]
        ]
        self._desk.state.mosaic_first, self._desk.state.mosaic_rows = first, -(-len(panels) // COLUMNS)
        self._desk.state.mosaic = data_url(mosaic(panels, EDGE_PX, channel - first))
        self._overlay(self._desk.logic.activationMap(self._maps, channel), MAPS)

    def _overlay(self, node, kind: str) -> None:
        desk = self._desk
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        is_distance = kind == DISTANCES
        table = heat_table(desk.scene, "Likeness" if is_distance else "Activation", is_low_bright=is_distance)
        display.SetAndObserveColorNodeID(table.GetID())
        display.SetInterpolate(True)
        values = nodes.arrayFromNode(node).voxels
        low, high = (
            float(values.min()),
            float(np.percentile(values, MOST_ALIKE_PERCENT) if is_distance else values.max()),
        )
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(low, high)
        display.SetApplyThreshold(is_distance)
        display.SetThreshold(low, high)
        desk.state.overlay, desk.state.overlay_note = kind, ""
        desk.target.set_overlay(node, desk.state.overlay_opacity)
        if name := desk.state.inside_landmark:
            desk.show_landmark(name)

    def _set_opacity(self) -> None:
        if self._desk.state.overlay:
            for view in self._desk.target.slices.values():
                view.set_foreground_opacity(float(self._desk.state.overlay_opacity))

    def _draw_patches(self) -> None:
        desk, name = self._desk, self._desk.state.inside_landmark
        here, there = positions_of(desk.template_landmarks).get(name), positions_of(desk.output).get(name)
        if here is None or there is None:
            desk.state.patches = ""
            return
        sheet = Image.new("RGB", (3 * PATCH_PX, 2 * PATCH_PX))
        for row, (side, place) in enumerate(((desk.template, here), (desk.target, there))):
            volume = nodes.volumeFromNode(side.volume)
            lps = place * (-1, -1, 1)
            for column, view in enumerate(VIEWS):
                cut = grey(slice_through(volume, lps, view, PATCH_MM, PATCH_PX))
                sheet.paste(cross_hair(Image.fromarray(cut), COLOURS[side.name]), (column * PATCH_PX, row * PATCH_PX))
        desk.state.patches = data_url(sheet)
