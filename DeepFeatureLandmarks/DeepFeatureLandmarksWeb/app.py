"""One session: the scene, the page, the controllers between them, and the timer that polls the Logic."""

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

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksWeb.controllers.alternatives_controller import AlternativesController
from DeepFeatureLandmarksWeb.controllers.carry_controller import CarryController
from DeepFeatureLandmarksWeb.controllers.comparison_controller import ComparisonController
from DeepFeatureLandmarksWeb.controllers.export_controller import ExportController
from DeepFeatureLandmarksWeb.controllers.inspection_controller import InspectionController
from DeepFeatureLandmarksWeb.controllers.learning_controller import LearningController
from DeepFeatureLandmarksWeb.controllers.loading_controller import LoadingController
from DeepFeatureLandmarksWeb.controllers.marking_controller import MarkingController
from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
from DeepFeatureLandmarksWeb.controllers.review_controller import ReviewController
from DeepFeatureLandmarksWeb.controllers.template_check_controller import TemplateCheckController
from DeepFeatureLandmarksWeb.controllers.transform_controller import TransformController
from DeepFeatureLandmarksWeb.controllers.uploads import CARRIED_ROLE, PROTOCOL_ROLE, SCANS_ROLE, receive
from DeepFeatureLandmarksWeb.page.page import Actions, Page
from DeepFeatureLandmarksWeb.page.state import PageState
from DeepFeatureLandmarksWeb.page.view_frame import fill_slice_view, fill_view
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.render_scheduler import RenderScheduler, ScheduledViewFactory
from DeepFeatureLandmarksWeb.views.volume_views import TARGET, TEMPLATE
from deepfeatures.errors import InputError
from deepfeatures.service.client import WorkerClient

POLL_S = 0.05
INTERACTIVE_QUALITY = 70  # of JPEG while something moves; still pictures are sent at 90
FILE_ROLES = (TEMPLATE, "landmarks", TARGET, "reference")


class App:
    """The application that a session's process serves.

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
        self._render_scheduler = scheduler = RenderScheduler()
        for kind, view_type, fill in (
            (SliceView, ViewType.SLICE_VIEW, fill_slice_view),
            (ThreeDView, ViewType.THREE_D_VIEW, fill_view),
        ):
            slicer_app.view_manager.register_factory(
                # Without its own strategy a view is rendered a hundred times while it is being built.
                ScheduledViewFactory(
                    scheduler,
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
        self._loading = LoadingController(context)
        self._marking = MarkingController(context)
        self._runs = PlaceController(context)
        self._review = ReviewController(context)
        self._alternatives = AlternativesController(context)
        self._inspection = InspectionController(context, self._runs)
        self._comparison = ComparisonController(context)
        self._template_check = TemplateCheckController(context, self._runs)
        self._learning = LearningController(context, self._loading, self._runs)
        self._transform = TransformController(context, self._runs)
        self._carry = CarryController(context, self._runs, self._transform)
        self._export = ExportController(
            context, self._comparison, self._template_check, self._learning, self._transform, self._carry
        )
        context.logic.onFinished = self._on_finished
        for side in (TEMPLATE, TARGET):
            name = getattr(typed.name, side).window
            server.state.change(name)(lambda side=side, **_: self._set_window(side))
        Page(server, typed, self._actions())

    @property
    def routes(self) -> list[web.RouteDef]:
        """Plain HTTP: uploads and downloads."""
        return [
            web.post("/upload/{role}", self._receive),
            web.get("/export/{what:.+}", self._export.answer),
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
            open_demo=self._loading.open_demo,
            choose_series=self._loading.choose_series,
            toggle_marking=self._marking.toggle,
            rename=self._marking.rename,
            delete=self._marking.delete,
            show=context.show_landmark,
            place=self._runs.place,
            place_again=self._runs.place_again,
            cancel=self._runs.cancel,
            revert=self._runs.revert,
            accept=self._review.accept,
            reject=self._review.reject,
            next_unreviewed=self._review.next_unreviewed,
            compare=self._alternatives.compare,
            take=self._alternatives.take,
            request_maps=self._inspection.request_maps,
            request_distances=self._inspection.request_distances,
            pick_channel=self._inspection.pick,
            hide_overlay=self._inspection.hide,
            toggle_3d=self._toggle_3d,
            toggle_windowing=self._toggle_windowing,
            fit=self._fit,
            learn=self._learning.learn,
            forget=self._learning.forget,
            close_protocol=self._learning.close,
            take_template=self._learning.take_template,
            compute_transform=self._transform.compute,
            show_warped=self._transform.show,
        )

    def _on_finished(self, run: Run) -> None:
        if run.kind == "catalog":
            self._runs.show_catalog()
        elif run.protocol is not None:
            self._learning.finish(run)
        elif run.kind in ("place", "placeAgain"):
            self._runs.finish(run)
            self.context.refresh()
            self._review.next_unreviewed()
        elif run.kind == "templateCheck":
            self._template_check.finish(run.check)
        elif run.kind in ("transform", "warpTarget", "jacobian"):
            self._transform.finish(run)
        elif run.kind == "carryFile":
            self._carry.finish(run)
        else:
            self._inspection.finish(run)

    async def _keep_polling(self) -> None:
        while True:
            try:
                with self._server.state:
                    self.context.logic.poll()
            except Exception:  # one failing event must not stop all later ones
                logging.exception("an event of the worker could not be shown")
                self.context.warn("something went wrong; export your landmarks, reload the page and report the error")
            await asyncio.sleep(POLL_S)

    async def _open_first(self) -> None:
        self.context.logic.requestCatalog()
        for role in FILE_ROLES:
            if path := self._files.get(role):
                await self._loading.open(role, Path(path))

    async def _receive(self, request: web.Request) -> web.Response:
        role = request.match_info["role"]
        self.context.warn("")
        try:
            path = await receive(request, role, self._folder)
        except InputError as error:
            self.context.warn(str(error))
            return web.json_response({"error": str(error)}, status=400)
        if role == SCANS_ROLE:
            with self._server.state:
                self._template_check.start(path)
        elif role == CARRIED_ROLE:
            with self._server.state:
                self._carry.start(path)
        elif role == PROTOCOL_ROLE:
            await self._learning.open(path)
        else:
            await self._loading.open(role, path)
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
        if not context.state.is_3d:  # without a GPU, hidden 3D views would slow down everything else
            self._render_scheduler.hidden |= {side.three_d for side in (context.template, context.target)}
        else:
            self._render_scheduler.hidden.clear()
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
