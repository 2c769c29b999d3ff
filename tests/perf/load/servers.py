"""The servers that benchmarks measure: a stack of its own, its database with memory as an operator's has."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.stack import Servers, start_servers
from tools.devstack.postgres import shared_buffers_mb

# The servers as `./tools/dev up` sets them up, disks synced, and not as the tests have them.
STACK = "bench"

HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
HUGE_PAGE_MB = 2
# All modes, the one in force in brackets.
TRANSPARENT_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Free memory in small pieces makes no huge page; this puts it together.
COMPACT = Path("/proc/sys/vm/compact_memory")
# Beside its pages PostgreSQL shares locks, log buffers and a table of the pages.
SHARED_BESIDE = 1.1


def transparent_huge_pages() -> str:
    """The kernel's mode for memory of processes that ask for nothing: `always`, `madvise` or `never`; `?` elsewhere."""
    try:
        return TRANSPARENT_HUGE_PAGES.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "?"


def bench_servers() -> Servers:
    """The running bench stack. Who may reserve huge pages (root) has them used by a database that starts now."""
    with _huge_pages(int(shared_buffers_mb(STACK) * SHARED_BESIDE) // HUGE_PAGE_MB):
        return start_servers(STACK)


@contextmanager
def _huge_pages(count: int) -> Iterator[None]:
    """Reserves so many for a process that starts meanwhile; those that it took are the machine's again when it ends."""
    try:
        before = HUGE_PAGES.read_text()
        COMPACT.write_text("1")
        HUGE_PAGES.write_text(str(int(before) + count))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            HUGE_PAGES.write_text(before)
