"""How the C library keeps the memory of this process."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8


def keep_one_arena() -> None:
    """Have all threads take their memory from one pool; for the life of the process, where the C library is glibc.

    Each call to the storage runs in a thread of its own, and each thread would otherwise keep freed parts of files in
    one of eight pools for every core: what one pool has free is of no use to the others.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
