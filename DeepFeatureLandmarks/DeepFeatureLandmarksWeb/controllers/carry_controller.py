"""Files that are carried over to the other side: uploaded, carried by the worker, downloaded."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from DeepFeatureLandmarksLib.scene.logic import BUSY
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.transform_summary import noteSentences
from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
from DeepFeatureLandmarksWeb.controllers.transform_controller import TransformController
from DeepFeatureLandmarksWeb.controllers.uploads import CARRIED_SUFFIXES, safe_name
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.volume_views import TEMPLATE
from deepfeatures.errors import InputError


class CarryController:
    """Fills the list of carried files.

    Args:
        context: Of the session.
        runs: Sends requests and shows their progress.
        transform: By which they are carried.
    """

    def __init__(self, context: SessionContext, runs: PlaceController, transform: TransformController):
        self._context, self._runs, self._transform = context, runs, transform
        self._files: list[Path] = []
        self._upload: Path | None = None

    def start(self, path: Path) -> None:
        """Carry an uploaded file over to the side that is chosen."""
        context = self._context
        if context.logic.isBusy:
            context.warn(BUSY)
            return
        self._discard_upload()
        self._upload = path
        to = context.state.transform.way
        folder = Path(tempfile.mkdtemp(prefix="carried-", dir=context.folder))
        output = folder / _name(path, getattr(context.state, to).title)
        self._runs.request(
            lambda _: context.logic.carryFile(self._transform.node, path, output, inverse=to == TEMPLATE),
            f"Carrying {path.name} over …",
        )

    def finish(self, run: Run) -> None:
        """Offer what was written."""
        state = self._context.state
        state.is_busy = False
        self._discard_upload()
        self._files.append(run.written)
        sentences = noteSentences([run.text, *run.notes])
        entry = {"number": len(self._files) - 1, "name": run.written.name, "text": sentences[0], "notes": sentences[1:]}
        state.transform.carried = [entry, *state.transform.carried]

    def file(self, number: str) -> Path:
        """One of those that were carried over.

        Raises:
            InputError: There is no such file.
        """
        if not number.isdecimal() or int(number) >= len(self._files):
            raise InputError("there is no such file; carry it over again")
        return self._files[int(number)]

    def _discard_upload(self) -> None:
        if self._upload is not None:
            shutil.rmtree(self._upload.parents[1], ignore_errors=True)
        self._upload = None


def _name(path: Path, where: str) -> str:
    """Of the file that is written; its kind stays."""
    suffix = next(suffix for suffix in CARRIED_SUFFIXES if path.name.lower().endswith(suffix))
    return safe_name(f"{path.name[: -len(suffix)]}-in-{where}{path.name[-len(suffix) :]}")
