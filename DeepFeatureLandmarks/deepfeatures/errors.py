"""The one error that users see."""

from pathlib import Path


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the cause and the way out; the command line prints it alone and exits with 2.
    """


def damaged(path: Path) -> InputError:
    return InputError(f"{path} is cut short or damaged; copy or export it again")


def sheared(path: Path) -> InputError:
    return InputError(
        f"{path} has axes that are not at right angles; resample it to a rectangular grid, for example in 3D Slicer"
    )


def not_finite(path: Path, voxels: int) -> InputError:
    return InputError(
        f"{path} holds {voxels} voxels that are not finite float32 numbers; "
        "replace NaN and infinity, for example by the background's value"
    )
