"""An installer that needs no network."""

from __future__ import annotations


class FakeInstaller:
    """Says that nothing, or what is given, is missing; installs by forgetting it."""

    def __init__(self, missing=()):
        self._missing = tuple(missing)
        self.installs = 0

    def missing(self) -> tuple:
        return self._missing

    def install(self) -> bool:
        self.installs += 1
        self._missing = ()
        return True
