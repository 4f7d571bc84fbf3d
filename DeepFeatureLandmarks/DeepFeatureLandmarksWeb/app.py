"""One session: builds the scene and the page, joins them, and keeps the Logic's clock."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

import slicer
from aiohttp import web
from slicer import vtkMRMLInteractionNode
from trame_server import Server
from trame_server.utils.typed_state import TypedState
from trame_slicer.core import SlicerApp
from trame_slicer.core.volume_window_level import VolumeWindowLevel
from trame_slicer.views import NoScheduleRendering, SliceView, ThreeDView, ViewType

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic, Run
from DeepFeatureLandmarksWeb.controllers.comparison_controller import ComparisonController
from DeepFeatureLandmarksWeb.controllers.export_controller import ExportController
from DeepFeatureLandmarksWeb.controllers.inspection_controller import InspectionController
from DeepFeatureLandmarksWeb.controllers.loading_controller import LoadingController
from DeepFeatureLandmarksWeb.controllers.marking_controller import MarkingController
from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
from DeepFeatureLandmarksWeb.controllers.review_controller import ReviewController
from DeepFeatureLandmarksWeb.page.page import Actions, Page
from DeepFeatureLandmarksWeb.page.state import PageState
from DeepFeatureLandmarksWeb.page.view_frame import fill_slice_view, fill_view
from DeepFeatureLandmarksWeb.server.uploads import receive
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.render_scheduler import RenderScheduler, ScheduledViewFactory
from DeepFeatureLandmarksWeb.views.volume_views import TARGET, TEMPLATE
from deepfeatures.errors import InputError
from deepfeatures.service.client import WorkerClient

POLL_S = 0.05
INTERACTIVE_QUALITY = 70  # of JPEG while something moves; still pictures are sent at 90
FILE_ROLES = (TEMPLATE, "landmarks", TARGET, "reference")


class App:
    """What the session's process serves.

    Args:
        server: Of trame.
        folder: Private to this session; removed by the caller.
        files: Paths to open at the start, by role: `template`, `landmarks`, `target`.
    """

    def __init__(self, server: Server, folder: Path, files: dict[str, str]):
        self._server, self._folder, self._files = server, folder, files
        self._client = WorkerClient()
        slicer_app = SlicerApp()
        slicer.mrmlScene = slicer_app.scene  # which slicer.util looks for, as in Slicer
        typed = TypedState(server.state, PageState)
        self._turns = turns = RenderScheduler()
        for kind, view_type, fill in (
            (SliceView, ViewType.SLICE_VIEW, fill_slice_view),
            (ThreeDView, ViewType.THREE_D_VIEW, fill_view),
        ):
            slicer_app.view_manager.register_factory(
                # Without a strategy of its own a view is rendered a hundred times while it is being built.
                ScheduledViewFactory(
                    turns,
                    server,
                    partial(kind, scheduled_render_strategy=NoScheduleRendering()),
                    view_type,
                    populate_view_ui_f=fill,
                    interactive_quality=INTERACTIVE_QUALITY,
                )
            )
        self.context = context = SessionContext(
            server, slicer_app, DeepFeatureLandmarksLogic(slicer_app.scene, self._client), folder, typed
        )
        self._loader = LoadingController(context)
        self._marking = MarkingController(context)
        self._placing = PlaceController(context)
        self._reviewing = ReviewController(context)
        self._looking = InspectionController(context, self._placing)
        self._comparing = ComparisonController(context)
        self._exporting = ExportController(context, self._comparing)
        context.logic.onFinished = self._on_finished
        for side in (TEMPLATE, TARGET):
            name = getattr(typed.name, side).window
            server.state.change(name)(lambda side=side, **_: self._set_window(side))
        Page(server, typed, self._actions())

    @property
    def routes(self) -> list[web.RouteDef]:
        """What is asked for by plain HTTP: files, in and out."""
        return [
            web.post("/upload/{role}", self._receive),
            web.get("/export/{what:.+}", self._exporting.answer),
        ]

    def start(self) -> None:
        """Called once the event loop runs."""
        self._tasks = [asyncio.create_task(self._keep_polling()), asyncio.create_task(self._open_first())]

    def close(self) -> None:
        """End the worker."""
        self.context.logic.close()
        self._client.close()

    def _actions(self) -> Actions:
        context = self.context
        return Actions(
            open_demo=self._loader.open_demo,
            toggle_marking=self._marking.toggle,
            rename=self._marking.rename,
            delete=self._marking.delete,
            show=context.show_landmark,
            place=self._placing.place,
            place_again=self._placing.place_again,
            cancel=self._placing.cancel,
            revert=self._placing.revert,
            accept=self._reviewing.accept,
            reject=self._reviewing.reject,
            next_unreviewed=self._reviewing.next_unreviewed,
            ask_maps=self._looking.ask_maps,
            ask_distances=self._looking.ask_distances,
            pick_channel=self._looking.pick,
            hide_overlay=self._looking.hide,
            toggle_3d=self._toggle_3d,
            toggle_windowing=self._toggle_windowing,
            fit=self._fit,
        )

    def _on_finished(self, run: Run) -> None:
        if run.kind == "catalog":
            self._placing.show_catalog()
        elif run.kind in ("place", "placeAgain"):
            self._placing.finish(run)
            self.context.refresh()
            self._reviewing.next_unreviewed()
        else:
            self._looking.finish(run)

    async def _keep_polling(self) -> None:
        while True:
            try:
                with self._server.state:
                    self.context.logic.poll()
            except Exception:  # one event that goes wrong must not silence all that follow
                logging.exception("an event of the worker could not be shown")
                self.context.warn("something went wrong here; export what you have, reload the page and tell us of it")
            await asyncio.sleep(POLL_S)

    async def _open_first(self) -> None:
        self.context.logic.requestCatalog()
        for role in FILE_ROLES:
            if path := self._files.get(role):
                await self._loader.open(role, Path(path))

    async def _receive(self, request: web.Request) -> web.Response:
        role = request.match_info["role"]
        self.context.warn("")
        try:
            path = await receive(request, role, self._folder)
        except InputError as error:
            self.context.warn(str(error))
            return web.json_response({"error": str(error)}, status=400)
        await self._loader.open(role, path)
        return web.json_response({})

    def _set_window(self, side: str) -> None:
        volume, state = self.context.side(side).volume, getattr(self.context.state, side)
        if volume is not None:
            VolumeWindowLevel.set_volume_node_display_min_max_range(volume, *state.window)

    def _toggle_windowing(self) -> None:
        interaction = self.context.slicer.markups_logic.interaction_node
        interaction.SetCurrentInteractionMode(
            vtkMRMLInteractionNode.ViewTransform
            if self.context.state.is_windowing
            else vtkMRMLInteractionNode.AdjustWindowLevel
        )

    def _toggle_3d(self) -> None:
        context = self.context
        context.state.is_3d = not context.state.is_3d
        if not context.state.is_3d:  # without a GPU, drawing volumes that nobody sees would slow down everything else
            self._turns.hidden |= {side.three_d for side in (context.template, context.target)}
        else:
            self._turns.hidden.clear()
            for side in (context.template, context.target):
                side.show_3d()
            for node, side in (
                (context.template_landmarks, context.template),
                (context.output, context.target),
                (context.reference, context.target),
            ):
                if node is not None:
                    node.GetDisplayNode().SetViewNodeIDs(side.view_ids)
            context.refresh()

    def _fit(self) -> None:
        for side in (self.context.template, self.context.target):
            side.fit()
