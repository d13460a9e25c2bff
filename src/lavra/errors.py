"""The one exception that a user's input or environment can cause.

Everything else that escapes is a fault of Lavra's and deserves its traceback.
"""


def why(error: Exception) -> str:
    """An error of the system without its number and the file's name, which the sentence around it says."""
    return str(getattr(error, "strerror", None) or error)


class LavraError(Exception):
    """What happened, where, and what to do, in one sentence.

    The command line prints the sentence and exits with code 2 (``--debug`` shows the traceback); the server
    answers with it as an error body. ``status`` is the HTTP status a server should use for it.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
