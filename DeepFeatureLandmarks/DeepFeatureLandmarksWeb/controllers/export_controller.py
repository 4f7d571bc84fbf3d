"""Downloads: landmark files, tables, the report, the scene, the landmark protocol, the transform, what it carried."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksWeb.controllers.carry_controller import CarryController
from DeepFeatureLandmarksWeb.controllers.comparison_controller import ComparisonController
from DeepFeatureLandmarksWeb.controllers.learning_controller import LearningController
from DeepFeatureLandmarksWeb.controllers.template_check_controller import TABLES, TemplateCheckController
from DeepFeatureLandmarksWeb.controllers.transform_controller import TransformController
from DeepFeatureLandmarksWeb.session_context import SessionContext
from deepfeatures.data.landmarks import LANDMARK_SUFFIXES
from deepfeatures.data.notes import joined
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import write_landmarks

PROTOCOL = "protocol.dflp"
CARRIED = "carried/"


class ExportController:
    """Answers downloads: `/export/<what>`."""

    def __init__(
        self,
        context: SessionContext,
        comparison: ComparisonController,
        templates: TemplateCheckController,
        learning: LearningController,
        transform: TransformController,
        carried: CarryController,
    ):
        self._context, self._comparison, self._templates, self._learning = context, comparison, templates, learning
        self._transform, self._carried = transform, carried

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The requested file, or a sentence that says why there is none."""
        self._context.stop_marking()
        with tempfile.TemporaryDirectory(dir=self._context.folder, prefix="export-") as folder:
            try:
                path = await self._write(request.match_info["what"], Path(folder))
            except InputError as error:
                return web.Response(status=409, text=str(error))
            return web.Response(
                body=path.read_bytes(),
                headers={
                    "Content-Disposition": "attachment",
                    "X-File-Name": quote(path.name),
                    "Cache-Control": "no-store",
                },
                content_type="application/octet-stream",
            )

    async def _write(self, what: str, folder: Path) -> Path:
        stem, _, suffix = what.partition(".")
        if stem == "transform":
            return await self._transform.write(folder, f".{suffix}")
        return self._writer(what)(folder)

    def _writer(self, what: str) -> Callable[[Path], Path]:
        if what == "scene.mrb":
            return self._write_scene
        if what == "report.html":
            return self._comparison.write_report
        if what == PROTOCOL:
            return lambda _: self._learning.file()
        if what.startswith(CARRIED):
            return lambda _: self._carried.file(what.removeprefix(CARRIED))
        if what in TABLES:
            return lambda _: self._templates.table(what)
        stem, _, suffix = what.partition(".")
        if f".{suffix}".lower().endswith(LANDMARK_SUFFIXES) and stem in ("target", "template"):
            return lambda folder: self._write_landmarks(folder, stem, f".{suffix}")
        raise InputError("there is no such file; reload the page and try again")

    def _write_landmarks(self, folder: Path, side: str, suffix: str) -> Path:
        context = self._context
        node = context.output if side == "target" else context.template_landmarks
        if node is None:
            raise InputError("there are no landmarks yet; place them first")
        path = folder / f"{context.side(side).volume.GetName() if context.side(side).volume else side}{suffix}"
        if lost := joined(write_landmarks(nodes.landmarkSetFromNode(node), path)):
            context.warn(lost)
        return path

    def _write_scene(self, folder: Path) -> Path:
        path = folder / "DeepFeatureLandmarks.mrb"
        if not self._context.slicer.io_manager.save_scene(path) or not path.exists():
            raise InputError("the scene could not be written; free some room on the server's disk and try again")
        return path
