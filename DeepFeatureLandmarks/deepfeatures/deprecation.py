"""Names of version 0.1 keep working for one version, with a warning that names the new one."""

from __future__ import annotations

import warnings


def warn_renamed(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name has changed.

    Args:
        old: The former name.
        new: The name to use.
        stacklevel: As of `warnings.warn`, seen from the function that calls this one.
    """
    message = f"{old} is now {new}; the old name will be removed in the next version"
    warnings.warn(message, DeprecationWarning, stacklevel + 1)
