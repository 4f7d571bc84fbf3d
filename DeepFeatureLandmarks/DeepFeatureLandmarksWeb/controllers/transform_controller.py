"""The transform from template to target: computing it, its files, and what it looks like."""

from __future__ import annotations

import asyncio
from pathlib import Path

from DeepFeatureLandmarksLib.scene import nodes, transform_nodes
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.transform_summary import KINDS
from DeepFeatureLandmarksWeb.controllers.place_controller import PlaceController
from DeepFeatureLandmarksWeb.controllers.uploads import safe_name
from DeepFeatureLandmarksWeb.session_context import SessionContext
from DeepFeatureLandmarksWeb.views.template_overlay import TemplateOverlay
from deepfeatures.errors import InputError
from deepfeatures.service.transforms import write_again

OFF, BLEND, CHECKERBOARD, JACOBIAN = "", "blend", "checkerboard", "jacobian"
TAB = "transform"
SOURCE = "source.h5"  # which is read again to be written for another program
FIELD = "field"  # the kind that does not follow from the points
NOTHING_PLACED = "Place the landmarks first."
OUTDATED = "Points were moved or reviewed since then; compute it again."
NONE_COMPUTED = "compute the transform first, in the tab Transform"


class TransformController:
    """Fills the tab Transform.

    Args:
        context: Of the session.
        runs: Sends requests and shows their progress.
    """

    def __init__(self, context: SessionContext, runs: PlaceController):
        self._context, self._runs = context, runs
        self._overlay = TemplateOverlay(context.template, context.target)
        self._node = None
        self._computed_from: tuple = ()
        self._warped = self._jacobian = None
        self._wanted = OFF  # what is shown as soon as it is there
        context.refreshers.append(self._refresh)
        context.state.transform.kinds = [
            {"value": kind, "title": title, "text": text} for kind, (title, text) in KINDS.items()
        ]
        change, name = context.server.state.change, context.typed.name
        change(name.transform.share)(lambda **_: self._set_share())
        change(name.tab)(lambda **_: self._on_tab())

    @property
    def node(self):
        """The transform in the scene.

        Raises:
            InputError: There is none.
        """
        if self._node is None:
            raise InputError(NONE_COMPUTED)
        return self._node

    def compute(self) -> None:
        """Compute the chosen kind from the points as they are now."""
        kind, logic = self._context.state.transform.kind, self._context.logic
        self._runs.request(lambda request: logic.computeTransform(request, kind), "Computing the transform …")

    def show(self, view: str) -> None:
        """Lay over the template what is asked for; it is computed where it is not there yet."""
        logic = self._context.logic
        self._wanted = view
        if view in (BLEND, CHECKERBOARD) and self._warped is None:
            self._runs.request(lambda _: logic.warpTarget(self.node), "Warping the target …")
        elif view == JACOBIAN and self._jacobian is None:
            self._runs.request(lambda _: logic.jacobianMap(self.node), "Computing the Jacobian map …")
        else:
            self._show_wanted()

    def finish(self, run: Run) -> None:
        """Show what has arrived."""
        context = self._context
        context.state.is_busy = False
        if run.kind == "transform":
            view = context.state.transform.view
            self._hide()
            self._node, self._computed_from = run.node, self._points()
            self._warped = self._jacobian = None
            self._tell(run)
            context.refresh()
            self.show(view)
        elif run.kind == "jacobian":
            self._jacobian = run.node
            self._show_wanted()
        else:
            self._warped = run.node
            self._show_wanted()

    async def write(self, folder: Path, suffix: str) -> Path:
        """The transform in a file for another program; returns its path.

        Args:
            folder: In which it is written.
            suffix: Says for which program.

        Raises:
            InputError: None has been computed, or such a file cannot hold it.
        """
        node, state = self.node, self._context.state
        template, _ = transform_nodes.requirePair(node)
        source = folder / SOURCE
        transform_nodes.writeFile(node, source)
        path = folder / safe_name(f"{state.template.title}-to-{state.target.title}{suffix}")
        description = transform_nodes.summaryOf(node).description
        await asyncio.to_thread(write_again, source, nodes.volumeFromNode(template), path, description)
        return path

    def _tell(self, run: Run) -> None:
        state, known = self._context.state.transform, run.transform
        state.title = KINDS[known.kind][0]
        state.fit = f"{known.residualText} {known.foldText}"
        state.notes, state.details = known.noteLines, known.detailLines

    def _show_wanted(self) -> None:
        view, share = self._wanted, float(self._context.state.transform.share)
        if view == OFF:
            self._overlay.hide()
        elif view == BLEND:
            self._overlay.blend(self._warped, share)
        elif view == CHECKERBOARD:
            self._overlay.checkerboard(self._warped)
        else:
            self._overlay.map(self._jacobian)
        self._context.state.transform.view = view

    def _hide(self) -> None:
        self._wanted = OFF
        self._show_wanted()

    def _set_share(self) -> None:
        if self._context.state.transform.view == BLEND:
            self._overlay.set_share(float(self._context.state.transform.share))

    def _on_tab(self) -> None:
        """The other tabs need the template as it is."""
        if self._context.state.tab != TAB and self._context.state.transform.view != OFF:
            self._hide()

    def _refresh(self) -> None:
        context, state = self._context, self._context.state.transform
        if self._node is not None and transform_nodes.pairOf(self._node) != (
            context.template.volume,
            context.target.volume,
        ):
            self._forget()
        message = context.logic.transformMessage(context.place_request(self._runs.settings))
        state.refusal = NOTHING_PLACED if context.output is None else message
        follows = self._node is not None and transform_nodes.summaryOf(self._node).kind != FIELD
        state.outdated = OUTDATED if follows and self._points() != self._computed_from else ""

    def _forget(self) -> None:
        """Template or target was replaced."""
        self._hide()
        for node in (self._node, self._warped, self._jacobian):
            if node is not None:
                self._context.scene.RemoveNode(node)
        self._node = self._warped = self._jacobian = None
        state = self._context.state.transform
        state.title = state.fit = state.outdated = ""
        state.notes, state.details, state.carried = [], [], []

    def _points(self) -> tuple:
        """What a transform follows from: places on both sides, and what a person has decided."""
        return tuple(_state(node) for node in (self._context.template_landmarks, self._context.output))


def _state(markups) -> tuple:
    if markups is None:
        return ()
    return tuple(
        (
            markups.GetNthControlPointLabel(index),
            markups.GetNthControlPointPositionStatus(index),
            tuple(markups.GetNthControlPointPositionWorld(index)),
            markups.GetNthControlPointLocked(index),
        )
        for index in range(markups.GetNumberOfControlPoints())
    )
