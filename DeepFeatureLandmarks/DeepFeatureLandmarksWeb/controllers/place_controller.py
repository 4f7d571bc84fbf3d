"""Settings and runs: place, watch, cancel, take back."""

from __future__ import annotations

from DeepFeatureLandmarksLib.scene.interim_points import COLOUR as SETTLING_COLOUR
from DeepFeatureLandmarksLib.scene.interim_points import Settling
from DeepFeatureLandmarksLib.scene.logic import Run
from DeepFeatureLandmarksLib.scene.presets import (
    DEVICES,
    LARGEST_PATCH,
    SMALLEST_PATCH,
    deviceNames,
    isMissing,
    layerText,
    networkLabel,
    networkText,
    settingsFor,
    spacingOf,
)
from DeepFeatureLandmarksWeb.session_context import PROPOSED_COLOUR, Desk
from DeepFeatureLandmarksWeb.views.appearance import style_markups
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError
from deepfeatures.service.protocol import PlaceSettings

BEST, PAPER, OWN = "best", "paper", "own"  # of `PRESETS`
CANCELLED = "cancelled"


class Placing:
    """Runs the Logic and tells the page how far it is."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._settling = Settling(desk.scene, self._style_settling)
        self._prepared: tuple = (None, None)  # volumes that the worker has been told of
        desk.changed.append(self._tell)
        desk.changed.append(self._prepare)
        desk.logic.onSettling = self._show_settling
        desk.logic.onProgress = self._on_progress
        desk.logic.onError = self._on_error
        for name in ("preset", "network", "layer", "patch_size", "device"):
            desk.server.state.change(getattr(desk.typed.name, name))(self._on_setting)

    @property
    def settings(self) -> PlaceSettings:
        """What the page says."""
        state = self._desk.state
        return settingsFor(state.preset, state.network, state.layer, self._patch_size or SMALLEST_PATCH, state.device)

    @property
    def _patch_size(self) -> int | None:
        """As typed; `None` where it cannot be used."""
        text = self._desk.state.patch_size.strip()
        return int(text) if text.isdecimal() and SMALLEST_PATCH <= int(text) <= LARGEST_PATCH else None

    def place(self) -> None:
        """Place all landmarks."""
        self._ask(lambda placement: self._desk.logic.place(placement), "Starting …")

    def place_again(self, name: str) -> None:
        """Place one landmark again with the settings of now."""
        self._ask(lambda placement: self._desk.logic.placeAgain(placement, name), f"Placing {name} again …")

    def cancel(self) -> None:
        self._desk.logic.cancel()

    def revert(self) -> None:
        """Take the last run back."""
        changed = self._desk.logic.revertLastRun(self._desk.output)
        self._desk.inform(f"The last run is undone: {len(changed)} points are where they were before.")
        self._desk.refresh()

    def request(self, ask, text: str) -> None:
        """Send any request to the Logic and show that it is on its way.

        Args:
            ask: Called with the `Placement` of now.
            text: What the page says meanwhile.
        """
        self._ask(ask, text)

    def finish(self, run: Run) -> None:
        """Show what a run has placed."""
        desk = self._desk
        self._end_settling()
        desk.output = run.node
        style_markups(run.node, PROPOSED_COLOUR, desk.target.view_ids)
        desk.state.is_busy = False
        desk.state.tab = "review"
        parts = [f"{len(run.placed)} placed in {max(1, round(run.seconds))} s"]
        if run.missing:
            parts.append(f"{len(run.missing)} not found: {run.missingText}")
        if run.kept:
            parts.append(f"{len(run.kept)} left as you had them")
        desk.inform("; ".join(parts) + ".")

    def show_catalog(self) -> None:
        """Fill the choices of networks and devices."""
        catalog, state = self._desk.logic.catalog, self._desk.state
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
        self._tell()

    def _ask(self, request, text: str) -> None:
        desk = self._desk
        if desk.logic.isBusy:  # a second click, before the page has heard of the first
            return
        desk.stop_marking()  # points of the target could not be dragged
        try:
            request(desk.placement(self.settings))
        except InputError as error:
            desk.warn(str(error))
            return
        state = desk.state
        state.is_busy, state.progress, state.progress_text = True, 0.0, text
        state.message = state.notice = ""

    def _show_settling(self, landmarks: LandmarkSet) -> None:
        self._settling.show(landmarks)
        self._desk.state.settling += 1

    def _style_settling(self, points) -> None:
        style_markups(points, SETTLING_COLOUR, self._desk.target.view_ids)

    def _end_settling(self) -> None:
        self._settling.end()
        self._desk.state.settling = 0

    def _on_progress(self, fraction: float, text: str) -> None:
        state = self._desk.state
        state.progress, state.progress_text = 100 * fraction, text

    def _on_error(self, sentence: str) -> None:
        self._desk.state.is_busy = self._desk.logic.isBusy  # the catalog may fail while a run waits
        self._end_settling()
        if CANCELLED in sentence.lower():
            self._desk.inform("Cancelled; nothing was changed.")
        else:
            self._desk.warn(sentence)
        self._desk.refresh()

    def _on_setting(self, **_) -> None:
        state = self._desk.state
        if (state.networks and state.layer not in state.layers) or (state.networks and state.layers != self._layers()):
            self._offer_layers()
        self._tell()

    def _prepare(self) -> None:
        """Let the worker find the pose of a new pair while people are still looking at it."""
        pair = self._desk.template.volume, self._desk.target.volume
        if None in pair or pair == self._prepared or self._desk.logic.isBusy:
            return
        self._prepared = pair
        self._desk.logic.prepare(self._desk.placement(self.settings))

    def _entry(self) -> dict:
        return next((entry for entry in self._desk.state.networks if entry["value"] == self._desk.state.network), {})

    def _layers(self) -> list[str]:
        return [layer["name"] for layer in self._entry().get("layers", ()) if layer.get("available", True)]

    def _offer_layers(self) -> None:
        state = self._desk.state
        state.layers = self._layers()
        if state.layer not in state.layers:
            state.layer = self._entry().get("default") or next(iter(state.layers), "")

    def _tell(self) -> None:
        desk, state = self._desk, self._desk.state
        state.why_not = self._why_not()
        state.can_revert = desk.output is not None and any(
            not run["reverted"] for run in desk.logic.history(desk.output)
        )
        state.feature_note = self._note()

    def _why_not(self) -> str:
        desk = self._desk
        if desk.template.volume is None and desk.target.volume is None:
            return "Open a template and a target, or try the demo pair."
        if desk.template.volume is None:
            return "Open the template: the volume in which you know the landmarks."
        if not desk.state.landmarks:
            return "Open the template's landmarks, or mark some in the left views."
        if desk.target.volume is None:
            return "Open the target: the volume in which to find the landmarks."
        if desk.state.preset == OWN and self._patch_size is None:
            return f"Give a patch size from {SMALLEST_PATCH} to {LARGEST_PATCH} voxels."
        return desk.logic.whyNot(desk.placement(self.settings))

    def _note(self) -> str:
        state = self._desk.state
        if state.preset == BEST:
            return "The best that was measured: a search from coarse to fine. Nothing to choose."
        if state.preset == PAPER:
            used = self.settings
            return (
                f"The paper's greedy search: {used.network}, layer {used.layer}, patches of {used.patch_size} voxels. "
                "It takes minutes, and is less exact."
            )
        entry, spacing_mm = self._entry(), spacingOf(self._desk.template.volume)
        layer = next((layer for layer in entry.get("layers", ()) if layer["name"] == state.layer), None)
        if layer is None:
            return entry.get("text", "")
        edge = f" Patch: {self._patch_size * spacing_mm:.0f} mm wide." if spacing_mm and self._patch_size else ""
        return f"{entry['text']} Layer: {layerText(layer, spacing_mm)}{edge}"
