"""Packages that the module needs beyond Slicer's own: they are installed after a person has agreed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, version

import slicer

from deepfeatures.errors import InputError


@dataclass(frozen=True)
class Package:
    """A package of PyPI.

    Args:
        name: On PyPI.
        requirement: As pip reads it.
        purpose: What it is needed for, and how large it is.
    """

    name: str
    requirement: str
    purpose: str


TORCH = Package("torch", ">=2.4", "computes the features (PyTorch, by Slicer's PyTorch extension; 0.2 to 3 GB)")
PACKAGES = (
    Package("safetensors", "safetensors>=0.4", "reads network weights (under 1 MB)"),
    Package("pandas", "pandas>=2.1", "compares points with a person's (12 MB)"),
    Package("platformdirs", "platformdirs>=4", "finds the folder for weights (under 1 MB)"),
)
REQUESTER = "Deep Feature Landmarks"


class Installer:
    """Finds missing packages, and installs them after a person has agreed.

    Args:
        ask: Shows a text and returns whether the person agrees.
    """

    def __init__(self, ask: Callable[[str], bool] | None = None):
        self._ask = ask or (lambda text: slicer.util.confirmOkCancelDisplay(text, windowTitle=REQUESTER))

    def missing(self) -> tuple[Package, ...]:
        """Packages that are not there; nothing is imported to find out."""
        invalidate_caches()
        return tuple(package for package in (TORCH, *PACKAGES) if not _isInstalled(package.name))

    def install(self) -> bool:
        """Ask, then install what is missing.

        Returns:
            Whether everything is there now; False where the person said no.

        Raises:
            InputError: It could not be installed.
        """
        missing = self.missing()
        if not missing:
            return True
        listed = "\n".join(f"• {package.name}: {package.purpose}" for package in missing)
        if not self._ask(f"These packages will be downloaded from the internet and added to 3D Slicer:\n\n{listed}"):
            return False
        if TORCH in missing:
            _installTorch()
        others = [package.requirement for package in missing if package is not TORCH]
        if others:
            _pip(others)
        if still := self.missing():
            raise InputError(f"{', '.join(p.name for p in still)} could not be installed; see the Python console.")
        return True


def _isInstalled(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _installTorch() -> None:
    """PyTorch as its Slicer extension chooses it for the machine's GPU."""
    try:
        import PyTorchUtils
    except ImportError:
        raise InputError(
            "Slicer's PyTorch extension is not there; install “PyTorch” in the Extensions Manager, restart Slicer, and"
            " click Install again."
        ) from None
    with _asInputError("PyTorch"):
        logic = PyTorchUtils.PyTorchUtilsLogic()
        torch = logic.installTorch(askConfirmation=False, torchVersionRequirement=TORCH.requirement)
    if torch is None:
        raise InputError("PyTorch could not be installed; see the Python console, or install it by PyTorch Utils.")


def _pip(requirements: list[str]) -> None:
    with _asInputError(" ".join(requirements)):
        if packaging := _slicerPackaging():
            packaging.pip_ensure(requirements, requester=REQUESTER, prompt_install=False)
        else:
            slicer.util.pip_install(requirements)


@contextmanager
def _asInputError(what: str):
    try:
        yield
    except Exception as error:  # pip's process fails in many ways
        raise InputError(f"{what} could not be installed ({error}); check the network.") from error


def _slicerPackaging():
    """Slicer's own package installer, which came with 5.11."""
    try:
        import slicer.packaging
    except ImportError:
        return None
    return slicer.packaging
