"""The proof beside each file: what was asked, what it adds up to, how far it can be trusted.

Its schema is contracts/exports/manifest.v1.schema.json.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from analytics_export.columns import Column
from analytics_export.formats.catalogue import FORMATS
from analytics_export.jobs import Job, JobRequest
from analytics_export.outcomes import Outcome
from analytics_export.templates import TEMPLATES
from analytics_export.totals import totals_json

MANIFEST_VERSION = 1
MEDIA_TYPE = "application/json"
GENERATOR = f"analytics-export {version('analytics-export')}"


def manifest_key(object_key: str) -> str:
    """Where the manifest of an object lies."""
    return f"{object_key}.manifest.json"


def parameters(request: JobRequest) -> dict[str, Any]:
    """Everything that decides about the rows of a file, and nothing else."""
    return {
        "template": request.template,
        "templateVersion": TEMPLATES[request.template].version,
        "format": request.format,
        "granularity": request.granularity,
        "timeRange": {"start": request.start, "end": request.end},
        "timezone": request.timezone,
        "groupBy": list(request.group_by),
        "filters": request.filters.normalized(),
    }


def parameters_sha256(request: JobRequest) -> str:
    """Equal for requests that ask for the same file."""
    return hashlib.sha256(_json(parameters(request)).encode()).hexdigest()


def manifest(job: Job, columns: Sequence[Column], outcome: Outcome) -> bytes:
    """The document, indented for people; equal inputs give equal bytes."""
    request, revision = job.request, outcome.revision
    document = {
        "manifestVersion": MANIFEST_VERSION,
        "generator": GENERATOR,
        "jobId": job.job_id,
        "orgId": job.org_id,
        "revision": revision.number,
        "supersedes": revision.superseded_job_id
        and {"jobId": revision.superseded_job_id, "sha256": revision.superseded_sha256},
        "requestedBy": request.requested_by,
        "requestedAt": job.created_at,
        "parameters": parameters(request),
        "parametersSha256": parameters_sha256(request),
        "object": {
            "key": outcome.object_key,
            "mediaType": FORMATS[request.format].media_type,
            "sizeBytes": outcome.size_bytes,
            "sha256": outcome.checksum_sha256,
        },
        "columns": [{"name": column.name, "type": column.kind} for column in columns],
        "rowCount": outcome.row_count,
        "totals": totals_json(outcome.totals),
        "watermark": outcome.watermark,
        "confidence": outcome.confidence,
    }
    return f"{_json(document, indent=2)}\n".encode()


def _json(document: dict[str, Any], indent: int | None = None) -> str:
    # Not msgspec's encoder: it refuses integers of more than 64 bits, which sums may have.
    return json.dumps(msgspec.to_builtins(document), indent=indent, ensure_ascii=False)
