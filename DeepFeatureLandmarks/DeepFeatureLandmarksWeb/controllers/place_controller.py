"""Settings and runs: place, progress, cancel, revert."""

from __future__ import annotations

from collections.abc import Callable

from DeepFeatureLandmarksLib.scene.place_request import PlaceRequest
from DeepFeatureLandmarksLib.scene.presets import (
    DEVICES,
    LARGEST_PATCH,
    LARGEST_TOLERANCE_MM,
    deviceNames,
    isMissing,
    layerText,
    networkLabel,
    networkText,
    settingsFor,
    spacingOf,
    toleranceOf,
)
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.unsaved_points import COLOUR, INTERIM, UnsavedPoints
from DeepFeatureLandmarksWeb.session_context import PROPOSED_COLOUR, SessionContext
from DeepFeatureLandmarksWeb.views.appearance import style_markups
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.features import SMALLEST_PATCH
from deepfeatures.matching.settings import MatchSettings

BEST, PAPER, OWN = "best", "paper", "own"  # of `PRESETS`
CANCELLED = "cancelled"


class PlaceController:
    """Starts runs and shows their progress."""

    def __init__(self, context: SessionContext):
        self._context = context
        self._interim_points = UnsavedPoints(context.scene, INTERIM, self._style_interim)
        self._prepared: tuple = (None, None)  # the pair that the worker has read last
        context.refreshers.append(self._refresh)
        context.refreshers.append(self._prepare)
        context.logic.onInterim = self._show_interim
        context.logic.onProgress = self._on_progress
        context.logic.onError = self._on_error
        for name in ("preset", "network", "layer", "patch_size", "intensity", "device", "tolerance"):
            context.server.state.change(getattr(context.typed.name, name))(self._on_setting)

    @property
    def settings(self) -> MatchSettings:
        """As chosen on the page."""
        state = self._context.state
        return settingsFor(
            state.preset,
            device=state.device,
            network=state.network,
            layer=state.layer,
            patchSize=self._patch_size or SMALLEST_PATCH,
            intensity=state.intensity,
            tolerance_mm=toleranceOf(state.tolerance),
            protocol=str(self._context.protocol) if self._context.protocol else None,
        )

    @property
    def _patch_size(self) -> int | None:
        """As typed; `None` where it cannot be used."""
        text = self._context.state.patch_size.strip()
        return int(text) if text.isdecimal() and SMALLEST_PATCH <= int(text) <= LARGEST_PATCH else None

    def place(self) -> None:
        """Place all landmarks."""
        self.request(self._context.logic.place, "Starting …")

    def place_again(self, name: str) -> None:
        """Place one landmark again with the present settings."""
        self.request(lambda request: self._context.logic.placeAgain(request, name), f"Placing {name} again …")

    def cancel(self) -> None:
        self._context.logic.cancel()

    def revert(self) -> None:
        """Revert the last run."""
        changed = self._context.logic.revertLastRun(self._context.output)
        self._context.inform(f"The last run is reverted: {len(changed)} points are where they were before.")
        self._context.refresh()

    def finish(self, run: Run) -> None:
        """Show what a run has placed."""
        context = self._context
        self._clear_interim()
        context.output = run.node
        style_markups(run.node, PROPOSED_COLOUR, context.target.view_ids)
        context.state.is_busy = False
        context.state.tab = "review"
        context.inform(run.summary)

    def prepare_again(self) -> None:
        """What the settings refer to has changed: let the worker find the pose anew, at the next refresh."""
        self._prepared = (None, None)

    def show_catalog(self) -> None:
        """Fill the choices of networks and devices."""
        catalog, state = self._context.logic.catalog, self._context.state
        state.devices = [{"title": DEVICES[name], "value": name} for name in deviceNames(catalog)]
        state.networks = [
            {
                "value": entry["name"],
                "title": networkLabel(entry),
                "text": networkText(entry),
                "layers": entry["layers"],
                "default": entry["default_layer"],
                "props": {"disabled": isMissing(entry)},
            }
            for entry in catalog["networks"]
        ]
        best = catalog["best"]
        state.network = best["network"]
        self._offer_layers()
        state.layer, state.patch_size = best["layer"], str(best["patch_size"])
        self._refresh()

    def request(self, send: Callable[[PlaceRequest], None], text: str) -> None:
        """Send any request to the Logic and show that it is under way; a refusal is shown as an error.

        Args:
            send: Called with the request as the page describes it now.
            text: What the page shows meanwhile.
        """
        context = self._context
        if context.logic.isBusy:  # a second click, before the page has shown the first
            return
        context.stop_marking()  # else points of the target could not be dragged
        try:
            send(context.place_request(self.settings))
        except InputError as error:
            context.warn(str(error))
            return
        state = context.state
        state.is_busy, state.progress, state.progress_text = True, 0.0, text
        state.message = state.notice = ""

    def _show_interim(self, landmarks: LandmarkSet) -> None:
        self._interim_points.show(landmarks)
        self._context.state.interim_updates += 1

    def _style_interim(self, points) -> None:
        style_markups(points, COLOUR, self._context.target.view_ids)

    def _clear_interim(self) -> None:
        self._interim_points.clear()
        self._context.state.interim_updates = 0

    def _on_progress(self, fraction: float, text: str) -> None:
        state = self._context.state
        state.progress, state.progress_text = 100 * fraction, text

    def _on_error(self, sentence: str) -> None:
        self._context.state.is_busy = self._context.logic.isBusy  # the catalog may fail while a run waits
        self._clear_interim()
        if CANCELLED in sentence.lower():
            self._context.inform("Cancelled; nothing was changed.")
        else:
            self._context.warn(sentence)
        self._context.refresh()

    def _on_setting(self, **_) -> None:
        state = self._context.state
        if (state.networks and state.layer not in state.layers) or (state.networks and state.layers != self._layers()):
            self._offer_layers()
        self._refresh()

    def _prepare(self) -> None:
        """Let the worker find the pose of a new pair before it is needed."""
        pair = self._context.template.volume, self._context.target.volume
        if None in pair or pair == self._prepared or self._context.logic.isBusy:
            return
        self._prepared = pair
        self._context.logic.prepare(self._context.place_request(self.settings))

    def _entry(self) -> dict:
        state = self._context.state
        return next((entry for entry in state.networks if entry["value"] == state.network), {})

    def _layers(self) -> list[str]:
        return [layer["name"] for layer in self._entry().get("layers", ()) if layer.get("available", True)]

    def _offer_layers(self) -> None:
        state = self._context.state
        state.layers = self._layers()
        if state.layer not in state.layers:
            state.layer = self._entry().get("default") or next(iter(state.layers), "")

    def _refresh(self) -> None:
        context, state = self._context, self._context.state
        state.validation_message = self._validation_message()
        state.can_revert = context.output is not None and any(
            not run["reverted"] for run in context.logic.history(context.output)
        )
        state.feature_note = self._feature_note()

    def _validation_message(self) -> str:
        context = self._context
        if context.template.volume is None and context.target.volume is None:
            return "Open a template and a target, or try the demo pair."
        if context.template.volume is None:
            return "Open the template: the volume in which you know the landmarks."
        if not context.state.landmarks:
            return "Open the template's landmarks, or mark some in the left views."
        if context.target.volume is None:
            return "Open the target: the volume in which to find the landmarks."
        if context.state.preset == OWN and self._patch_size is None:
            return f"Give a patch size from {SMALLEST_PATCH} to {LARGEST_PATCH} voxels."
        if context.state.tolerance.strip() and toleranceOf(context.state.tolerance) is None:
            return f"Give a tolerance of more than 0 and up to {LARGEST_TOLERANCE_MM:.0f} mm, or none."
        return context.logic.validationMessage(context.place_request(self.settings))

    def _feature_note(self) -> str:
        state = self._context.state
        if state.preset == BEST:
            return "The best measured settings: a search from coarse to fine. There is nothing to choose."
        if state.preset == PAPER:
            used = self.settings
            return (
                f"The paper's greedy search: {used.network}, layer {used.layer}, patches of {used.patch_size} voxels. "
                "It takes minutes and is less accurate."
            )
        entry, spacing_mm = self._entry(), spacingOf(self._context.template.volume)
        layer = next((layer for layer in entry.get("layers", ()) if layer["name"] == state.layer), None)
        if layer is None:
            return entry.get("text", "")
        edge = f" Patch: {self._patch_size * spacing_mm:.0f} mm wide." if spacing_mm and self._patch_size else ""
        return f"{entry['text']} Layer: {layerText(layer, spacing_mm)}{edge}"
