"""An export from the request to the file, as its user lives it."""

import hashlib
from datetime import timedelta

from tests.integration.export.running import MARCH, Bucket, ExportApi, read_csv, store_usage, total
from tests.support.stack import Database


def test_an_export_is_asked_for_followed_and_fetched(exports: ExportApi, database: Database) -> None:
    """The whole way by HTTP alone: create, follow Location, download through the redirect, check the sum."""
    store_usage(
        database, "usage_daily", [Bucket(exports.org_id, MARCH + timedelta(days=n), "gpt-4o") for n in range(31)]
    )
    body = {"timeRange": {"start": "2026-03-01T00:00:00Z", "end": "2026-04-01T02:00:00+02:00"}}

    created = exports.request("POST", json=body)
    job_id = created.json()["jobId"]
    done = exports.wait_for(job_id, "succeeded")
    file = exports.download(done)

    assert created.status_code == 202
    assert created.headers["location"] == created.json()["links"]["self"]
    assert created.headers["location"].endswith(f"/exports/{job_id}")
    assert created.json()["status"] == "pending"
    assert (done["rowCount"], done["sizeBytes"]) == (31, len(file.content))
    assert done["checksum"] == hashlib.sha256(file.content).hexdigest()
    assert total(read_csv(file.content), "request_count") == 310
