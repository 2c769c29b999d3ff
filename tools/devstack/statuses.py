"""How a component is told to be, whatever runs it."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ready", "unwell", "dead", "stopped"]


@dataclass(frozen=True)
class ComponentStatus:
    """`unwell`: runs but does not answer; `dead`: was started and is gone; `stopped`: was not started.

    `outdated` is true when the running program is not what the checkout would start now.
    """

    component: str
    state: State
    health: str
    pid: int | None
    uptime_s: int | None
    ports: dict[str, int]
    url: str
    outdated: bool
