"""Opening files: from files to nodes on either side of the page."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
from trame_slicer.core.volume_window_level import VolumeWindowLevel

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.node_notes import sentences, writeNotes
from DeepFeatureLandmarksWeb.controllers.taking_time import reading, taking_time
from DeepFeatureLandmarksWeb.controllers.uploads import VOLUME_ROLES, safe_name
from DeepFeatureLandmarksWeb.session_context import REFERENCE_COLOUR, TEMPLATE_COLOUR, SessionContext
from DeepFeatureLandmarksWeb.views.appearance import style_markups
from DeepFeatureLandmarksWeb.views.volume_views import TARGET, TEMPLATE
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.dicom.series import Series, list_series
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.landmark_files import read_landmarks

DEMO_SIZE = 96  # voxels: two heads in two seconds, and placed in a few more
SHOWN_PERCENT = (0.5, 99.5)


class LoadingController:
    """Opens volumes, landmarks and the demo pair."""

    def __init__(self, context: SessionContext):
        self._context = context
        self._folders: dict[str, Path] = {}  # by side, those of which a person is to choose a series

    async def open(self, role: str, path: Path, series: int | None = None) -> None:
        """Open a file, or the folder of a series, as `role`; errors are shown on the page.

        Of a folder with several DICOM series the page shows a list, unless the number of one is given.
        """
        async with reading(self._context, path):
            if role in VOLUME_ROLES:
                await self._open_volume(role, path, series)
            else:
                self.show_landmarks(role, await asyncio.to_thread(read_landmarks, path))

    async def choose_series(self, role: str, number: int) -> None:
        """Open one of the series that the page offers for a side."""
        self._context.warn("")
        await self.open(role, self._folders[role], number)

    async def open_demo(self) -> None:
        """Make the demo pair and show it."""
        from deepfeatures.phantom import make_pair

        self._context.warn("")
        async with taking_time(self._context, "Making two heads …"):
            template, landmarks, target, truth = await asyncio.to_thread(make_pair, DEMO_SIZE)
            self.show_volume(TEMPLATE, template)
            self.show_landmarks("landmarks", landmarks)
            self.show_volume(TARGET, target)
            self.show_landmarks("reference", truth)

    def show_volume(self, role: str, volume: Volume) -> None:
        """Replace the volume of one side; points that belonged to the old one go."""
        context = self._context
        side = context.side(role)
        node = nodes.mapToNode(volume, context.scene, volume.name)
        if side.volume is not None:
            context.scene.RemoveNode(side.volume)
            self._remove_points(role)
        low, high = np.percentile(volume.voxels.numpy()[::2, ::2, ::2], SHOWN_PERCENT)
        VolumeWindowLevel.set_volume_node_display_min_max_range(node, low, high)
        side.show_volume(node)
        state = getattr(context.state, role)
        state.title = volume.name
        state.facts = _facts(volume)
        state.series = []
        state.notes = sentences(nodes.volumeNotes(node))
        state.low, state.high = (float(value) for value in (volume.voxels.min(), volume.voxels.max()))
        state.window = [float(low), float(high)]
        context.refresh()

    def show_landmarks(self, role: str, landmarks: LandmarkSet) -> None:
        """Replace the template's landmarks, or the second set in the target."""
        context = self._context
        is_template = role == "landmarks"
        old = context.template_landmarks if is_template else context.reference
        node = context.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", landmarks.name)
        nodes.landmarksToNode(landmarks, node)
        writeNotes(node, landmarks.notes)
        if old is not None:
            context.scene.RemoveNode(old)
        if is_template:
            context.template_landmarks = node
            style_markups(node, TEMPLATE_COLOUR, context.template.view_ids)
        else:
            context.reference = node
            node.SetLocked(True)  # placed points are measured against it
            style_markups(node, REFERENCE_COLOUR, context.target.view_ids, is_visible=context.state.is_reference_shown)
        context.refresh()

    async def _open_volume(self, role: str, path: Path, number: int | None) -> None:
        state = getattr(self._context.state, role)
        every = await asyncio.to_thread(list_series, path) if number is None and path.is_dir() else ()
        if len(every) > 1:
            self._folders[role] = path
            state.series = [_offered(series) for series in every]
            return
        series = None if number is None else str(number)
        volume = await asyncio.to_thread(read_within_memory, path, series=series)
        titles = {each["number"]: each["title"] for each in state.series}
        self.show_volume(role, replace(volume, name=safe_name(titles[number])) if number in titles else volume)

    def _remove_points(self, role: str) -> None:
        context = self._context
        old = [context.output]
        context.output = None
        if role == TEMPLATE:
            old.append(context.template_landmarks)
            context.template_landmarks = None
        else:
            old.append(context.reference)
            context.reference = None
        for node in old:
            if node is not None:
                context.scene.RemoveNode(node)


def _offered(series: Series) -> dict:
    """A series as the page's list shows it."""
    facts = [f"series {series.number}", series.modality, f"{series.slices} slices"]
    return {
        "number": series.number,
        "title": series.description or f"Series {series.number}",
        "facts": " · ".join(filter(None, facts)),
    }


def _facts(volume: Volume) -> str:
    size = " × ".join(str(count) for count in volume.size)
    spacing = " × ".join(f"{value:.3g}" for value in volume.spacing)
    return f"{volume.modality + ' · ' if volume.modality else ''}{size} voxels of {spacing} mm"
