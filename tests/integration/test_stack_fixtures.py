"""The fixtures themselves: every other test on real servers leans on what they promise."""

import io
import os
from collections.abc import Callable

import psycopg
import pytest
import redis

from tests.support import stack_places
from tests.support.stack import Database, ObjectStore, RabbitMq, Servers


def test_each_role_logs_in_to_the_migrated_database(make_database: Callable[..., Database]) -> None:
    """A service that cannot log in as its own role would be tested with rights it does not have."""
    database = make_database()
    for role in ("analytics_ingest", "analytics_rollup", "analytics_query_api", "analytics_export"):
        with psycopg.connect(database.dsn(role)) as connection:
            row = connection.execute("SELECT current_user, count(*) FROM analytics.usage_hourly").fetchone()

        assert row == (role, 0)


def test_the_owner_is_no_superuser(database: Database) -> None:
    """On a managed service the migrations run without superuser rights; the tests must not hide that they need them."""
    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()

    assert row == (False,)


def test_another_database_shares_no_rows(database: Database, make_database: Callable[..., Database]) -> None:
    """Two copies of the template are two databases."""
    other = make_database()
    with psycopg.connect(other.owner_dsn) as connection:
        connection.execute("CREATE TABLE analytics.only_here ()")

    with psycopg.connect(database.owner_dsn) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM analytics.only_here")


def test_a_dropped_place_is_gone_although_somebody_is_connected(servers: Servers) -> None:
    """A test that leaks a connection must not leave its database behind."""
    with stack_places.database(servers, migrated=False) as place:
        leaked = psycopg.connect(place.owner_dsn)

    with pytest.raises(psycopg.OperationalError):
        leaked.execute("SELECT 1")
    leaked.close()


def test_a_virtual_host_is_empty_and_usable(make_rabbitmq: Callable[[], RabbitMq]) -> None:
    """Streams of another session would change what an ingest test reads."""
    rabbitmq = make_rabbitmq()

    assert rabbitmq.management("GET", f"/queues/{rabbitmq.vhost}").json() == []


def test_two_redis_databases_never_meet(servers: Servers, redis_url: str) -> None:
    """A key written by one session is invisible to the other."""
    with (
        stack_places.redis_database(servers) as other_url,
        redis.Redis.from_url(redis_url) as one,
        redis.Redis.from_url(other_url) as other,
    ):
        one.set("key", "value")

        assert other.get("key") is None


def test_a_bucket_is_empty_and_its_own(servers: Servers, s3: ObjectStore) -> None:
    """Exports are counted by listing the bucket."""
    with stack_places.bucket(servers) as other:
        assert list(other.client.list_objects(bucket_name=other.bucket)) == []
        assert other.bucket != s3.bucket


def test_a_bucket_goes_with_everything_in_it(servers: Servers) -> None:
    """Objects below several folders, as exports are, must not keep the bucket alive."""
    with stack_places.bucket(servers) as place:
        place.client.put_object(
            bucket_name=place.bucket, object_name="exports/org/job/file.csv", data=io.BytesIO(b"data"), length=4
        )

    assert not (servers.stack.data("s3") / place.bucket).exists()


def test_what_a_killed_session_left_is_swept(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed test run must not fill the disk for good."""
    dead_pid = 2**22  # above the highest pid that Linux gives out
    monkeypatch.setattr(os, "getpid", lambda: dead_pid)
    database = stack_places.database(servers).__enter__()
    vhost = stack_places.virtual_host(servers).__enter__()
    bucket = stack_places.bucket(servers).__enter__()

    stack_places.sweep(servers)

    assert database.name not in stack_places._databases(servers.stack)
    assert vhost.vhost not in {each["name"] for each in vhost.management("GET", "/vhosts").json()}
    assert not (servers.stack.data("s3") / bucket.bucket).exists()
