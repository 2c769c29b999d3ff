"""What leaves this library.

PublishError
├── InvalidEvent     (also a ValueError) the event breaks the contract; nothing was sent
├── NotConfirmed     not everything was confirmed; `bodies` holds exactly what was not
├── PublisherClosed  `publish` outside of the publisher's `with` block
└── Refused          the HTTP API said no, for a reason that trying again does not mend
"""

from collections.abc import Sequence


class PublishError(Exception):
    """The root of this library's errors."""


class InvalidEvent(PublishError, ValueError):
    """The event breaks the contract: the message names the field."""


class PublisherClosed(PublishError):
    """The publisher is not open: it takes events only inside its `with` block."""


class NotConfirmed(PublishError):
    """The service has not said that it has these events.

    It may have some of them all the same. Publishing `bodies` again is always right: an event that arrives twice is
    counted once, by its event id.
    """

    def __init__(self, bodies: Sequence[bytes], problem: str | None) -> None:
        super().__init__(f"{len(bodies)} events are not confirmed" + (f": {problem}" if problem else ""))
        self.bodies = list(bodies)
        self.problem = problem


class Refused(PublishError):
    """An HTTP answer that no repetition changes, such as 401, 403 or 422; `problem` is its body."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(f"HTTP {status}: {problem}")
        self.status = status
        self.problem = problem
