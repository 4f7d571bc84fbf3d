"""What all parts of a session share: the scene, both sides, the nodes in use, and the page's state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from trame_server import Server
from trame_server.utils.typed_state import TypedState
from trame_slicer.core import SlicerApp

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic, PlaceRequest
from DeepFeatureLandmarksWeb.page.state import PageState
from DeepFeatureLandmarksWeb.views.linked_navigation import PointMap
from DeepFeatureLandmarksWeb.views.volume_views import TARGET, TEMPLATE, VolumeViews, centre_of, positions_of

TEMPLATE_COLOUR = (0.34, 0.71, 0.91)  # of Okabe and Ito: colour-blind people can tell them apart
PROPOSED_COLOUR = (0.90, 0.62, 0.00)
REVIEWED_COLOUR = (0.00, 0.75, 0.53)
REFERENCE_COLOUR = (0.80, 0.47, 0.65)

NOTICE_S = 6


@dataclass
class SessionContext:
    """Given to every controller of the page.

    Args:
        server: Of trame.
        slicer: Scene, views and Slicer's own logics.
        logic: Of the landmarks.
        folder: Private to this session.
        typed: Typed view of the page's state.
        template_landmarks: Markups node on the template.
        output: Markups node with what was placed in the target, `None` before the first run.
        reference: Markups node with a person's points in the target, for comparison.
        other_points: Markups node with the points in another place of the target, while the template's views show it.
        protocol: File of the landmark protocol in use, in `folder`; `None` for none.
        refreshers: Called after nodes have changed, to update the page's state.
    """

    server: Server
    slicer: SlicerApp
    logic: DeepFeatureLandmarksLogic
    folder: Path
    typed: TypedState[PageState]
    template_landmarks: Any = None
    output: Any = None
    reference: Any = None
    other_points: Any = None
    protocol: Path | None = None
    refreshers: list[Callable[[], None]] = field(default_factory=list)
    _to_target: PointMap | None = None
    _to_template: PointMap | None = None

    def __post_init__(self):
        self.template = VolumeViews(self.slicer, TEMPLATE, 1, self._on_moved)
        self.target = VolumeViews(self.slicer, TARGET, 2, self._on_moved)

    @property
    def state(self) -> PageState:
        return self.typed.data

    @property
    def scene(self):
        return self.slicer.scene

    def side(self, name: str) -> VolumeViews:
        return self.template if name == TEMPLATE else self.target

    def place_request(self, settings) -> PlaceRequest:
        return PlaceRequest(self.template.volume, self.template_landmarks, self.target.volume, self.output, settings)

    def refresh(self) -> None:
        """Update the page's state after nodes have changed."""
        self._link()
        for refresh in self.refreshers:
            refresh()

    def compare(self, other_points) -> None:
        """Show the target with these points in the template's views, beside those that are placed; `None` ends it."""
        self.other_points = other_points
        self.template.show_instead(self.target.volume if other_points is not None else None)
        if self.template_landmarks is not None:
            self.template_landmarks.GetDisplayNode().SetVisibility(other_points is None)
        self._link()

    def stop_marking(self) -> None:
        """End the mode in which clicks add landmarks; the one that follows the pointer is dropped."""
        if self.state.is_marking:
            self.slicer.markups_logic.disable_place_mode()

    def warn(self, sentence: str) -> None:
        """Show an error until it is closed; empty closes it."""
        with self.server.state:
            is_word = sentence.split(" ", 1)[0].isalpha()  # the name of a file or landmark stays as it is
            self.state.message = sentence[:1].upper() + sentence[1:] if is_word else sentence

    def inform(self, sentence: str) -> None:
        """Show a sentence for a few seconds."""
        with self.server.state:
            self.state.notice = sentence

        def fade() -> None:
            if self.state.notice == sentence:
                self.inform("")

        if sentence:
            asyncio.get_running_loop().call_later(NOTICE_S, fade)

    def show_landmark(self, name: str) -> None:
        """Jump to a landmark on both sides; where one side does not have it, to the corresponding position."""
        in_template, in_target = (positions_of(node).get(name) for node in (self._points_on_the_left, self.output))
        if in_template is None and in_target is None:
            return
        self.state.current = self.state.inspected_landmark = name
        self.template.centre_on(self._to_template(in_target) if in_template is None else in_template, name)
        if self.target.volume is not None:
            self.target.centre_on(self._to_target(in_template) if in_target is None else in_target, name)

    @property
    def _points_on_the_left(self):
        return self.template_landmarks if self.other_points is None else self.other_points

    def _link(self) -> None:
        """Fit the maps between both volumes through the landmarks that both have now."""
        self._to_target = self._to_template = None
        if self.template.volume is None or self.target.volume is None:
            return
        in_template, in_target = positions_of(self._points_on_the_left), positions_of(self.output)
        names = [name for name in in_template if name in in_target]
        template = np.array([in_template[name] for name in names]).reshape(-1, 3)
        target = np.array([in_target[name] for name in names]).reshape(-1, 3)
        template_centre, target_centre = centre_of(self.template.shown), centre_of(self.target.shown)
        self._to_target = PointMap.fit(template, target, template_centre, target_centre)
        self._to_template = PointMap.fit(target, template, target_centre, template_centre)

    def _on_moved(self, side: VolumeViews) -> None:
        """Show the same anatomy on the other side."""
        if self._to_target is None or side.position is None:
            return
        if side is self.template:
            self.target.jump(self._to_target(side.position))
        else:
            self.template.jump(self._to_template(side.position))
