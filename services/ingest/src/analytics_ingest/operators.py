"""An operator at the command line: who it is, and the record of what it does. Whoever has the service's own database
password may do everything that the service may; what it does is in the audit log all the same, before it is done.
"""

import argparse
import asyncio
import getpass
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from analytics_core import clock
from analytics_core.access import PlatformAction, PlatformScope, Principal, Role, decide_platform
from analytics_core.audit import AuditEntry, AuditLog
from analytics_core.database import WriteDatabase
from analytics_core.errors import Unavailable
from analytics_ingest.settings import Settings

METHOD = "CLI"


def add_subject(parser: argparse.ArgumentParser) -> None:
    """`--as`: whose name stands in the audit log."""
    parser.add_argument(
        "--as", dest="subject", metavar="NAME", default=os_user(), help="name for the audit log (default: %(default)s)"
    )


def os_user() -> str:
    """Who runs this process, and where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = "unknown"
    return f"operator:{user}@{socket.gethostname()}"


@asynccontextmanager
async def operator_database(settings: Settings) -> AsyncIterator[WriteDatabase]:
    """The database for the length of one command."""
    async with WriteDatabase.open(
        settings.database_url.get_secret_value(), application_name=f"{settings.service_name}-operator", pool_size=2
    ) as database:
        yield database


async def allowed(
    database: WriteDatabase, settings: Settings, subject: str, action: PlatformAction, command: str
) -> PlatformScope:
    """The operator's permission, once its use is in the audit log. Raises what the database raised."""
    decision = decide_platform(Principal(subject, frozenset({Role.ADMIN.value})), action)
    audit = AuditLog(database, settings.service_name)
    writer = asyncio.create_task(audit.run())
    try:
        await audit.record(AuditEntry(clock.now(), decision, str(uuid4()), METHOD, command))
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
    if decision.scope is None:
        raise Unavailable(decision.reason)
    return decision.scope
