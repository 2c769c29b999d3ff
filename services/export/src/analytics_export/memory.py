"""How the C library keeps the memory of this process."""

import ctypes
from contextlib import suppress

from analytics_export.limits import MEBIBYTE

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def give_freed_memory_back() -> None:
    """Have parts of files come from the system and go back to it, for the life of the process; where this is glibc.

    Each call to the storage runs in a thread of its own. glibc gives threads pools of their own, up to eight for each
    core, and none can use what another has free; and after the first freed part it would keep the next ones, up to
    32 MiB each, in a pool that only shrinks from its end.
    """
    with suppress(AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, MEBIBYTE)
