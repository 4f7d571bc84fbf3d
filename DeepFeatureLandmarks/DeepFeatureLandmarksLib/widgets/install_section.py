"""The Install section: the missing packages, and one button."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import slicer

from DeepFeatureLandmarksLib.widgets.package_installer import Installer
from deepfeatures.errors import InputError


class InstallSection:
    """Lists missing packages and installs them.

    Args:
        ui: The widgets of the .ui file.
        installer: Finds and installs packages.
        onInstalled: Called once everything is there.
        showError: Shows a sentence.
    """

    def __init__(
        self,
        ui,
        installer: Installer,
        onInstalled: Callable[[], None],
        showError: Callable[[str], None] = slicer.util.errorDisplay,
    ):
        self._ui = ui
        self._installer = installer
        self._onInstalled = onInstalled
        self._showError = showError
        self._missing = ()
        ui.installButton.clicked.connect(lambda *_: self.install())
        self.refresh()

    @property
    def unavailableReason(self) -> str:
        """Why nothing can be placed yet; empty where all is there."""
        names = ", ".join(package.name for package in self._missing)
        return f"Packages are missing ({names}): open Install, below, and click the button." if names else ""

    def refresh(self) -> None:
        """Look again for what is missing."""
        self._missing = self._installer.missing()
        if self._missing:
            listed = "".join(f"<li><b>{escape(p.name)}</b>: {escape(p.purpose)}</li>" for p in self._missing)
            self._ui.installLabel.setText(f"This module needs these packages, once:<ul>{listed}</ul>")
            self._ui.installSection.setProperty("collapsed", False)
        else:
            self._ui.installLabel.setText("Everything that this module needs is installed.")
        self._ui.installButton.setVisible(bool(self._missing))

    def install(self) -> None:
        try:
            isComplete = self._installer.install()
        except InputError as error:
            isComplete = False
            self._showError(str(error))
        self.refresh()
        if isComplete:
            self._onInstalled()
