"""Memory does not follow the size of the file."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from tests.integration.export.running import HOURS_OF_MARCH, ExportApi, environment, fill_march
from tests.support.processes import ServiceProcesses
from tests.support.stack import Database, ObjectStore, RabbitMq

MODELS = 540
# Three parts of 5 MiB and what the driver reads ahead. Measured: 11 MiB for 136 MB, 13 MiB with other formats after it.
GROWTH_MAX_MIB = 30


def peak_mib(pid: int) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def test_a_large_export_takes_no_more_memory_than_its_parts(
    make_database: Callable[..., Database],
    rabbitmq: RabbitMq,
    s3: ObjectStore,
    free_port: Callable[[], int],
    service_processes: ServiceProcesses,
) -> None:
    """401,760 rows, 55 MB: a worker that collected rows or file would need more than twice as much."""
    database = make_database()  # where no other process takes the job
    process = service_processes.start("analytics-export", environment(database, rabbitmq, s3, free_port()))
    fill_march(database, (org_id := uuid4()), MODELS)
    ExportApi(process, uuid4()).finished()
    before = peak_mib(process.pid)

    api = ExportApi(process, org_id)
    job = api.wait_for(api.create(granularity="hourly")["jobId"], "succeeded", patience_s=120)

    assert job["rowCount"] == HOURS_OF_MARCH * MODELS
    assert job["sizeBytes"] > 50_000_000
    assert peak_mib(process.pid) - before < GROWTH_MAX_MIB
