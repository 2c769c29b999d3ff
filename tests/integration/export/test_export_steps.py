"""Every step of a job's life, tried from every state: the table itself lets through the drawn ones alone."""

from collections.abc import Callable, Iterator
from itertools import product
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stack import Database

STATES = ("pending", "running", "succeeded", "failed", "canceled", "expired")
STEPS = {
    ("pending", "running"), ("pending", "canceled"), ("running", "pending"), ("running", "succeeded"),
    ("running", "failed"), ("running", "canceled"), ("succeeded", "expired"),
}  # fmt: skip
TO = (
    "UPDATE analytics.export_jobs SET status = %(to)s, lease_owner = 'w', lease_until = now() + interval '1 hour',"
    " completed_at = CASE WHEN %(to)s IN ('pending', 'running') THEN NULL ELSE coalesce(completed_at, now()) END,"
    " row_count = coalesce(row_count, 1), size_bytes = coalesce(size_bytes, 1),"
    " checksum_sha256 = coalesce(checksum_sha256, 'ab')"
    " WHERE job_id = %(job)s"
)


@pytest.fixture(scope="module")
def session(make_database: Callable[..., Database]) -> Iterator[psycopg.Connection]:
    """The owner, whom no grant and no policy stops."""
    with psycopg.connect(make_database().owner_dsn, autocommit=True) as connection:
        yield connection


def added(session: psycopg.Connection, filters: str = "{}") -> UUID:
    job_id = uuid4()
    session.execute(
        "INSERT INTO analytics.export_jobs (job_id, org_id, granularity, format, range_start, range_end, requested_by,"
        " object_key, filters) VALUES (%s, %s, 'daily', 'csv', '2026-03-01', '2026-03-02', 'x', 'key', %s)",
        (job_id, uuid4(), filters),
    )
    return job_id


def step(session: psycopg.Connection, job_id: UUID, to: str) -> bool:
    """Whether the table lets the job go there."""
    try:
        session.execute(TO, {"to": to, "job": job_id})
    except psycopg.errors.CheckViolation:
        return False
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(walk=st.lists(st.sampled_from(STATES), max_size=12))
def test_a_walk_goes_along_the_drawn_steps_alone(session: psycopg.Connection, walk: list[str]) -> None:
    """Whatever statements come in whatever order."""
    job_id, at = added(session), "pending"
    for to in walk:
        allowed = (at, to) in STEPS or at == to
        assert step(session, job_id, to) == allowed, (at, to)
        at = to if allowed else at


def test_every_pair_of_states_was_thought_of(session: psycopg.Connection) -> None:
    """The walks above may miss one."""
    ways = {
        "pending": [], "running": ["running"], "succeeded": ["running", "succeeded"], "failed": ["running", "failed"],
        "canceled": ["canceled"], "expired": ["running", "succeeded", "expired"],
    }  # fmt: skip
    passed = set()
    for before, after in product(STATES, STATES):
        job_id = added(session)
        assert all(step(session, job_id, each) for each in ways[before])
        if before != after and step(session, job_id, after):
            passed.add((before, after))

    assert passed == STEPS


@pytest.mark.parametrize(
    "change",
    [
        "org_id = gen_random_uuid()",
        "range_end = '2027-01-01'",
        "model_ids = '{other}'",
        "requested_by = 'other'",
        """filters = '{"actorId": ["erased"]}'""",
    ],
)
def test_what_was_asked_for_does_not_change(session: psycopg.Connection, change: str) -> None:
    """A proof is worth nothing when its question can be edited afterwards."""
    job_id = added(session)

    with pytest.raises(psycopg.errors.CheckViolation):
        session.execute(f"UPDATE analytics.export_jobs SET {change} WHERE job_id = %s".encode(), [job_id])


@pytest.mark.parametrize("change", ["checksum_sha256 = 'cd'", "row_count = 2", "object_key = 'other'"])
def test_the_result_of_an_ended_job_does_not_change(session: psycopg.Connection, change: str) -> None:
    """Not by a stale worker, not by hand."""
    job_id = added(session)
    assert step(session, job_id, "running")
    assert step(session, job_id, "succeeded")

    with pytest.raises(psycopg.errors.CheckViolation):
        session.execute(f"UPDATE analytics.export_jobs SET {change} WHERE job_id = %s".encode(), [job_id])


@pytest.mark.parametrize(
    ("filters", "is_allowed"),
    [
        ('{"actorId": ["b", "erased"], "status": ["error"]}', True),
        ('{"actorId": ["erased"], "status": ["error"]}', True),
        ('{"actorId": ["b"], "status": ["error"]}', False),
        ('{"actorId": ["b", "c", "erased"], "status": ["error"]}', False),
        ('{"actorId": ["b", "erased"], "status": ["success"]}', False),
        ('{"status": ["error"]}', False),
        ("{}", False),
    ],
)
@pytest.mark.parametrize("states", [["running"], ["running", "succeeded"], ["canceled"]])
def test_names_alone_leave_the_filter_of_an_ended_job(
    session: psycopg.Connection, states: list[str], filters: str, is_allowed: bool
) -> None:
    """Somebody may be forgotten; what was asked for stays recognisable."""
    job_id = added(session, filters='{"actorId": ["a", "b"], "status": ["error"]}')
    assert all(step(session, job_id, each) for each in states)
    statement = "UPDATE analytics.export_jobs SET filters = %s WHERE job_id = %s"

    if is_allowed and states != ["running"]:
        session.execute(statement, [filters, job_id])
    else:
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute(statement, [filters, job_id])
