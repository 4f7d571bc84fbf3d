"""The one error that users see."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the cause and the way out; the command line prints it alone and exits with 2.
    """
