"""The module's widget: its sections together, updated with the scene."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.util import VTKObservationMixin

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.review import ReviewRow
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.unsaved_points import COLOUR, INTERIM, UnsavedPoints
from DeepFeatureLandmarksLib.widgets.activation_section import ActivationSection
from DeepFeatureLandmarksLib.widgets.alternatives_section import AlternativesSection
from DeepFeatureLandmarksLib.widgets.features_section import FeaturesSection, settingsOf
from DeepFeatureLandmarksLib.widgets.install_section import InstallSection
from DeepFeatureLandmarksLib.widgets.layout import TARGET, SideBySideLayout
from DeepFeatureLandmarksLib.widgets.learning_section import LearningSection
from DeepFeatureLandmarksLib.widgets.notes_section import NotesSection
from DeepFeatureLandmarksLib.widgets.package_installer import Installer
from DeepFeatureLandmarksLib.widgets.parameters import Parameters, parameterNode
from DeepFeatureLandmarksLib.widgets.place_section import PlaceSection, placeRequestOf
from DeepFeatureLandmarksLib.widgets.point_marking import PointMarking
from DeepFeatureLandmarksLib.widgets.point_overlays import PointOverlays
from DeepFeatureLandmarksLib.widgets.quality_section import QualitySection
from DeepFeatureLandmarksLib.widgets.review_section import ReviewSection
from DeepFeatureLandmarksLib.widgets.shortcuts import Shortcuts
from DeepFeatureLandmarksLib.widgets.template_check_section import TemplateCheckSection
from DeepFeatureLandmarksLib.widgets.transform_section import TransformSection
from deepfeatures.errors import InputError

REFRESH_MS = 50
FAINT = 0.5  # opacity of points that lie in another place


class ModuleWidget(VTKObservationMixin):
    """All sections of the module.

    Args:
        ui: The widgets of the .ui file, by name.
        scene: vtkMRMLScene.
        logic: Places landmarks and keeps their review.
        installer: Finds and installs missing packages.
        window: Gives the main window, whose keys are used.
    """

    def __init__(
        self,
        ui,
        scene,
        logic: DeepFeatureLandmarksLogic,
        installer: Installer,
        window: Callable = slicer.util.mainWindow,
    ):
        super().__init__()
        self._ui = ui
        self._scene = scene
        self._logic = logic
        self._parameters: Parameters | None = None
        self._guiTag = None
        self._isEntered = False
        self._isRefreshing = False
        self._refreshTimer = qt.QTimer()
        self._refreshTimer.setSingleShot(True)
        self._refreshTimer.setInterval(REFRESH_MS)
        self._refreshTimer.timeout.connect(lambda: self._refresh())
        self.isStale = False  # whether a refresh will follow
        self._prepared: tuple = (None, None)  # the pair that the worker has read last
        self._observed: dict = {}  # the events of each node that is observed
        self.layout = SideBySideLayout(scene, onClosed=lambda: ui.sideBySideButton.setChecked(False))
        self.interimPoints = UnsavedPoints(scene, INTERIM, self._styleInterimPoints)
        self.overlays = PointOverlays(ui, scene, self._placed, lambda node: self.layout.restrictTo(node, TARGET))
        self._marking = PointMarking(onStopped=lambda: ui.placePointsButton.setChecked(False))
        self.install = InstallSection(ui, installer, onInstalled=self._askForCatalog)
        self.notes = NotesSection(ui)
        self.features = FeaturesSection(ui)
        self.review = ReviewSection(ui, logic, onSelected=self._goTo)
        self.place = PlaceSection(ui, logic, lambda: self.install.unavailableReason, self._selectedName)
        self.learning = LearningSection(ui, logic, self.place.run, self._canAsk, self.review)
        self.alternatives = AlternativesSection(
            ui, logic, scene, self._styleOtherPoints, self._onTaken, self.place.showMessage
        )
        self.activations = ActivationSection(ui, logic, self.layout, self.place.run)
        self.quality = QualitySection(ui, logic)
        self.transform = TransformSection(ui, logic, self.layout, self.place.run, self.place.showMessage)
        self.templateCheck = TemplateCheckSection(ui, logic, self.place.run, lambda: settingsOf(self._parameters))
        self.shortcuts = Shortcuts({"N": self.review.next, "A": self.review.accept, "X": self.review.reject}, window)
        logic.onProgress = self.place.showProgress
        logic.onInterim = self.interimPoints.show
        logic.onFinished = self._onFinished
        logic.onError = self._onError
        ui.sideBySideButton.toggled.connect(self._onSideBySide)
        ui.placePointsButton.toggled.connect(self._onMarking)
        ui.revertButton.clicked.connect(lambda *_: self._revert())
        for event, react in (
            (scene.StartCloseEvent, self._onSceneAboutToChange),
            (scene.EndCloseEvent, self._onSceneChanged),
            (scene.StartImportEvent, self._onSceneAboutToChange),
            (scene.EndImportEvent, self._onSceneChanged),
        ):
            self.addObserver(scene, event, react)
        self.setParameters(parameterNode(scene))

    @property
    def parameters(self) -> Parameters | None:
        return self._parameters

    def enter(self) -> None:
        """The user has opened the module."""
        self._isEntered = True
        if self._parameters is None:
            self.setParameters(parameterNode(self._scene))
        self.shortcuts.install()
        self.install.refresh()
        if not self.install.unavailableReason:
            self._askForCatalog()
        self.learning.readAgain()
        self._refresh()

    def exit(self) -> None:
        """The user has opened another module: a run continues; keys and clicks no longer act here."""
        self._isEntered = False
        self.shortcuts.remove()
        self._ui.placePointsButton.setChecked(False)

    def cleanup(self) -> None:
        """The widget is deleted."""
        self.exit()
        self.layout.hide()
        self.place.close()
        self.setParameters(None)
        self._refreshTimer.stop()
        self._clearUnsaved()
        self.removeObservers()
        self._logic.close()

    def setParameters(self, parameters: Parameters | None) -> None:
        """Bind all sections to another parameter node, or to none."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._guiTag)
            self._parameters.removeObservers()
        self._parameters = parameters
        last = self.activations, self.quality, self.transform
        for section in (self.notes, self.features, self.place, self.learning, *last):
            section.setParameters(parameters)
        if parameters is not None:
            self._guiTag = parameters.connectGui(self._ui)
            parameters.AddObserver("ModifiedEvent", self._onParametersModified)
            self._resumeLayout()
        self._refresh()

    def _refresh(self) -> None:
        """Update all sections from the scene."""
        if self._isRefreshing:
            return
        self._refreshTimer.stop()
        self.isStale = False
        self._isRefreshing = True
        try:
            self._observeNodes()
            self.notes.refresh()
            self.features.refresh()
            self.review.setOutput(self._node("targetLandmarks"))
            self.alternatives.setOutput(self._node("targetLandmarks"))
            self.place.refresh()
            self.learning.refresh()
            self.activations.refresh()
            self.quality.refresh()
            self.transform.refresh()
            self._ui.revertButton.setEnabled(self._canRevert())
            if self.layout.isShown:
                self._showSideBySide()
            self.overlays.refresh()
            self._prepare()
        finally:
            self._isRefreshing = False

    def _canAsk(self) -> bool:
        """Whether the worker may be asked ahead of what a person asks for."""
        return self._isEntered and not self.install.unavailableReason

    def _prepare(self) -> None:
        """Let the worker read a newly chosen pair before it is needed."""
        pair = self._node("templateVolume"), self._node("targetVolume")
        if None in pair or pair == self._prepared or not self._canAsk() or self._logic.isBusy:
            return
        self._prepared = pair
        self._logic.prepare(placeRequestOf(self._parameters))

    def _observeNodes(self) -> None:
        """Observe points, which are set, dragged, renamed and locked in the views, and the volumes' transforms."""
        markups, transformable = slicer.vtkMRMLMarkupsNode, slicer.vtkMRMLTransformableNode
        ofPoints = (
            markups.PointPositionDefinedEvent,
            markups.PointRemovedEvent,
            markups.PointModifiedEvent,
            markups.PointEndInteractionEvent,
            markups.LockModifiedEvent,
            "ModifiedEvent",
        )
        ofVolumes = (transformable.TransformModifiedEvent, "ModifiedEvent")
        wanted = {self._node(name): ofPoints for name in ("templateLandmarks", "targetLandmarks")}
        wanted |= {self._node(name): ofVolumes for name in ("templateVolume", "targetVolume")}
        wanted.pop(None, None)
        for node in self._observed.keys() - wanted.keys():
            for event in self._observed[node]:
                self.removeObserver(node, event, self._onNodeModified)
        for node, events in wanted.items():
            for event in events:
                if not self.hasObserver(node, event, self._onNodeModified):
                    self.addObserver(node, event, self._onNodeModified)
        self._observed = wanted

    def _node(self, name: str):
        return getattr(self._parameters, name) if self._parameters is not None else None

    def _canRevert(self) -> bool:
        output = self._node("targetLandmarks")
        return output is not None and any(not run["reverted"] for run in self._logic.history(output))

    def _revert(self) -> None:
        try:
            changed = self._logic.revertLastRun(self._node("targetLandmarks"))
        except InputError as error:
            self.place.showMessage(str(error))
            return
        self.place.stop(f"{len(changed)} points are back where they were.")
        self._refresh()

    def _onTaken(self, run: Run) -> None:
        self.place.stop(run.summary)
        self._refresh()
        self.review.select(self.review.selectedRow.index if self.review.selectedRow is not None else None)

    def _placed(self) -> tuple:
        """The placed points, the target, and the rows of the review."""
        return self._node("targetLandmarks"), self._node("targetVolume"), self.review.rows

    def _selectedName(self) -> str | None:
        row = self.review.selectedRow
        return row.name if row is not None else None

    def _goTo(self, row: ReviewRow) -> None:
        """Show a landmark in template and target."""
        self.layout.jump(
            _positionOf(self._node("templateLandmarks"), row.name), _positionOf(self._node("targetLandmarks"), row.name)
        )
        self.activations.choose(row.name)
        self.learning.showDefinition()
        self.place.refresh()

    def _styleInterimPoints(self, points) -> None:
        """Yellow, without names, and on the target's side where there are sides."""
        display = points.GetDisplayNode()
        display.SetSelectedColor(*COLOUR)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        self.layout.restrictTo(points, TARGET)

    def _styleOtherPoints(self, points) -> None:
        """As interim points, but faint and with names: they are compared with those that are placed."""
        display = points.GetDisplayNode()
        display.SetSelectedColor(*COLOUR)
        display.SetOpacity(FAINT)
        display.SetPropertiesLabelVisibility(False)
        self.layout.restrictTo(points, TARGET)

    def _onFinished(self, run: Run) -> None:
        self.interimPoints.clear()
        if run.kind == "catalog":
            self.features.setCatalog(self._logic.catalog)
            self._refresh()
            return
        if run.protocol is not None:
            self._onProtocol(run)
        elif run.template is not None:
            self._parameters.templateVolume, self._parameters.templateLandmarks = run.template
            self.place.stop(run.summary)
        elif run.kind in ("place", "placeAgain"):
            self._parameters.targetLandmarks = run.node
            self.place.stop(run.summary)
            self._ui.reviewSection.setProperty("collapsed", False)
            if not self.layout.isShown:
                self._ui.sideBySideButton.setChecked(True)
            self._refresh()
            if run.kind == "place":
                self.review.next()
        elif run.kind in TransformSection.RUNS:
            self.place.stop(run.summary)
            self.transform.show(run)
        elif run.kind == "templateCheck":
            self.place.stop("")
            self.templateCheck.show(run.check)
        else:
            self.place.stop("")
            self.activations.show(run)

    def _onProtocol(self, run: Run) -> None:
        """A file was read, extended or shortened."""
        self.learning.show(run)
        if run.kind != "protocol":
            self.place.stop(run.summary)
            self._prepared = None, None  # what was learnt counts from the next run on
            self._refresh()

    def _onError(self, message: str) -> None:
        self.interimPoints.clear()
        self.place.stop(message)
        self._refresh()

    def _askForCatalog(self) -> None:
        if self._logic.catalog is None:
            self._logic.requestCatalog()

    def _onSideBySide(self, isWanted: bool) -> None:
        if isWanted:
            self._showSideBySide()
        else:
            self.layout.hide()

    def _resumeLayout(self) -> None:
        """Restore a saved side-by-side layout, or show points in all views where they would be hidden."""
        if self.layout.isRestored:
            self._ui.sideBySideButton.setChecked(True)
        elif not self.layout.isShown:
            for points in filter(None, map(self._node, ("templateLandmarks", "targetLandmarks"))):
                self.layout.showInAllViews(points)

    def _showSideBySide(self) -> None:
        self.layout.show(*map(self._node, ("templateVolume", "targetVolume", "templateLandmarks", "targetLandmarks")))

    def _onMarking(self, isWanted: bool) -> None:
        if not isWanted:
            self._marking.stop()
            return
        if self._parameters.templateLandmarks is None:
            self._parameters.templateLandmarks = self._scene.AddNewNodeByClass(
                "vtkMRMLMarkupsFiducialNode", "Landmarks"
            )
        self._ui.sideBySideButton.setChecked(True)
        self._marking.start(self._parameters.templateLandmarks)

    def _clearUnsaved(self) -> None:
        """Remove what is only looked at."""
        for shown in (self.interimPoints, self.alternatives, self.overlays):
            shown.clear()

    def _onParametersModified(self, *_) -> None:
        self._refresh()

    def _onNodeModified(self, *_) -> None:
        """Nodes change often, for example while points are dragged: one refresh for all changes of that time."""
        if not self.isStale:
            self.isStale = True
            self._refreshTimer.start()

    def _onSceneAboutToChange(self, *_) -> None:
        if self._logic.isBusy:
            self._logic.cancel()
        self._clearUnsaved()
        self._ui.placePointsButton.setChecked(False)
        self._ui.sideBySideButton.setChecked(False)
        self._prepared = None, None
        self.setParameters(None)

    def _onSceneChanged(self, *_) -> None:
        if self._isEntered:
            self.setParameters(parameterNode(self._scene))


def _positionOf(points, name: str) -> tuple[float, float, float] | None:
    """World RAS mm of the first defined point of that name."""
    if points is None:
        return None
    for n in range(points.GetNumberOfControlPoints()):
        if points.GetNthControlPointLabel(n) == name:
            defined = points.GetNthControlPointPositionStatus(n) == points.PositionDefined
            return tuple(points.GetNthControlPointPositionWorld(n)) if defined else None
    return None
