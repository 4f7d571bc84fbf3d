"""The one error that users see, and what it says."""

import errno
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What allocators say: PyTorch on Linux and macOS ("can't allocate memory"), on Windows ("not enough memory: you tried
# to allocate"), with CUDA and MPS ("out of memory", "Invalid buffer size"), ITK ("Failed to allocate memory"), C++.
NO_MEMORY = re.compile(
    r"out of memory|not enough memory|(?:can'?t|cannot|could not|couldn't|failed to|unable to) allocate"
    r"|bad.alloc|_status_alloc_failed|invalid buffer size",
    re.IGNORECASE,
)

LONGEST_QUOTE = 40  # characters


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the cause and the way out; the command line prints it alone and exits with 2.
    """


def quoted(value: object) -> str:
    """What a file says, as messages cite it: in quotes, on one line and not longer than it needs to be recognised."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"


def damaged(path: Path) -> InputError:
    """The error of a file that is not whole."""
    return InputError(f"{path} is cut short or damaged; copy or export it again")


def sheared(path: Path) -> InputError:
    """The error of a volume whose grid is not rectangular."""
    return InputError(
        f"{path} has axes that are not at right angles; resample it to a rectangular grid, for example in 3D Slicer"
    )


def no_geometry(path: Path) -> InputError:
    """The error of a volume whose header does not say where its voxels lie."""
    return InputError(f"{path} has no usable voxel size or position; export it again with its geometry")


def stated_twice(path: Path, name: str) -> InputError:
    """The error of a file whose header gives one field two values."""
    return InputError(f"{path} states {quoted(name)} twice, and differently; export it again, or correct its header")


def not_finite(path: Path | str, voxels: int) -> InputError:
    """The error of a volume with so many voxels that are NaN or infinite."""
    return InputError(
        f"{path} holds {voxels} {'voxel that is' if voxels == 1 else 'voxels that are'} not finite float32 numbers; "
        "replace NaN and infinity, for example by the background's value"
    )


def out_of_memory(subject: str) -> str:
    """The sentence for a volume, or whatever it was, for which there was not enough memory."""
    return f"not enough memory for {subject}; close other programs, or crop the volume or resample it to larger voxels"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, PyTorch on any device, or ITK could not get the memory that it asked for."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error))))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the fault of the file, but for want of memory; packages may not warn of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # readers of other packages meet what they did not expect in many ways
        if is_out_of_memory(error):
            raise MemoryError(str(path)) from error
        raise damaged(path) from error
