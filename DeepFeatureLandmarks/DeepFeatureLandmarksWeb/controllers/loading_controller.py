"""From files to nodes on either side of the page."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from trame_slicer.core.volume_window_level import VolumeWindowLevel

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksWeb.server.uploads import VOLUME_ROLES
from DeepFeatureLandmarksWeb.session_context import REFERENCE_COLOUR, TEMPLATE_COLOUR, Desk
from DeepFeatureLandmarksWeb.views.appearance import style_markups
from DeepFeatureLandmarksWeb.views.sides import TARGET, TEMPLATE
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError, is_out_of_memory, out_of_memory
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.landmark_files import read_landmarks

DEMO_SIZE = 96  # voxels: two heads in two seconds, and placed in a few more
SHOWN_PERCENT = (0.5, 99.5)


class Loader:
    """Opens volumes, landmarks and the demo pair."""

    def __init__(self, desk: Desk):
        self._desk = desk

    async def open(self, role: str, path: Path) -> None:
        """Open a file, or the folder of a series, for what `role` says; errors are shown on the page."""
        with self._busy(f"Reading {path.name} …"):
            await self._yield()
            try:
                if role in VOLUME_ROLES:
                    volume = await asyncio.to_thread(read_within_memory, path)
                    self.show_volume(role, volume)
                    if volume.note:
                        self._warn(volume.note, path)
                else:
                    self.show_landmarks(role, await asyncio.to_thread(read_landmarks, path))
            except InputError as error:
                self._warn(str(error), path)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._desk.warn(out_of_memory(path.name))

    async def open_demo(self) -> None:
        """Make the demo pair and show it."""
        from deepfeatures.phantom import make_pair

        self._desk.warn("")
        with self._busy("Making two heads …"):
            await self._yield()
            template, landmarks, target, truth = await asyncio.to_thread(make_pair, DEMO_SIZE)
            self.show_volume(TEMPLATE, template)
            self.show_landmarks("landmarks", landmarks)
            self.show_volume(TARGET, target)
            self.show_landmarks("reference", truth)

    def show_volume(self, role: str, volume: Volume) -> None:
        """Replace the volume of one side; points that belonged to the old one go."""
        desk = self._desk
        side = desk.side(role)
        node = nodes.mapToNode(volume, desk.scene, volume.name)
        if side.volume is not None:
            desk.scene.RemoveNode(side.volume)
            self._forget_points(role)
        low, high = np.percentile(volume.voxels.numpy()[::2, ::2, ::2], SHOWN_PERCENT)
        VolumeWindowLevel.set_volume_node_display_min_max_range(node, low, high)
        side.show_volume(node)
        state = getattr(desk.state, role)
        state.title = volume.name
        state.facts = _facts(volume)
        state.low, state.high = (float(value) for value in (volume.voxels.min(), volume.voxels.max()))
        state.window = [float(low), float(high)]
        desk.refresh()

    def show_landmarks(self, role: str, landmarks: LandmarkSet) -> None:
        """Replace the template's landmarks, or the second set in the target."""
        desk = self._desk
        is_template = role == "landmarks"
        old = desk.template_landmarks if is_template else desk.reference
        node = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", landmarks.name)
        nodes.landmarksToNode(landmarks, node)
        if old is not None:
            desk.scene.RemoveNode(old)
        if is_template:
            desk.template_landmarks = node
            style_markups(node, TEMPLATE_COLOUR, desk.template.view_ids)
        else:
            desk.reference = node
            node.SetLocked(True)  # it is what placed points are measured by
            style_markups(node, REFERENCE_COLOUR, desk.target.view_ids, is_visible=desk.state.is_reference_shown)
        desk.refresh()

    def _forget_points(self, role: str) -> None:
        desk = self._desk
        old = [desk.output]
        desk.output = None
        if role == TEMPLATE:
            old.append(desk.template_landmarks)
            desk.template_landmarks = None
        else:
            old.append(desk.reference)
            desk.reference = None
        for node in old:
            if node is not None:
                desk.scene.RemoveNode(node)

    def _warn(self, sentence: str, path: Path) -> None:
        """Of a file by its name alone: an upload's folder means nothing to who sent it."""
        self._desk.warn(sentence.replace(f"{path.parent}/", ""))

    async def _yield(self) -> None:
        await asyncio.sleep(0.05)  # let the page show what is being done before it is done

    def _busy(self, text: str):
        return _Busy(self._desk, text)


class _Busy:
    def __init__(self, desk: Desk, text: str):
        self._desk, self._text = desk, text

    def __enter__(self):
        with self._desk.server.state:
            self._desk.state.is_loading, self._desk.state.loading_text = True, self._text

    def __exit__(self, *_):
        with self._desk.server.state:
            self._desk.state.is_loading = False


def _facts(volume: Volume) -> str:
    size = " × ".join(str(count) for count in volume.size)
    spacing = " × ".join(f"{value:.3g}" for value in volume.spacing)
    return f"{volume.modality + ' · ' if volume.modality else ''}{size} voxels of {spacing} mm"
