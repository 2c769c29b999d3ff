"""What can go wrong on somebody's machine, always said together with the way out."""


class StackError(Exception):
    """Ends the command with exit code 1; `message` says what is wrong, `way_out` what the user can do."""

    def __init__(self, message: str, way_out: str) -> None:
        super().__init__(f"{message}\n{way_out}")
        self.message = message
        self.way_out = way_out


class Interrupted(BaseException):
    """The user (or the system) asked the running command to stop; what it started is stopped before it ends.

    Not an Exception, so that no `except Exception` on the way swallows it.
    """
