"""Keys that work while the module is open, and only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt


class Shortcuts:
    """Keys of the main window.

    Args:
        actions: What each key does, by the key's name such as `"N"`.
        window: Gives the main window; asked at `install`, as there is none while Slicer starts.
    """

    def __init__(self, actions: Mapping[str, Callable[[], None]], window: Callable):
        self._actions = dict(actions)
        self._window = window
        self._installed: list = []

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys that work at the moment."""
        return tuple(self._actions) if self._installed else ()

    def install(self) -> None:
        """Make the keys work; calling it twice changes nothing."""
        window = self._window()
        if self._installed or window is None:
            return
        for key, action in self._actions.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.activated.connect(action)
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Stop the keys from working here."""
        for shortcut in self._installed:
            shortcut.setEnabled(False)  # at once; Qt deletes it only when it gets to it
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._installed = []
